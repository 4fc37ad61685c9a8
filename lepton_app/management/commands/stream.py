"""``manage.py stream``: stores the items of the Redis Stream until it is told to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from monitoring import stream

# A batch takes far less; one that hangs on a service that is away is left pending, where it is not lost.
FINISH_SECONDS = 1.2


class _Abandoned(BaseException):
    """The batch in hand took too long after a signal. No ``Exception``: nothing on the way may swallow it."""


class Command(BaseCommand):
    """Runs one stream worker; start several for more speed, they share the work."""

    help = "Store the news items and posts that arrive in the Redis Stream, until SIGTERM or Ctrl-C."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker; the batch in hand is finished on a signal, or left to be done again."""
        stopping = threading.Event()

        def stop(signum: int, frame: FrameType | None) -> None:
            stopping.set()
            signal.setitimer(signal.ITIMER_REAL, FINISH_SECONDS)

        def abandon(signum: int, frame: FrameType | None) -> None:
            raise _Abandoned

        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, stop)
        signal.signal(signal.SIGALRM, abandon)
        try:
            with stream.connect() as client:
                worker = stream.StreamWorker(client)
                self.stdout.write(f"Stream worker {worker.consumer} stores what arrives in {worker.stream}.")
                self.stdout.flush()
                stream.run(worker, stopping)
                worker.leave()
        except _Abandoned:
            self.stderr.write("Stopped in the middle of a batch; another worker will store it.")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
