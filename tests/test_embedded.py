"""The embedded services: found or started, stopped with their last user, recovered after a kill."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from lepton_app import embedded


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[embedded.Layout]:
    made = embedded.Layout(tmp_path / "data")
    yield made
    for service in (embedded.Postgres(made), embedded.Redis(made)):
        service.stop()


def test_services_start_answer_and_end_with_their_last_user(layout: embedded.Layout) -> None:
    first = embedded.acquire(layout, postgres=True, redis=True)
    second = embedded.acquire(layout, postgres=True, redis=True)
    with psycopg.connect(layout.database_url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (embedded.DATABASE_NAME,)
    first.release()
    assert embedded.Postgres(layout).answers()
    assert embedded.Redis(layout).answers()
    second.release()
    second.release()
    assert not embedded.Postgres(layout).answers()
    assert not embedded.Redis(layout).answers()
    assert embedded.Postgres(layout).pid() is None


def test_data_survives_kill_9_of_both_services_and_stale_files_are_cleared(layout: embedded.Layout) -> None:
    lease = embedded.acquire(layout, postgres=True, redis=True)
    with psycopg.connect(layout.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    redis.Redis.from_url(layout.redis_url).xadd("kept", {"n": 7})
    for service in (embedded.Postgres(layout), embedded.Redis(layout)):
        pid = service.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while service.pid() is not None:
            time.sleep(0.01)
        assert service.socket_path.exists()
    # A process id is used again: the stale file now names a process that is not PostgreSQL.
    lines = embedded.Postgres(layout).pid_file.read_text().splitlines()
    embedded.Postgres(layout).pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    again = embedded.acquire(layout, postgres=True, redis=True)
    with psycopg.connect(layout.database_url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
    assert redis.Redis.from_url(layout.redis_url).xlen("kept") == 1
    again.release()
    lease.release()
    assert embedded.Postgres(layout).pid() is None


def test_data_directory_and_secret_key_are_closed_to_others(layout: embedded.Layout) -> None:
    embedded.prepare_data_dir(layout)
    key = layout.read_secret_key()
    embedded.prepare_data_dir(layout)
    assert layout.read_secret_key() == key
    assert len(key) >= 50
    assert stat.S_IMODE(layout.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(layout.secret_key_file.stat().st_mode) == 0o600


def test_a_data_directory_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(embedded.EmbeddedError, match=r"file/data cannot be written .*LEPTON_DATA_DIR"):
        embedded.prepare_data_dir(embedded.Layout(tmp_path / "file" / "data"))


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    layout = embedded.Layout(tmp_path / ("x" * 120))
    assert layout.socket_dir != layout.run_dir
    lease = embedded.acquire(layout, postgres=False, redis=True)
    assert redis.Redis.from_url(layout.redis_url).ping()
    lease.release()
    layout.socket_dir.rmdir()


def test_a_server_that_ends_at_its_start_is_reported_with_its_reason(layout: embedded.Layout) -> None:
    embedded.acquire(layout, postgres=True, redis=False).release()
    (layout.postgres_dir / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(embedded.EmbeddedError, match="PostgreSQL ended at its start"):
        embedded.acquire(layout, postgres=True, redis=False)
