"""Who works on a run: one worker at a time, told by the number of the attempt.

``take`` claims a queued run by a conditional UPDATE. Every later word goes into the row only while the run is still
running in the same attempt: a worker that was silent for too long has lost its run to another one, and what it writes
then changes nothing. A heartbeat is written from a thread of its own while the work is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from lepton_app.learning.errors import RunCancelled, RunLost
from lepton_app.learning.models import Run

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
# For so long the end of a run waits for a database that is away: hours of work may hang on it.
PATIENCE_SECONDS = 120.0
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Claim:
    """One worker's hold on a run."""

    run_id: int
    attempt: int
    _lost: threading.Event = field(default_factory=threading.Event, compare=False)

    def say(self, **changes: Any) -> None:
        """Write into the row on the way; a database that is away for a moment is borne.

        Raises ``RunCancelled`` when somebody wants the run to end, ``RunLost`` when it is another worker's.
        """
        if self._lost.is_set():
            raise self._loss()
        try:
            if not self._mine().filter(is_cancel_requested=False).update(**changes, heartbeat_at=timezone.now()):
                self._refuse()
        except (OperationalError, InterfaceError):
            logger.warning("run #%s could not say where it stands; it works on", self.run_id, exc_info=True)
            connection.close_if_unusable_or_obsolete()

    def finish(self, status: Run.Status, **changes: Any) -> None:
        """End the run, once and for all; a database that is away is waited for.

        A run that was to be cancelled does not become ready: raises ``RunCancelled``; ``RunLost`` as ``say`` does.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                row = self._mine().filter(is_cancel_requested=False) if status == Run.Status.READY else self._mine()
                changed = row.update(status=status, finished_at=timezone.now(), step="", progress={}, **changes)
                break
            except (OperationalError, InterfaceError):
                if time.monotonic() > end:
                    raise
                logger.warning("run #%s waits for the database to write how it ended", self.run_id)
                connection.close_if_unusable_or_obsolete()
                time.sleep(_RETRY_SECONDS)
        if not changed:
            self._refuse()

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Write a sign of life into the row while the body works, from a thread with a connection of its own."""
        stopped = threading.Event()

        def beat() -> None:
            while not stopped.wait(HEARTBEAT_SECONDS):
                try:
                    if not self._mine().update(heartbeat_at=timezone.now()):
                        self._lost.set()
                except Exception:  # a database that is away for a moment must not make a working run look dead
                    logger.exception("heartbeat of run #%s missed", self.run_id)
                finally:
                    connection.close()

        thread = threading.Thread(target=beat, name=f"heartbeat-{self.run_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _mine(self) -> QuerySet[Run]:
        return Run.objects.filter(pk=self.run_id, attempts=self.attempt, status=Run.Status.RUNNING)

    def _refuse(self) -> None:
        if self._mine().exists():
            raise RunCancelled(gettext("Run #%(number)s was cancelled.") % {"number": self.run_id})
        self._lost.set()
        raise self._loss()

    def _loss(self) -> RunLost:
        return RunLost(gettext("Run #%(number)s was given to another worker.") % {"number": self.run_id})


def take(run_id: int) -> Claim | None:
    """Claim a queued run; None when it is not there, not queued any more, or somebody else was faster."""
    now = timezone.now()
    taken = Run.objects.filter(pk=run_id, status=Run.Status.QUEUED).update(
        status=Run.Status.RUNNING, started_at=now, heartbeat_at=now, attempts=F("attempts") + 1, error="", step=""
    )
    if not taken:
        return None
    attempt = Run.objects.values_list("attempts", flat=True).get(pk=run_id)
    return Claim(run_id, attempt)
