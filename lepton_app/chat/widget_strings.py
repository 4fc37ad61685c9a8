"""The words of the widget, by the keys under which its script asks for them."""

from __future__ import annotations

from django.utils import translation
from django.utils.translation import gettext_lazy as _

WIDGET_STRINGS = {
    "title": _("Chat"),
    "subtitle": _("We usually answer at once"),
    "open": _("Open the chat"),
    "close": _("Close the chat"),
    "placeholder": _("Write your question…"),
    "send": _("Send"),
    "welcome": _("Hello! How can we help you?"),
    "suggestions": _("Suggested questions"),
    "typing": _("The assistant is writing…"),
    "you": _("You"),
    "assistant": _("Assistant"),
    "person": _("Colleague"),
    "system": _("Note"),
    "sources": _("Sources"),
    "source": _("Source"),
    "near": _("These articles may help"),
    "choices": _("Did you mean"),
    "talk_to_person": _("Talk to a person"),
    "waiting": _("Waiting for a person"),
    "with_person": _("A colleague is answering"),
    "closed": _("This conversation is closed."),
    "start_anew": _("Start a new conversation"),
    "connecting": _("Connecting…"),
    "offline": _("No connection. What you write is sent as soon as it is back."),
    "refused": _("The chat is not available on this page."),
    "not_sent": _("Not sent"),
    "sending": _("Sending…"),
    "retry": _("Try again"),
    "too_long": _("Please write at most {max} characters."),
    "passage": _("Passage"),
    "back": _("Back"),
    "loading": _("Loading…"),
    "not_loaded": _("This could not be loaded."),
    "new_messages": _("New messages"),
}


def widget_strings(language: str) -> dict[str, str]:
    """Return the words in one of the settings' languages."""
    with translation.override(language):
        return {key: str(text) for key, text in WIDGET_STRINGS.items()}
