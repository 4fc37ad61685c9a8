"""What is let in as an item, and what is refused with which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.items import MAX_TEXT_CHARS, ItemInvalid, parse_item

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def raw(**changes: Any) -> dict[str, Any]:
    return {
        "source": "wire",
        "guid": "a-1",
        "title": "Shares rise",
        "text": "Shares of Northgale rose.",
        "url": "https://news.example/a-1",
        "language": "en",
        "published_at": NOW - timedelta(minutes=5),
    } | changes


def problems(**changes: Any) -> dict[str, str]:
    with pytest.raises(ItemInvalid) as caught:
        parse_item(raw(**changes), now=NOW)
    return caught.value.problems


def test_a_valid_item_is_stripped_and_its_time_is_in_utc() -> None:
    east = timezone(timedelta(hours=8))
    item = parse_item(raw(title=" Shares rise\n", published_at=datetime(2026, 3, 2, 19, 30, tzinfo=east)), now=NOW)
    assert item.title == "Shares rise"
    assert item.published_at == datetime(2026, 3, 2, 11, 30, tzinfo=UTC)
    assert item.published_at.tzinfo is UTC


def test_title_url_and_language_may_be_missing() -> None:
    fields = raw()
    for name in ("title", "url", "language"):
        del fields[name]
    item = parse_item(fields, now=NOW)
    assert (item.title, item.url, item.language) == ("", "", "en")


def test_the_language_is_detected_where_none_is_given() -> None:
    assert parse_item(raw(language=None, title="", text="北风银行上调利率"), now=NOW).language == "zh-hans"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("source", "  ", "is empty"),
        ("source", "x" * 101, "has 101 characters; at most 100 are allowed"),
        ("guid", None, "is missing"),
        ("guid", 7, "must be text, not int"),
        ("guid", "g" * 256, "has 256 characters; at most 255 are allowed"),
        ("title", "t" * 501, "has 501 characters; at most 500 are allowed"),
        ("text", "", "is empty"),
        ("text", "t" * (MAX_TEXT_CHARS + 1), "has 100,001 characters; at most 100,000 are allowed"),
        ("text", "a\x00b", "holds a NUL character"),
        ("text", "a\ud800", "is not valid Unicode (half of a surrogate pair)"),
        ("url", "javascript:alert(1)", "must begin with http:// or https://"),
        ("url", "data:text/html,<script>", "must begin with http:// or https://"),
        ("url", "https://", "names no host"),
        ("url", "https://[half", "names no host"),
        ("url", "https://a.example/\nx", "holds white space or control characters"),
        ("language", "fr", "must be one of en, zh-hans"),
        ("published_at", None, "is missing"),
        ("published_at", "yesterday", "is not a time such as 2026-03-02T09:30:00+00:00"),
        ("published_at", "2026-03-02T09:30:00", "has no time zone"),
        ("published_at", 1_772_400_000, "must be a time, not int"),
        ("published_at", NOW + timedelta(hours=2), "lies in the future"),
        ("published_at", datetime(1, 1, 1, tzinfo=UTC), "lies before 1850"),
    ],
)
def test_each_field_is_refused_by_its_name(field: str, value: Any, message: str) -> None:
    assert problems(**{field: value}) == {field: message}


def test_all_problems_are_told_at_once() -> None:
    assert problems(guid="", url="ftp://x", colour="red") == {
        "guid": "is empty",
        "url": "must begin with http:// or https://",
        "colour": "is not a field of an item",
    }


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(), st.binary()), max_size=8))
def test_anything_is_refused_in_an_orderly_way(fields: dict[str, Any]) -> None:
    with pytest.raises(ItemInvalid) as caught:
        parse_item(fields, now=NOW)
    assert caught.value.problems
