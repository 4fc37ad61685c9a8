"""Holds what is deployed (a model, an index) in a serving process and swaps it when another one goes live.

The procedure of `Deployed.get`:

1. At most once in `poll_seconds`, one thread asks `current_key` what is live now; the others go on with what they have.
2. The same key as before: nothing happens. Another key: `load(key)` runs on the asking thread, and the new object
   takes the place of the old one. Calls in flight keep the object that they got, and Python frees it after the last.
3. When asking or loading fails, the error is logged by its name, the old object keeps serving, and the same key is
   tried again after a pause that doubles from 2 s up to 60 s.

A serving process runs a `Watch` beside that: it asks and loads on a thread of its own, so that no request waits for a
load, and a process without requests swaps as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db import connection

logger = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
WATCH_SECONDS = 0.5
# A watch that has not asked for so many of its periods counts as gone, and the callers ask again.
_SPARED_PERIODS = 10


class NotDeployed(Exception):
    """Nothing can be served: nothing is live, or the only thing that is live could not be loaded."""

    code = "not_deployed"


@dataclass(frozen=True)
class State(Generic[K]):
    """What a holder serves; `error` says why the newest key, `failed_key`, is not. Both are None when all is well."""

    key: K | None
    since: datetime | None
    failed_key: K | None
    error: Exception | None


@dataclass(frozen=True)
class _Held(Generic[K, T]):
    key: K
    value: T
    since: datetime


class Deployed(Generic[K, T]):
    """One deployed object per process, swapped when its key changes.

    `current_key` is a cheap question (one indexed query) that returns None while nothing is live. `load` may take
    long and may raise. Both run on the thread that calls `get`, so call `get` where a database query is allowed and
    no transaction is open. `clock` counts seconds and never runs backwards.

    >>> live = {"key": "a"}
    >>> deployed = Deployed(lambda: live["key"], str.upper, name="letter", poll_seconds=0.0)
    >>> deployed.get()
    'A'
    >>> live["key"] = "b"
    >>> deployed.get()
    'B'
    """

    def __init__(
        self,
        current_key: Callable[[], K | None],
        load: Callable[[K], T],
        *,
        name: str,
        poll_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._current_key = current_key
        self._load = load
        self._name = name
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: _Held[K, T] | None = None
        self._next_poll = float("-inf")
        self._failed_key: K | None = None
        self._retry_at = float("-inf")
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._error: Exception | None = None

    @property
    def name(self) -> str:
        """What is held, for people and logs."""
        return self._name

    @property
    def key(self) -> K | None:
        """The key of the object that serves now; None before the first load."""
        held = self._held
        return held.key if held is not None else None

    @property
    def error(self) -> Exception | None:
        """Why the newest key is not served, or why it could not be asked for; None when all is well."""
        return self._error

    @property
    def state(self) -> State[K]:
        """What serves since when, and what does not. Asks nobody."""
        held = self._held
        return State(
            key=held.key if held is not None else None,
            since=held.since if held is not None else None,
            failed_key=self._failed_key,
            error=self._error,
        )

    def get(self) -> T:
        """Return the object that is live; raises `NotDeployed` when there has never been one to serve."""
        held = self._held
        if held is not None and self._clock() < self._next_poll:
            return held.value
        # Whoever holds an object does not wait for another thread's load.
        if self._lock.acquire(blocking=held is None):
            try:
                if self._clock() >= self._next_poll:
                    self._refresh(spared_seconds=self._poll_seconds)
            finally:
                self._lock.release()
        held = self._held
        if held is None:
            reason = f": {type(self._error).__name__}: {self._error}" if self._error is not None else ""
            raise NotDeployed(f"No {self._name} is deployed{reason}")
        return held.value

    def refresh(self, *, spared_seconds: float) -> None:
        """Ask and load now, and spare callers of `get` from doing so for a while; for a `Watch`."""
        with self._lock:
            self._refresh(spared_seconds=spared_seconds)

    def forget(self) -> None:
        """Drop the object and all memory of failures, so that the next `get` asks and loads afresh (for tests)."""
        with self._lock:
            self._held = None
            self._next_poll = self._retry_at = float("-inf")
            self._failed_key = self._error = None
            self._pause_seconds = FIRST_PAUSE_SECONDS

    def _refresh(self, *, spared_seconds: float) -> None:
        now = self._clock()
        self._next_poll = now + spared_seconds
        try:
            key = self._current_key()
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the old object answers
            self._error = _without_frames(error)
            logger.warning("%s: asking what is live failed: %s: %s", self._name, type(error).__name__, error)
            return
        held = self._held
        if key is None:
            # A mark that was taken away withdraws the object: serving on would answer from what was withdrawn.
            self._held = self._error = self._failed_key = None
            return
        if held is not None and held.key == key:
            self._error = self._failed_key = None
            return
        if key == self._failed_key and now < self._retry_at:
            return
        try:
            value = self._load(key)
        except Exception as error:  # noqa: BLE001 - a load fails in any way; the old object serves
            self._pause_seconds = (
                min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS) if key == self._failed_key else FIRST_PAUSE_SECONDS
            )
            self._retry_at = self._clock() + self._pause_seconds
            self._failed_key, self._error = key, _without_frames(error)
            code = getattr(error, "code", type(error).__name__)
            logger.error(
                "%s: %s could not be loaded (%s: %s); %s",
                self._name,
                key,
                code,
                error,
                "the one before keeps serving" if held is not None else "nothing is served",
            )
        else:
            self._held = _Held(key, value, datetime.now(UTC))
            self._error = self._failed_key = None
            self._pause_seconds = FIRST_PAUSE_SECONDS
            # The time of a load counts: callers are spared from its end on.
            self._next_poll = self._clock() + spared_seconds
            logger.info("%s: %s is live", self._name, key)


class Watch:
    """A thread that keeps holders up to date once in `period_seconds`, until it is stopped.

    `holders` is called each time, so that holders made later are watched too. The first look is one period after the
    start. Holders whose watch has ended or hangs are asked for by their callers again.
    """

    def __init__(
        self, holders: Callable[[], Iterable[Deployed[Any, Any]]], *, period_seconds: float = WATCH_SECONDS
    ) -> None:
        self._holders = holders
        self._period_seconds = period_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deployed-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; once only."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 2.0) -> None:
        """End the watch, waiting at most so long for a load that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._period_seconds):
            try:
                for holder in list(self._holders()):
                    holder.refresh(spared_seconds=self._period_seconds * _SPARED_PERIODS)
            except Exception:  # a holder keeps its errors to itself; whatever else happens, the watch goes on
                logger.exception("the watch missed a look")
            finally:
                connection.close()


def _without_frames(error: Exception) -> Exception:
    """Return the error without the frames that it went through: they would keep a model that failed in memory."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
