"""The Django app of ``retrieval``."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RetrievalConfig(AppConfig):
    """Name and label of the app."""

    name = "retrieval"
    label = "retrieval"
    verbose_name = _("Knowledge")
