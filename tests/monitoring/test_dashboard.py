"""What the dashboard's queries answer: pages that move nothing, filters, and hours that add up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import dashboard
from monitoring.dashboard import Cursor, Filters
from monitoring.models import Item

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def make(number: int, *, minutes_ago: float = 0, **changes: Any) -> Item:
    fields = {
        "source": "wire",
        "guid": f"g-{number}",
        "title": f"Headline {number}",
        "text": "Shares of Northgale rose.",
        "language": "en",
        "published_at": NOW - timedelta(minutes=minutes_ago),
    }
    return Item.objects.create(**fields | changes)


def titles(filters: Filters) -> list[str]:
    return [item["title"] for item in dashboard.page(filters).items]


@pytest.mark.django_db
def test_pages_follow_each_other_without_gap_or_repetition_while_news_arrives(django_assert_num_queries: Any) -> None:
    ids = [make(number, minutes_ago=number // 3).pk for number in range(11)]  # three share each minute
    expected = sorted(ids, key=lambda pk: (-(ids.index(pk) // 3), pk), reverse=True)
    seen: list[int] = []
    cursor = None
    while True:
        with django_assert_num_queries(1):
            page = dashboard.page(Filters(), before=cursor, limit=4)
        seen += [item["id"] for item in page.items]
        make(100 + len(seen))  # arrives while somebody reads
        if page.older is None:
            break
        cursor = Cursor.parse(str(page.older))
    assert seen == expected


@pytest.mark.django_db
def test_a_full_last_page_has_nothing_older() -> None:
    for number in range(4):
        make(number)
    assert dashboard.page(Filters(), limit=4).older is None
    assert dashboard.page(Filters(), limit=3).older is not None


@pytest.mark.django_db
def test_filters_narrow_by_source_language_and_all_words() -> None:
    make(1, title="Calderwick trims rates", text="Funding is cheaper.")
    make(2, title="Calderwick", text="Five things on RATES.", source="other wire")
    make(3, title="禾秋银行下调利率", text="五年期降至4.1%。", language="zh-hans")
    make(4, title="100% certain", text="an under_score")
    assert titles(Filters(source="other wire")) == ["Calderwick"]
    assert titles(Filters(language="zh-hans")) == ["禾秋银行下调利率"]
    assert sorted(titles(Filters(words=("calderwick", "rates")))) == ["Calderwick", "Calderwick trims rates"]
    assert titles(Filters(words=("calderwick", "cheaper"))) == ["Calderwick trims rates"]
    assert titles(Filters(words=("利率",))) == ["禾秋银行下调利率"]
    assert titles(Filters(words=("0% c",))) == ["100% certain"]  # no wildcards
    assert titles(Filters(words=("r_s",))) == ["100% certain"]
    assert titles(Filters(source="wire", words=("rates", "five"))) == []


@pytest.mark.django_db
def test_a_long_text_is_shown_by_its_beginning() -> None:
    make(1, text="x" * 100_000)
    [item] = dashboard.page(Filters()).items
    assert item["excerpt"] == "x" * (dashboard.EXCERPT_CHARS - 1) + "…"


@pytest.mark.django_db
def test_hours_count_by_the_time_of_the_event(django_assert_num_queries: Any) -> None:
    make(1, published_at=datetime(2026, 3, 2, 9, 0, tzinfo=UTC))
    make(2, published_at=datetime(2026, 3, 2, 8, 59, 59, 999999, tzinfo=UTC))
    make(3, published_at=datetime(2026, 3, 2, 8, 0, tzinfo=UTC), language="zh-hans")
    make(4, published_at=datetime(2026, 3, 1, 10, 0, tzinfo=UTC))
    make(5, published_at=datetime(2026, 3, 1, 9, 59, tzinfo=UTC))  # a minute too old
    make(6, published_at=datetime(2026, 3, 2, 10, 0, tzinfo=UTC))  # not yet
    hours = dashboard.chart_hours(NOW)
    with django_assert_num_queries(1):
        counts = dashboard.count_hours(hours, Filters())
    assert {hour["hour"]: hour["count"] for hour in counts if hour["count"]} == {
        "2026-03-01T10:00:00+00:00": 1,
        "2026-03-02T08:00:00+00:00": 2,
        "2026-03-02T09:00:00+00:00": 1,
    }
    assert len(counts) == 24
    chinese = dashboard.count_hours(hours, Filters(language="zh-hans"))
    assert sum(hour["count"] for hour in chinese) == 1
    assert dashboard.count_hours([], Filters()) == []


@pytest.mark.django_db
def test_sources_are_listed_once_in_order() -> None:
    assert dashboard.sources() == []
    for number, source in enumerate(["b", "a", "b", "澜声", "a"]):
        make(number, source=source)
    assert dashboard.sources() == ["a", "b", "澜声"]


@given(st.datetimes(timezones=st.just(UTC)), st.integers(0, 2**63 - 1))
def test_a_cursor_survives_the_address(published_at: datetime, number: int) -> None:
    cursor = Cursor(published_at, number)
    assert Cursor.parse(str(cursor)) == cursor


@given(st.text(max_size=40))
def test_any_other_text_is_no_cursor(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "-", "1-", "-1", "a-1", "1-a", "1-9223372036854775808", "9" * 30 + "-1", "１-1"])
def test_nonsense_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        Cursor.parse(text)
