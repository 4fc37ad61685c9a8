"""Run the whole system on this machine: ``manage.py start``."""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lepton_app import reachable
from lepton_app.processes import STOP_SECONDS, Process, last_log_line, processes, supervisor_configuration

_ENDED = re.compile(r"exited: (?P<name>\w+) \((?P<how>.*); not expected\)")
_NOT_STARTED = re.compile(r"spawnerr: (?P<reason>.*)")
_READY_TIMEOUT_SECONDS = 60.0


class Command(BaseCommand):
    """Prepare the installation, then run web, workers, beat and stream until Ctrl-C or SIGTERM."""

    help = (
        "Prepare the installation (see `prepare`), then run web, worker, training worker, beat and stream worker as "
        "supervised processes until Ctrl-C or SIGTERM. Logs lie in LEPTON_DATA_DIR/log."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """There is nothing to choose here; host and port are settings."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Return once everything has ended."""
        with open(settings.EMBEDDED.run_dir / "start.lock", "ab") as lock:
            self._claim(lock)
            self._check_port()
            self._check_services()
            stopping = _Stopping()
            prepared = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                [sys.executable, str(settings.BASE_DIR / "manage.py"), "prepare"]
            )
            stopping.forward_to(prepared)
            if prepared.wait() != 0 or stopping.asked:
                raise SystemExit(130 if stopping.asked else 1)
            self._supervise(stopping)

    def _claim(self, lock: IO[bytes]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Lepton runs already on {settings.DATA_DIR}: stop it first, or set LEPTON_DATA_DIR to another folder."
            ) from None

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.HOST, settings.PORT))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    what = f"Port {settings.PORT} is in use: stop what uses it, or set LEPTON_PORT to another port."
                else:
                    where = f"{settings.HOST}:{settings.PORT}"
                    what = f"{where} cannot be used ({error.strerror}): set LEPTON_HOST or LEPTON_PORT."
                raise CommandError(what) from None

    def _check_services(self) -> None:
        try:
            reachable.check()
        except reachable.Unreachable as error:
            raise CommandError(str(error)) from None

    def _supervise(self, stopping: _Stopping) -> None:
        wanted = processes()
        configuration = settings.EMBEDDED.run_dir / "supervisord.conf"
        configuration.write_text(supervisor_configuration(wanted), encoding="utf-8")
        supervisor = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
            [
                *(sys.executable, "-m", "lepton_app.supervised", "0"),
                *(sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n", "-c", str(configuration)),
            ],
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops the others in order
        )
        stopping.forward_to(supervisor)
        reader = threading.Thread(target=self._tell, args=(supervisor, {p.name: p for p in wanted}), daemon=True)
        reader.start()
        if self._wait_until_ready(supervisor, stopping):
            self._print_addresses()
        supervisor.wait()
        reader.join(timeout=1)
        if not stopping.asked:
            raise CommandError(f"The supervisor ended by itself: see {settings.EMBEDDED.log_dir / 'supervisor.log'}.")
        self.stderr.write("Stopped.")

    def _tell(self, supervisor: subprocess.Popen[str], by_name: dict[str, Process]) -> None:
        """Print why a process ended; everything else that supervisor says is in its log."""
        assert supervisor.stdout is not None
        for line in supervisor.stdout:
            ended, failed = _ENDED.search(line), _NOT_STARTED.search(line)
            if ended:
                process = by_name[ended["name"]]
                self.stderr.write(
                    f"{process.name} ended ({ended['how']}) and is started again: {last_log_line(process)} "
                    f"(the whole log: {process.log_file})"
                )
            elif failed:
                self.stderr.write(f"A process could not be started: {failed['reason']}")

    def _wait_until_ready(self, supervisor: subprocess.Popen[str], stopping: _Stopping) -> bool:
        deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 - compared, not bound
        while supervisor.poll() is None and not stopping.asked:
            try:
                connection = http.client.HTTPConnection(host, settings.PORT, timeout=2)
                connection.request("GET", "/healthz", headers={"Host": "localhost"})
                if connection.getresponse().status in {200, 301, 400}:  # it answers, whatever hosts it allows
                    return True
            except OSError:
                pass
            if time.monotonic() > deadline:
                self.stderr.write(f"The web process does not answer yet: see {settings.EMBEDDED.log_dir / 'web.log'}.")
                deadline = float("inf")
            time.sleep(0.1)
        return False

    def _print_addresses(self) -> None:
        host = "localhost" if settings.HOST in {"127.0.0.1", "0.0.0.0", "::", "::1"} else settings.HOST  # noqa: S104
        base = f"http://{host}:{settings.PORT}"
        self.stdout.write(
            "\n".join(
                (
                    "",
                    f"  Demo page with the chat   {base}/",
                    f"  Admin                     {base}/admin/",
                    f"  Dashboard                 {base}/monitoring/",
                    "",
                    "  Ctrl-C ends everything.",
                    "",
                )
            )
        )
        self.stdout.flush()


class _Stopping:
    """Hands SIGINT and SIGTERM on to the child that works now, and remembers that the end was asked for."""

    def __init__(self) -> None:
        self.asked = False
        self._child: subprocess.Popen[Any] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def forward_to(self, child: subprocess.Popen[Any]) -> None:
        """Name the child that is to be stopped; one that comes after the signal is stopped at once."""
        self._child = child
        if self.asked:
            child.terminate()

    def _stop(self, number: int, frame: object) -> None:
        self.asked = True
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            threading.Timer(STOP_SECONDS + 1, self._kill, [self._child]).start()

    @staticmethod
    def _kill(child: subprocess.Popen[Any]) -> None:
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
