"""The Django app of ``lepton_app.chat``."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    """Name and label of the app."""

    name = "lepton_app.chat"
    label = "chat"
    verbose_name = _("Chat")
