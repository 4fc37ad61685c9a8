"""The processes of one machine, and the configuration under which ``supervisor`` keeps them running."""

from __future__ import annotations

import configparser
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

STOP_SECONDS = 6  # then by force; Ctrl-C is to be done in 10 s, the embedded services included
_LOG_BYTES = 10_000_000
_RUN_SECONDS_TO_COUNT_AS_STARTED = 5
# Supervisor waits one second longer after each failed start; it never gives up, so that an outage of any length heals.
_START_RETRIES = 1_000_000


@dataclass(frozen=True)
class Process:
    """A process by its name, with the words of its command line."""

    name: str
    command: tuple[str, ...]
    # Who waits for an answer comes first: everything but the web process yields to it, a training most of all.
    niceness: int = 0

    @property
    def log_file(self) -> Path:
        """What the process writes to its standard output and error."""
        return Path(settings.EMBEDDED.log_dir) / f"{self.name}.log"


def processes() -> tuple[Process, ...]:
    """Return the processes of a whole system on one machine."""
    python = sys.executable
    celery = (python, "-m", "celery", "--app", "lepton_app", "--quiet")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
    return (
        Process(
            "web",
            (
                *(python, "-m", "uvicorn", "lepton_app.asgi:application"),
                *("--host", settings.HOST, "--port", str(settings.PORT), "--workers", str(settings.WEB_PROCESSES)),
                *("--ws", "websockets-sansio", "--ws-max-size", str(1 << 20), "--lifespan", "on"),
                *("--timeout-graceful-shutdown", "3", "--no-access-log", "--no-server-header"),
            ),
        ),
        Process(
            "worker", (*celery, "worker", "--queues", "default", "--pool", "threads", "--concurrency", "2", *quiet)
        ),
        Process(
            "training",
            # A child of its own for each run: what torch has taken is given back when it ends.
            (
                *(*celery, "worker", "--queues", "training", "--hostname", "training@%h"),
                *("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "1", *quiet),
            ),
            niceness=10,
        ),
        Process("beat", (*celery, "beat", "--loglevel", "INFO", "--pidfile", ""), niceness=5),
        Process("stream", (python, str(settings.BASE_DIR / "manage.py"), "stream"), niceness=5),
    )


def supervisor_configuration(wanted: Sequence[Process]) -> str:
    """Return the text of a ``supervisord.conf`` that runs the processes, without a port or a control socket."""
    parser = configparser.RawConfigParser()
    parser["supervisord"] = {
        "nodaemon": "true",
        "logfile": _value(settings.EMBEDDED.log_dir / "supervisor.log"),
        "logfile_maxbytes": str(_LOG_BYTES),
        "logfile_backups": "1",
        "pidfile": _value(settings.EMBEDDED.run_dir / "supervisor.pid"),
        "directory": _value(settings.BASE_DIR),
        "umask": "077",
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }
    for process in wanted:
        command = (sys.executable, "-m", "lepton_app.supervised", str(process.niceness), *process.command)
        parser[f"program:{process.name}"] = {
            "command": " ".join(_quoted(word) for word in command),
            "autorestart": "true",
            "startsecs": str(_RUN_SECONDS_TO_COUNT_AS_STARTED),
            "startretries": str(_START_RETRIES),
            "stopwaitsecs": str(STOP_SECONDS),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": _value(process.log_file),
            "stdout_logfile_maxbytes": str(_LOG_BYTES),
            "stdout_logfile_backups": "1",
        }
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _value(path: Path) -> str:
    """Escape a path for supervisor, which expands ``%(…)s`` in every value."""
    return str(path).replace("%", "%%")


def _quoted(word: str) -> str:
    """Quote a word for supervisor, which splits commands as a shell does and expands ``%(…)s``."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def last_log_line(process: Process) -> str:
    """Return the last line that says something in a process's log, for a message of one line."""
    try:
        lines = process.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    except OSError:
        lines = []
    spoken = [line.strip() for line in lines if line.strip()]
    return spoken[-1][:300] if spoken else "its log is empty"
