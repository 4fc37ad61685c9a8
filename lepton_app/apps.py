"""The Django app of the project itself: system checks and what all domains share."""

from django.apps import AppConfig


class LeptonConfig(AppConfig):
    """Registers the project's system checks."""

    name = "lepton_app"
    label = "lepton_app"
    verbose_name = "Lepton"

    def ready(self) -> None:
        """Make the checks known, and the Celery application: without it tasks would be sent to Celery's default."""
        from lepton_app import celery, checks  # noqa: F401 - imported for what they register
