"""What an item must be before it is let in: pure validation, the same for every way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from lepton_app.lib import languages

MAX_SOURCE_CHARS = 100
MAX_GUID_CHARS = 255
MAX_TITLE_CHARS = 500
MAX_TEXT_CHARS = 100_000
MAX_URL_CHARS = 1000
# A publisher's clock may be wrong by some minutes; an item of tomorrow would stand above all news for a day.
MAX_AHEAD = timedelta(hours=1)
# PostgreSQL's and JavaScript's clocks both reach back to here, and no news is older than the telegraph.
EARLIEST = datetime(1850, 1, 1, tzinfo=UTC)

FIELDS = ("source", "guid", "title", "text", "url", "language", "published_at")
# What lib.languages calls a language, and what the database does.
LANGUAGE_CODES = {"en": "en", "zh": "zh-hans"}
_LIMITS = {
    "source": MAX_SOURCE_CHARS,
    "guid": MAX_GUID_CHARS,
    "title": MAX_TITLE_CHARS,
    "text": MAX_TEXT_CHARS,
    "url": MAX_URL_CHARS,
}
_REQUIRED = ("source", "guid", "text", "published_at")


@dataclass(frozen=True)
class NewItem:
    """An item that has passed validation; ``published_at`` is in UTC, ``language`` one of the settings' codes."""

    source: str
    guid: str
    title: str
    text: str
    url: str
    language: str
    published_at: datetime


class ItemInvalid(ValueError):
    """An item was refused; ``problems`` maps each field's name to what is wrong with it."""

    code = "item_invalid"

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in self.problems.items()))


def parse_item(raw: Mapping[str, Any], *, now: datetime) -> NewItem:
    """Return ``raw`` as a checked item, or raise `ItemInvalid` with a message for each field that is wrong.

    ``source``, ``guid``, ``text`` and ``published_at`` (an aware datetime, or ISO 8601 with an offset) are required;
    ``language`` is detected from title and text when it is missing. Strings are stripped. ``now`` bounds the future.

    >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    >>> raw = {"source": "wire", "guid": "7", "text": " 利率上调 ", "published_at": "2026-03-02T19:30+08:00"}
    >>> item = parse_item(raw, now=noon)
    >>> item.text, item.language, item.published_at.isoformat()
    ('利率上调', 'zh-hans', '2026-03-02T11:30:00+00:00')
    >>> parse_item({"source": "wire", "text": "", "url": "javascript:alert(1)", "published_at": noon}, now=noon)
    Traceback (most recent call last):
    monitoring.items.ItemInvalid: guid: is missing; text: is empty; url: must begin with http:// or https://
    """
    problems: dict[str, str] = {}
    texts: dict[str, str] = {}
    for name in ("source", "guid", "title", "text", "url", "language"):
        value = raw.get(name)
        if value is None:
            texts[name] = ""
            if name in _REQUIRED:
                problems[name] = "is missing"
            continue
        if not isinstance(value, str):
            problems[name] = f"must be text, not {type(value).__name__}"
            continue
        texts[name] = stripped = value.strip()
        problem = _text_problem(stripped, required=name in _REQUIRED, limit=_LIMITS.get(name))
        if problem:
            problems[name] = problem
    if "url" not in problems and texts["url"]:
        problem = _url_problem(texts["url"])
        if problem:
            problems["url"] = problem
    if "language" not in problems and texts["language"] and texts["language"] not in LANGUAGE_CODES.values():
        problems["language"] = f"must be one of {', '.join(sorted(LANGUAGE_CODES.values()))}"
    published_at = _read_time(raw.get("published_at"), now=now, problems=problems)
    for name in sorted(str(name) for name in raw if name not in FIELDS):
        problems[name[:50]] = "is not a field of an item"
    if problems or published_at is None:
        raise ItemInvalid(problems)
    language = texts["language"] or LANGUAGE_CODES[languages.detect(f"{texts['title']} {texts['text'][:2000]}")]
    return NewItem(
        source=texts["source"],
        guid=texts["guid"],
        title=texts["title"],
        text=texts["text"],
        url=texts["url"],
        language=language,
        published_at=published_at,
    )


def _text_problem(text: str, *, required: bool, limit: int | None) -> str:
    if required and not text:
        return "is empty"
    if limit is not None and len(text) > limit:
        return f"has {len(text):,} characters; at most {limit:,} are allowed"
    if "\x00" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode (half of a surrogate pair)"
    return ""


def _url_problem(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "holds white space or control characters"
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return "" if host else "names no host"


def _read_time(value: Any, *, now: datetime, problems: dict[str, str]) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            problems["published_at"] = "is not a time such as 2026-03-02T09:30:00+00:00"
            return None
    if not isinstance(value, datetime):
        problems["published_at"] = "is missing" if value is None else f"must be a time, not {type(value).__name__}"
    elif value.utcoffset() is None:
        problems["published_at"] = "has no time zone"
    elif value > now + MAX_AHEAD:
        problems["published_at"] = "lies in the future"
    elif value < EARLIEST:
        problems["published_at"] = f"lies before {EARLIEST.year}"
    else:
        return value.astimezone(UTC)
    return None
