"""The Django app of ``intents``."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class IntentsConfig(AppConfig):
    """Name and label of the app."""

    name = "intents"
    label = "intents"
    verbose_name = _("Intents")
