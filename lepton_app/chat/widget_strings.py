"""The words of the widget, by the keys under which its script asks for them."""

from __future__ import annotations

from django.utils import translation
from django.utils.translation import gettext_lazy as _

WIDGET_STRINGS = {
    "title": _("Chat"),
    "subtitle": _("We usually answer at once"),
    "open": _("Open the chat"),
    "close": _("Close the chat"),
    "unread": _("{count} unread"),
    "menu": _("More"),
    "welcome": _("Hello! How can we help you?"),
    "welcome_detail": _(
        "Answers come from our help pages, and each shows where it stands. You can ask for a person at any time."
    ),
    "suggestions": _("Suggested questions"),
    "log": _("Conversation"),
    "input": _("Your message"),
    "placeholder": _("Write your question…"),
    "send": _("Send"),
    "characters_left": _("{count} characters left"),
    "characters_over": _("{count} characters too many"),
    "you": _("You"),
    "assistant": _("Assistant"),
    "person": _("Colleague"),
    "system": _("Note"),
    "typing": _("The assistant is writing…"),
    "sending": _("Sending…"),
    "queued": _("Kept until the connection is back"),
    "not_sent": _("Not sent"),
    "retry": _("Try again"),
    "too_long": _("Please write at most {max} characters."),
    "connecting": _("Connecting…"),
    "reconnecting": _("Connecting again…"),
    "offline": _("No connection. What you write is sent as soon as it is back."),
    "unavailable": _("We cannot take messages just now. Yours is kept and sent again."),
    "refused": _("The chat is not available on this page."),
    "expired": _("The earlier conversation has expired. A new one begins here."),
    "waiting": _("Waiting for a person"),
    "with_person": _("A colleague is answering"),
    "closed": _("This conversation is closed."),
    "talk_to_person": _("Talk to a person"),
    "start_anew": _("Start a new conversation"),
    "start_anew_sure": _("Leave this conversation?"),
    "sources": _("Sources"),
    "source": _("Source"),
    "near": _("These articles may help"),
    "choices": _("Did you mean"),
    "passage": _("Passage"),
    "whole_article": _("Read the whole article"),
    "back": _("Back"),
    "loading": _("Loading…"),
    "not_loaded": _("This could not be loaded."),
    "new_messages": _("New messages"),
}


def widget_strings(language: str) -> dict[str, str]:
    """Return the words in one of the settings' languages."""
    with translation.override(language):
        return {key: str(text) for key, text in WIDGET_STRINGS.items()}
