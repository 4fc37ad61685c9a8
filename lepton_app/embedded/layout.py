"""Where the embedded services keep their files, and the URLs that follow: pure, but for ``prepare_data_dir``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

DATABASE_NAME = "lepton"
# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 103


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
