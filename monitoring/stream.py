"""Items enter through a Redis Stream and are stored once, whatever happens to the worker.

The way of an entry:

1. `add_items` (or anybody who may write to Redis) appends it to the stream `ITEMS_STREAM`, one field per attribute.
2. A `StreamWorker` reads a micro-batch through the consumer group; from here the entry is *pending* at that worker.
3. Entries that are no item go to the dead-letter stream with the reason.
4. The others are inserted in one transaction, which ignores what is known (unique: source and guid).
5. After the commit the entries are acknowledged and deleted.

A worker that is killed between 2 and 5 leaves its entries pending; another one claims them after a while and does the
same again, which changes nothing where the insert had already happened.

Redis' commands: https://redis.io/docs/latest/develop/data-types/streams/
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

from lepton_app.lib import live
from monitoring.items import ItemInvalid, NewItem, parse_item
from monitoring.models import Item

logger = logging.getLogger(__name__)

ITEMS_STREAM = "lepton:items"
DEAD_LETTERS_SUFFIX = ":dead"
GROUP = "stream-workers"
DASHBOARD_GROUP = "monitoring.dashboard"

BATCH_ITEMS = 200
BLOCK_MILLISECONDS = 500
CLAIM_IDLE_MILLISECONDS = 30_000
FORGET_CONSUMER_MILLISECONDS = 3_600_000
MAX_DEAD_LETTERS = 10_000
_DEAD_LETTER_CHARS = 2000
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True)
class Entry:
    """One entry of the stream, as Redis gave it."""

    id: bytes
    fields: Fields


class ItemsRefused(ValueError):
    """`add_items` was given something that is no item; ``problems`` maps an item's place (from 0) to its fields."""

    code = "items_refused"

    def __init__(self, problems: Mapping[int, Mapping[str, str]]) -> None:
        self.problems = {place: dict(fields) for place, fields in problems.items()}
        first = next(iter(self.problems))
        details = "; ".join(f"{field}: {problem}" for field, problem in self.problems[first].items())
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(f"Item {first + 1}: {details}{more}. Nothing was added.")


class StreamUnavailable(Exception):
    """PostgreSQL or Redis is away. What was read stays pending: call `StreamWorker.step` again after a pause."""

    code = "unavailable"


def connect() -> redis.Redis:
    """Return a client whose calls fail at once when Redis is away: the worker's own back-off decides when to retry."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        protocol=2,
        socket_connect_timeout=5,
        socket_timeout=BLOCK_MILLISECONDS / 1000 + 10,
        retry=Retry(NoBackoff(), 0),
    )


def add_items(
    items: Iterable[Mapping[str, Any]], *, client: redis.Redis | None = None, stream: str = ITEMS_STREAM
) -> list[str]:
    """Append items to the stream and return their entry ids, in order.

    All or nothing: raises `ItemsRefused` with the fields' names when any of them is not valid (see
    `monitoring.items.parse_item`), and redis' own errors when Redis is away.
    """
    now = timezone.now()
    checked: list[NewItem] = []
    problems: dict[int, dict[str, str]] = {}
    for place, raw in enumerate(items):
        if not isinstance(raw, Mapping):
            problems[place] = {"item": f"must be an object, not {type(raw).__name__}"}
            continue
        try:
            checked.append(parse_item(raw, now=now))
        except ItemInvalid as error:
            problems[place] = error.problems
    if problems:
        raise ItemsRefused(problems)
    if not checked:
        return []
    with contextlib.ExitStack() as stack:
        redis_client = stack.enter_context(connect()) if client is None else client
        pipeline = redis_client.pipeline(transaction=True)
        for item in checked:
            pipeline.xadd(
                stream,
                {
                    "source": item.source,
                    "guid": item.guid,
                    "title": item.title,
                    "text": item.text,
                    "url": item.url,
                    "language": item.language,
                    "published_at": item.published_at.isoformat(),
                },
            )
        return [bytes(entry_id).decode("ascii") for entry_id in pipeline.execute()]


class StreamWorker:
    """Stores what stands in the stream, a micro-batch at a time; as many workers as wanted share one group.

    The constructor does nothing. ``consumer`` is a name that no other living worker has. Entries that a worker has
    read and not acknowledged for ``claim_idle_milliseconds`` count as left behind, and are claimed by the next one.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        stream: str = ITEMS_STREAM,
        consumer: str | None = None,
        batch_items: int = BATCH_ITEMS,
        block_milliseconds: int = BLOCK_MILLISECONDS,
        claim_idle_milliseconds: int = CLAIM_IDLE_MILLISECONDS,
    ) -> None:
        self.client = client
        self.stream = stream
        self.dead_letters = stream + DEAD_LETTERS_SUFFIX
        self.consumer = consumer or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.batch_items = batch_items
        self.block_milliseconds = block_milliseconds
        self.claim_idle_milliseconds = claim_idle_milliseconds
        self._is_joined = False
        self._has_unfinished = False
        self._claim_from = b"0-0"
        self._next_claim = float("-inf")

    def step(self) -> bool:
        """Store one micro-batch; return False when there was nothing to do for ``block_milliseconds``.

        Raises `StreamUnavailable` when PostgreSQL or Redis is away; nothing is lost by that.
        """
        try:
            self._join()
            entries = self._unfinished() or self._left_behind() or self._new()
            if not entries:
                return False
            self._has_unfinished = True
            self._handle(entries)
            self._has_unfinished = False
        except redis.ResponseError as error:
            if not str(error).startswith(("NOGROUP", "LOADING", "READONLY", "MASTERDOWN")):
                raise
            self._is_joined = False  # Redis came back without its data, or is not ready yet
            self._give_way(error)
        except (redis.ConnectionError, redis.TimeoutError, OperationalError, InterfaceError) as error:
            self._give_way(error)
        return True

    def leave(self) -> None:
        """Take this worker's name off the group when nothing is pending under it; for an orderly end."""
        with contextlib.suppress(redis.RedisError):
            if self._is_joined:
                self._forget_consumers(own=True)

    def _give_way(self, error: Exception) -> NoReturn:
        # A broken connection is dropped here, so that the next step gets a fresh one.
        if not connection.in_atomic_block:
            connection.close()
        raise StreamUnavailable(f"{type(error).__name__}: {error}") from error

    def _join(self) -> None:
        if self._is_joined:
            return
        try:
            self.client.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._forget_consumers(own=False)
        self._is_joined = True

    def _forget_consumers(self, *, own: bool) -> None:
        """Remove names without pending entries: this worker's, or those of workers that ended long ago."""
        for info in self.client.xinfo_consumers(self.stream, GROUP):
            is_ours = info["name"] == self.consumer.encode()
            is_gone = is_ours if own else not is_ours and info["idle"] > FORGET_CONSUMER_MILLISECONDS
            if is_gone and info["pending"] == 0:
                self.client.xgroup_delconsumer(self.stream, GROUP, info["name"])

    def _unfinished(self) -> list[Entry]:
        """Return what this worker read in a step that failed."""
        if not self._has_unfinished:
            return []
        entries = _entries(self.client.xreadgroup(GROUP, self.consumer, {self.stream: "0"}, count=self.batch_items))
        self._has_unfinished = bool(entries)
        return entries

    def _left_behind(self) -> list[Entry]:
        """Return entries of workers that died, looking every quarter of the time after which one counts as dead."""
        if time.monotonic() < self._next_claim:
            return []
        cursor, claimed, *_ = self.client.xautoclaim(
            self.stream,
            GROUP,
            self.consumer,
            min_idle_time=self.claim_idle_milliseconds,
            start_id=self._claim_from,
            count=self.batch_items,
        )
        self._claim_from = cursor
        if cursor == b"0-0":  # the whole list has been looked through
            self._next_claim = time.monotonic() + self.claim_idle_milliseconds / 4000
        # Redis 6.2 names entries that were deleted while pending without their fields; 7 drops them by itself.
        return [Entry(entry_id, fields) for entry_id, fields in claimed if entry_id is not None and fields is not None]

    def _new(self) -> list[Entry]:
        return _entries(
            self.client.xreadgroup(
                GROUP, self.consumer, {self.stream: ">"}, count=self.batch_items, block=self.block_milliseconds
            )
        )

    def _handle(self, entries: list[Entry]) -> None:
        now = timezone.now()
        items: dict[bytes, NewItem] = {}
        poison: dict[bytes, str] = {}
        for entry in entries:
            try:
                items[entry.id] = parse_item(_decoded(entry.fields), now=now)
            except ItemInvalid as error:
                poison[entry.id] = str(error)
        poison |= self._store(items, now)
        self._bury([entry for entry in entries if entry.id in poison], poison, now)
        self._acknowledge(entries)

    def _store(self, items: Mapping[bytes, NewItem], now: datetime) -> dict[bytes, str]:
        """Insert what is new in one transaction; return the reason for each entry that the database refused."""
        if not items:
            return {}
        try:
            _insert(list(items.values()), now)
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError:
            # One item that validation let through spoils the batch: find it by storing each on its own.
            return self._store_one_by_one(items, now)
        return {}

    def _store_one_by_one(self, items: Mapping[bytes, NewItem], now: datetime) -> dict[bytes, str]:
        refused: dict[bytes, str] = {}
        for entry_id, item in items.items():
            try:
                _insert([item], now)
            except (OperationalError, InterfaceError):
                raise
            except DatabaseError as error:
                refused[entry_id] = f"database: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        return refused

    def _bury(self, entries: list[Entry], reasons: Mapping[bytes, str], now: datetime) -> None:
        """Put entries on the dead-letter stream; they leave the stream of items only when that has worked."""
        if not entries:
            return
        pipeline = self.client.pipeline(transaction=True)
        for entry in entries:
            fields = {_readable(name): _readable(value) for name, value in entry.fields.items()}
            letter: dict[Any, Any] = {
                "entry": entry.id,
                "reason": reasons[entry.id][:_DEAD_LETTER_CHARS],
                "at": now.astimezone(UTC).isoformat(),
                "fields": json.dumps(fields, ensure_ascii=False),
            }
            pipeline.xadd(self.dead_letters, letter, maxlen=MAX_DEAD_LETTERS, approximate=True)
            pipeline.xack(self.stream, GROUP, entry.id)
            pipeline.xdel(self.stream, entry.id)
        pipeline.execute()
        logger.warning("%d items put on %s, the first: %s", len(entries), self.dead_letters, reasons[entries[0].id])

    def _acknowledge(self, entries: list[Entry]) -> None:
        ids = [entry.id for entry in entries]
        pipeline = self.client.pipeline(transaction=True)
        pipeline.xack(self.stream, GROUP, *ids)
        pipeline.xdel(self.stream, *ids)
        pipeline.execute()


def run(worker: StreamWorker, stopping: threading.Event) -> None:
    """Call ``worker.step`` until ``stopping`` is set; while a service is away, wait 0.5 s, 1 s, … up to 30 s."""
    pause_seconds = FIRST_PAUSE_SECONDS
    is_away = False
    while not stopping.is_set():
        try:
            worker.step()
        except StreamUnavailable as error:
            logger.warning("stream: %s; next try in %.1f s", error, pause_seconds)
            is_away = True
            stopping.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        else:
            if is_away:
                logger.info("stream: PostgreSQL and Redis answer again")
            is_away, pause_seconds = False, FIRST_PAUSE_SECONDS


def _insert(items: list[NewItem], now: datetime) -> None:
    """Insert items that are not known yet, and tell the dashboards of them after the commit."""
    with transaction.atomic():
        Item.objects.bulk_create(
            [
                Item(
                    source=item.source,
                    guid=item.guid,
                    title=item.title,
                    text=item.text,
                    url=item.url,
                    language=item.language,
                    published_at=item.published_at,
                    received_at=now,
                )
                for item in items
            ],
            ignore_conflicts=True,
        )
        # PostgreSQL does not say which rows it ignored; the rows of this batch carry its time of arrival.
        guids: dict[str, list[str]] = {}
        for item in items:
            guids.setdefault(item.source, []).append(item.guid)
        ours = Q()
        for source, of_source in guids.items():
            ours |= Q(source=source, guid__in=of_source)
        new = dict(Item.objects.filter(ours, received_at=now).values_list("pk", "published_at"))
        if new:
            hours = sorted({_hour(published_at) for published_at in new.values()})
            live.publish_on_commit(
                DASHBOARD_GROUP,
                {"type": "items.stored", "ids": sorted(new), "hours": [hour.isoformat() for hour in hours]},
            )


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _entries(reply: Any) -> list[Entry]:
    return [Entry(entry_id, fields) for _stream, entries in reply or [] for entry_id, fields in entries if fields]


def _readable(value: bytes) -> str:
    return value.decode(errors="backslashreplace")[:_DEAD_LETTER_CHARS]


def _decoded(fields: Fields) -> dict[str, str]:
    """Return an entry's fields as text; raises `ItemInvalid` for what is not UTF-8."""
    decoded: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, value in fields.items():
        try:
            decoded[name.decode()] = value.decode()
        except UnicodeDecodeError:
            problems[_readable(name)[:50]] = "is not UTF-8"
    if problems:
        raise ItemInvalid(problems)
    return decoded
