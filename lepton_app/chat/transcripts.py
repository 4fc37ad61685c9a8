"""A conversation as staff read it: every message with who wrote it, what it cites, and why it was said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from lepton_app.chat.models import Conversation, Message
from lepton_app.chat.rendering import message_html

LONGEST = 500


@dataclass(frozen=True)
class Entry:
    """One message of a transcript; ``html`` is sanitised."""

    message: Message
    html: SafeString
    writer: str
    citations: list[dict[str, Any]]
    choices: list[dict[str, Any]]
    near: list[dict[str, Any]]
    route: str
    intent: str
    support: float | None
    lineage: str


def transcript(conversation: Conversation) -> list[Entry]:
    """Return the newest ``LONGEST`` messages in order; one query."""
    newest = conversation.messages.select_related("staff").order_by("-sequence")[:LONGEST]
    return [_entry(message) for message in reversed(newest)]


def route_name(route: str) -> str:
    """Return what the assistant did, in words of the reader's language; an unknown code as it is.

    >>> route_name("unheard_of")
    'unheard_of'
    """
    names = {
        "intent": gettext("Reply of an intent"),
        "answer": gettext("Answer from the articles"),
        "clarify": gettext("Clarifying question"),
        "refusal": gettext("No answer found"),
        "unavailable": gettext("Models not available"),
    }
    return names.get(route, route)


def _entry(message: Message) -> Entry:
    attachments, lineage = message.attachments, message.lineage
    support = lineage.get("support")
    return Entry(
        message=message,
        # Escaped or sanitised there.
        html=mark_safe(message_html(message)),  # noqa: S308
        writer=_writer(message),
        citations=attachments.get("citations", []),
        choices=attachments.get("choices", []),
        near=attachments.get("near", []),
        route=route_name(str(lineage.get("route", ""))),
        intent=str(lineage.get("intent") or ""),
        support=float(support) if support is not None else None,
        lineage=_as_text(lineage) if message.author == Message.Author.ASSISTANT else "",
    )


def _as_text(lineage: dict[str, Any]) -> str:
    return json.dumps(lineage, ensure_ascii=False, indent=2, sort_keys=True) if lineage else ""


def _writer(message: Message) -> str:
    if message.author == Message.Author.PERSON and message.staff is not None:
        return message.staff.get_full_name() or message.staff.get_username()
    return str(Message.Author(message.author).label)
