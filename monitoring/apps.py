"""The Django app of ``monitoring``."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MonitoringConfig(AppConfig):
    """Name and label of the app."""

    name = "monitoring"
    label = "monitoring"
    verbose_name = _("Monitoring")
