"""Holds what is deployed (a model, an index) in a serving process and swaps it when another one goes live.

The procedure of `Deployed.get`:

1. At most once in `poll_seconds`, one thread asks `current_key` what is live now; the others go on with what they have.
2. The same key as before: nothing happens. Another key: `load(key)` runs on the asking thread, and the new object
   takes the place of the old one. Calls in flight keep the object that they got.
3. When asking or loading fails, the error is logged by its name, the old object keeps serving, and the same key is
   tried again after a pause that doubles from 2 s up to 60 s.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class NotDeployed(Exception):
    """Nothing can be served: nothing is live, or the only thing that is live could not be loaded."""

    code = "not_deployed"


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
        self._held: tuple[K, T] | None = None
        self._next_poll = float("-inf")
        self._failed_key: K | None = None
        self._retry_at = float("-inf")
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._error: Exception | None = None

    @property
    def key(self) -> K | None:
        """The key of the object that serves now; None before the first load."""
        held = self._held
        return held[0] if held is not None else None

    @property
    def error(self) -> Exception | None:
        """Why the newest key is not served; None when all is well."""
        return self._error

    def get(self) -> T:
        """Return the object that is live; raises `NotDeployed` when there has never been one to serve."""
        held = self._held
        if held is not None and self._clock() < self._next_poll:
            return held[1]
        # Whoever holds an object does not wait for another thread's load.
        if self._lock.acquire(blocking=held is None):
            try:
                self._refresh()
            finally:
                self._lock.release()
        held = self._held
        if held is None:
            reason = f": {type(self._error).__name__}: {self._error}" if self._error is not None else ""
            raise NotDeployed(f"No {self._name} is deployed{reason}")
        return held[1]

    def forget(self) -> None:
        """Drop the object and all memory of failures, so that the next `get` asks and loads afresh (for tests)."""
        with self._lock:
            self._held = None
            self._next_poll = self._retry_at = float("-inf")
            self._failed_key = self._error = None
            self._pause_seconds = FIRST_PAUSE_SECONDS

    def _refresh(self) -> None:
        now = self._clock()
        if now < self._next_poll:
            return
        self._next_poll = now + self._poll_seconds
        try:
            key = self._current_key()
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the old object answers
            self._error = error
            logger.warning("%s: asking what is live failed: %s: %s", self._name, type(error).__name__, error)
            return
        held = self._held
        if key is None:
            # A mark that was taken away withdraws the object: serving on would answer from what was withdrawn.
            self._held = self._error = self._failed_key = None
            return
        if held is not None and held[0] == key:
            self._error = self._failed_key = None
            return
        if key == self._failed_key and now < self._retry_at:
            return
        try:
            self._held = (key, self._load(key))
        except Exception as error:  # noqa: BLE001 - a load fails in any way; the old object serves
            self._pause_seconds = (
                min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS) if key == self._failed_key else FIRST_PAUSE_SECONDS
            )
            self._failed_key, self._retry_at, self._error = key, self._clock() + self._pause_seconds, error
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
            self._error = self._failed_key = None
            self._pause_seconds = FIRST_PAUSE_SECONDS
            logger.info("%s: %s is live", self._name, key)
