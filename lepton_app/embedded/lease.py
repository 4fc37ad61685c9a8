"""Who uses the services: the first to need them starts them, the last to leave stops them."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lepton_app.embedded.layout import Layout, prepare_data_dir
from lepton_app.embedded.servers import Postgres, Redis, Service

Report = Callable[[str], None]


@dataclass
class Lease:
    """One process's claim on the embedded services of a data directory."""

    layout: Layout
    _users: IO[bytes] | None
    _services: tuple[Service, ...]

    def release(self) -> None:
        """Give the claim up; the last one to do so stops the services. Safe to call twice."""
        if self._users is None:
            return
        users, self._users = self._users, None
        with users, _locked(self.layout.run_dir / "starting.lock"):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else still works with them
            for service in reversed(self._services):
                service.stop()


def acquire(layout: Layout, *, postgres: bool, redis: bool, report: Report = lambda line: None) -> Lease:
    """Start the services that are wanted and do not run yet, and return a claim that keeps them running.

    ``report`` receives a line for each service that is started. Raises ``EmbeddedError``.
    """
    prepare_data_dir(layout)
    services: list[Service] = []
    if postgres:
        services.append(Postgres(layout))
    if redis:
        services.append(Redis(layout))
    with _locked(layout.run_dir / "starting.lock"):
        users = open(layout.run_dir / "users.lock", "ab")  # noqa: SIM115 - held until the lease is released
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            for service in services:
                if not service.answers():
                    started = time.monotonic()
                    service.start()
                    report(f"{service.title} started ({time.monotonic() - started:.1f} s)")
                service.make_ready()
        except BaseException:
            users.close()
            raise
    return Lease(layout, users, tuple(services))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
