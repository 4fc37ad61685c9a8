"""The intent catalogue as replying needs it: read once, kept in the process for a few seconds.

A change in the admin is seen by every process within ``_FRESH_SECONDS``, without a query for each message.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from intents.models import Intent

_FRESH_SECONDS = 2.0
_lock = threading.Lock()
_entries: dict[str, CatalogueEntry] = {}
_read_at: float | None = None


@dataclass(frozen=True)
class CatalogueEntry:
    """One active intent. ``language`` is "en" or "zh" throughout; every other one is answered in English."""

    name: str
    titles: dict[str, str]
    questions: dict[str, str]
    replies: dict[str, str]
    is_suggested: bool
    hands_over: bool

    def title(self, language: str) -> str:
        """Return the short name shown to people."""
        return self.titles.get(language, self.titles["en"])

    def question(self, language: str) -> str:
        """Return the question that stands for the intent."""
        return self.questions.get(language, self.questions["en"])

    def reply(self, language: str) -> str:
        """Return the reply as Markdown."""
        return self.replies.get(language, self.replies["en"])


def entry(name: str) -> CatalogueEntry | None:
    """Return the active intent of this name, or None."""
    return _catalogue().get(name)


def suggestions(language: str) -> list[str]:
    """Return the questions of the suggested intents, in the order of their names."""
    return [found.question(language) for found in _catalogue().values() if found.is_suggested]


def forget() -> None:
    """Read the catalogue anew at its next use."""
    global _read_at
    with _lock:
        _read_at = None


def _catalogue() -> dict[str, CatalogueEntry]:
    global _entries, _read_at
    with _lock:
        if _read_at is not None and time.monotonic() - _read_at < _FRESH_SECONDS:
            return _entries
    found = {
        intent.label.name: CatalogueEntry(
            name=intent.label.name,
            titles={"en": intent.title_en, "zh": intent.title_zh},
            questions={"en": intent.question_en, "zh": intent.question_zh},
            replies={"en": intent.reply_en, "zh": intent.reply_zh},
            is_suggested=intent.is_suggested,
            hands_over=intent.hands_over,
        )
        for intent in Intent.objects.filter(is_active=True).select_related("label").order_by("label__name")
    }
    with _lock:
        _entries, _read_at = found, time.monotonic()
    return found
