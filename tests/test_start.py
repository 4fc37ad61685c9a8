"""``manage.py start`` as a person uses it: fresh, again, after a kill, and where it cannot work."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from lepton_app import embedded

MANAGE = str(settings.BASE_DIR / "manage.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """A data directory of its own, and the processes that were started on it."""

    def __init__(self, data_dir: Path) -> None:
        self.layout = embedded.Layout(data_dir)
        self.port = free_port()
        own = {"LEPTON_DATA_DIR": str(data_dir), "LEPTON_PORT": str(self.port), "HF_HUB_OFFLINE": "1"}
        dropped = {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LEPTON_") and k not in dropped}
        self.environment = {**kept, **own}
        self.output = data_dir.with_suffix(".out")
        self.running: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, MANAGE, *words],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *, ready_within: float) -> subprocess.Popen[bytes]:
        with open(self.output, "wb") as out:
            process = subprocess.Popen([sys.executable, MANAGE, "start"], env=self.environment, stdout=out, stderr=out)
        self.running.append(process)
        deadline = time.monotonic() + ready_within
        while "Ctrl-C" not in self.said():
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return process

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def processes(self) -> list[psutil.Process]:
        """Everything that was started on this data directory and still runs."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                mine = process.environ().get("LEPTON_DATA_DIR") == str(self.layout.data_dir)
                if mine or str(self.layout.data_dir) in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def child(self, name: str) -> psutil.Process:
        words = {"web": "uvicorn", "stream": "stream", "beat": "beat"}[name]
        return next(p for p in self.processes() if words in p.cmdline() or f"lepton_app.{words}" in p.cmdline())

    def kill_everything(self) -> None:
        for process in self.processes():
            process.kill()
        for started in self.running:
            started.wait()
        deadline = time.monotonic() + 5
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("start") / "data")
    yield made
    made.kill_everything()


@pytest.mark.slow
@pytest.mark.weights
def test_a_fresh_start_serves_restarts_what_dies_recovers_from_kill_9_and_ends_clean(
    installation: Installation,
) -> None:
    process = installation.start(ready_within=240)
    said = installation.said()
    assert re.search(r"Password +\S{12,}", said)
    for address in ("/", "/admin/", "/monitoring/"):
        assert f"http://localhost:{installation.port}{address}\n" in said
    assert installation.get("/healthz") == (200, {"status": "ok"})
    status, readiness = installation.get("/readyz")
    assert readiness["components"] == {"database": "ok", "redis": "ok", "model": "ok", "index": "ok"}
    assert status == 200

    # Another start on the same data says so and changes nothing.
    second = installation.command("start")
    assert second.returncode != 0
    assert "runs already" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1

    # A child that dies is started again, with the reason on the screen.
    victim = installation.child("web")
    victim.kill()
    deadline = time.monotonic() + 30
    while "web ended" not in installation.said() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "web ended (terminated by SIGKILL) and is started again" in installation.said()
    while time.monotonic() < deadline:
        try:
            assert installation.get("/healthz")[0] == 200
            break
        except OSError:
            time.sleep(0.1)
    else:
        pytest.fail("the web process did not come back")

    # kill -9 of everything; the next start recovers by itself, and makes no second administrator.
    installation.kill_everything()
    process = installation.start(ready_within=60)
    assert "Password" not in installation.said()
    assert installation.get("/readyz")[0] == 200

    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    assert time.monotonic() - started < 10
    assert installation.processes() == []


def test_a_port_in_use_is_named_with_the_way_out(installation: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = installation.command("start", LEPTON_PORT=port)
    assert ended.returncode == 1
    assert (
        ended.stderr.strip()
        .splitlines()[-1]
        .endswith(f"Port {port} is in use: stop what uses it, or set LEPTON_PORT to another port.")
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DATABASE_URL", "mysql://host/name", "DATABASE_URL must be a URL that starts with postgres"),
        ("DATABASE_URL", "postgresql://nobody:geheim@127.0.0.1:1/none", "PostgreSQL cannot be reached"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL must be a URL that starts with redis"),
        ("LEPTON_PORT", "70000", "LEPTON_PORT must be from 1 to 65535; it is 70000."),
        ("LEPTON_DEBUG", "perhaps", "LEPTON_DEBUG must be one of"),
        ("LEPTON_DATA_DIR", "/proc/nowhere", "The data directory /proc/nowhere cannot be written"),
    ],
)
def test_a_setting_that_cannot_work_is_one_line_and_not_exit_0(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    ended = Installation(tmp_path / "data").command("start", **{name: value})
    assert ended.returncode == 1
    assert message in ended.stderr
    lines = [line for line in ended.stderr.strip().splitlines() if "started (" not in line]
    assert len(lines) == 1
    assert "geheim" not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
