"""The Django app of ``lepton_app.learning``."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LearningConfig(AppConfig):
    """Name and label of the app."""

    name = "lepton_app.learning"
    label = "learning"
    verbose_name = _("Learning")
