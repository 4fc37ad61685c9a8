"""What the dashboard shows: a page of items by the time of the event, and how many there were in each hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from django.db import connection
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Left, TruncHour
from django.utils.text import Truncator

from monitoring.models import Item

PAGE_ITEMS = 50
CHART_HOURS = 24
EXCERPT_CHARS = 320
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ItemFrame(TypedDict):
    """One item as the page and the socket show it; ``excerpt`` is the beginning of its text."""

    id: int
    source: str
    title: str
    excerpt: str
    url: str
    language: str
    published_at: str


class HourFrame(TypedDict):
    """How many items were published in the hour that begins at ``hour`` (ISO 8601, UTC)."""

    hour: str
    count: int


@dataclass(frozen=True)
class Filters:
    """What an item must be to be shown; an empty value lets everything through, ``words`` must all occur."""

    source: str = ""
    language: str = ""
    words: tuple[str, ...] = ()

    def apply(self, items: QuerySet[Item]) -> QuerySet[Item]:
        """Return ``items`` narrowed to what passes."""
        if self.source:
            items = items.filter(source=self.source)
        if self.language:
            items = items.filter(language=self.language)
        for word in self.words:
            items = items.filter(Q(title__icontains=word) | Q(text__icontains=word))
        return items


@dataclass(frozen=True)
class Cursor:
    """A place in the list: just after the item with this time and id. A keyset, so that new items move nothing."""

    published_at: datetime
    id: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` of a cursor wrote; raises `ValueError` for anything else.

        >>> Cursor.parse("1772443815123456-7")
        Cursor(published_at=datetime.datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=datetime.timezone.utc), id=7)
        >>> str(Cursor.parse("1772443815123456-7"))
        '1772443815123456-7'
        """
        microseconds, dash, number = text.rpartition("-")
        digits = microseconds.removeprefix("-")
        if not dash or not (digits.isascii() and digits.isdigit() and number.isascii() and number.isdigit()):
            raise ValueError(f"{text!r} is no cursor")
        try:
            published_at = _EPOCH + int(microseconds) * _MICROSECOND
        except OverflowError:
            raise ValueError(f"{text!r} is no cursor") from None
        if int(number) >= 2**63:
            raise ValueError(f"{text!r} is no cursor")
        return cls(published_at, int(number))

    def __str__(self) -> str:
        return f"{(self.published_at - _EPOCH) // _MICROSECOND}-{self.id}"


@dataclass(frozen=True)
class Page:
    """Items, newest first, and the place where the next page continues (None at the end)."""

    items: list[ItemFrame]
    older: Cursor | None


def page(filters: Filters, *, before: Cursor | None = None, limit: int = PAGE_ITEMS) -> Page:
    """Return up to ``limit`` items that pass, newest first, after ``before``."""
    items = filters.apply(Item.objects.all())
    if before is not None:
        items = items.filter(
            Q(published_at__lt=before.published_at) | Q(published_at=before.published_at, id__lt=before.id),
            published_at__lte=before.published_at,  # says the same again in a way that bounds the index scan
        )
    rows = _rows(items, limit + 1)
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return Page([_frame(row) for row in shown], Cursor(last["published_at"], last["id"]) if last else None)


def items_among(ids: Iterable[int], filters: Filters, *, limit: int = PAGE_ITEMS) -> list[ItemFrame]:
    """Return the newest of the items with these ids that pass, newest first."""
    return [_frame(row) for row in _rows(filters.apply(Item.objects.filter(pk__in=list(ids))), limit)]


def _rows(items: QuerySet[Item], limit: int) -> Sequence[Mapping[str, Any]]:
    # A text may have 100,000 characters; only its beginning leaves the database.
    return list(
        items.order_by("-published_at", "-id")
        .annotate(beginning=Left("text", EXCERPT_CHARS + 1))
        .values("id", "source", "title", "url", "language", "published_at", "beginning")[:limit]
    )


def _frame(row: Mapping[str, Any]) -> ItemFrame:
    return ItemFrame(
        id=row["id"],
        source=row["source"],
        title=row["title"],
        excerpt=Truncator(row["beginning"]).chars(EXCERPT_CHARS),
        url=row["url"],
        language=row["language"],
        published_at=row["published_at"].isoformat(),
    )


def chart_hours(now: datetime) -> list[datetime]:
    """Return the beginnings of the last 24 hours, oldest first; the last is the hour that runs.

    >>> hours = chart_hours(datetime(2026, 3, 2, 9, 30, tzinfo=UTC))
    >>> len(hours), hours[0].isoformat(), hours[-1].isoformat()
    (24, '2026-03-01T10:00:00+00:00', '2026-03-02T09:00:00+00:00')
    """
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [last - timedelta(hours=back) for back in range(CHART_HOURS - 1, -1, -1)]


def count_hours(hours: Sequence[datetime], filters: Filters) -> list[HourFrame]:
    """Return how many items that pass were published in each of these hours, in their order; one query."""
    if not hours:
        return []
    counted = (
        filters.apply(
            Item.objects.filter(published_at__gte=min(hours), published_at__lt=max(hours) + timedelta(hours=1))
        )
        .annotate(hour=TruncHour("published_at", tzinfo=UTC))
        .order_by()
        .values("hour")
        .annotate(count=Count("pk"))
        .values_list("hour", "count")
    )
    counts = dict(counted)
    return [HourFrame(hour=hour.isoformat(), count=counts.get(hour, 0)) for hour in hours]


def sources() -> list[str]:
    """Return the names of all sources in order: one index probe for each, however many items there are.

    https://wiki.postgresql.org/wiki/Loose_indexscan
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE found AS (
                (SELECT source FROM monitoring_item ORDER BY source LIMIT 1)
                UNION ALL
                SELECT (SELECT source FROM monitoring_item WHERE source > found.source ORDER BY source LIMIT 1)
                FROM found WHERE found.source IS NOT NULL
            )
            SELECT source FROM found WHERE source IS NOT NULL
            """
        )
        return [source for (source,) in cursor.fetchall()]
