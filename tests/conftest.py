"""What every test can rely on: no network, the real encoder on request, a clean Redis database."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import translation


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Refuse every connection but those to this machine and to Unix sockets."""
    real_connect = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and str(address[0]) not in {"127.0.0.1", "::1", "localhost"}:
            raise OSError(f"The tests reach no network; something tried {address!r}.")
        real_connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """End the sessions that threads of the tests left open, so that the test database can be dropped."""
    yield
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    """Begin in English: a request in Chinese leaves its thread speaking Chinese."""
    translation.activate(settings.LANGUAGE_CODE)
    yield
    translation.deactivate()


@pytest.fixture(scope="session")
def static_files() -> Path:
    """Collect the static files once, as an installation does."""
    from django.core.management import call_command
    from filelock import FileLock

    with FileLock(settings.DATA_DIR / "static.lock"):
        if not (settings.STATIC_ROOT / "staticfiles.json").exists():
            call_command("collectstatic", interactive=False, verbosity=0)
    return settings.STATIC_ROOT


@pytest.fixture(scope="session")
def encoder_folder() -> Path:
    """The real encoder, exported once for the whole suite."""
    from filelock import FileLock

    from lepton_app.lib.encoder_export import current_encoder, export_encoder

    settings.ARTIFACTS_DIR.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.DATA_DIR / "encoder.lock"):
        found = current_encoder(settings.ARTIFACTS_DIR, None)
        return found or export_encoder(None, settings.ARTIFACTS_DIR, progress=lambda line: None)


@pytest.fixture
def clean_redis() -> Iterator[Any]:
    """A client of this worker's own Redis database, empty before and after."""
    import redis

    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
        yield client
        client.flushdb()
