"""Two serving processes under load swap the model within three seconds, and no request fails."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection

from lepton_app.learning import deployments, gate
from lepton_app.learning.gate import Check, Judgement
from lepton_app.learning.models import Run
from lepton_app.lib import encoding
from tests.learning import toys

pytestmark = pytest.mark.django_db(transaction=True)

SWAPS = 20
MOST_SECONDS = 3.0


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from toys.installation(tmp_path / "artifacts", settings, monkeypatch)


class ServingProcess:
    """A process that asks the deployed model all the time, and tells when another run answers."""

    def __init__(self, data_dir: Path) -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": django_settings.EMBEDDED.postgres_url(connection.settings_dict["NAME"]),
            "REDIS_URL": django_settings.REDIS_URL,
            "LEPTON_SECRET_KEY": django_settings.SECRET_KEY,
            "LEPTON_DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "lepton_app.settings",
            "OMP_NUM_THREADS": "1",
            "LEPTON_MODEL_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.learning.serving_process"]
        self._process = subprocess.Popen(
            command,
            cwd=django_settings.BASE_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=reader) for reader in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def wait_for(self, run: Run) -> float:
        """Return when the run answered for the first time, in seconds of the clock."""
        try:
            while True:
                line = self._lines.get(timeout=30)
                if line.get("run") == run.pk:
                    return float(line["at"])
        except queue.Empty:
            raise AssertionError("".join(self._errors)) from None

    def end(self) -> dict[str, Any]:
        """Let it finish what it does, and return its counts."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        while "counts" not in (line := self._lines.get(timeout=20)):
            pass
        self._process.wait(timeout=20)
        return line

    def kill(self) -> None:
        self._process.kill()
        for reader in self._readers:
            reader.join()
        with self._process:  # closes the pipes
            pass


def test_two_processes_swap_back_and_forth_without_a_failed_request(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(candidate: Run, deployed: Run | None) -> Judgement:
        against = deployed.pk if deployed is not None else None
        return Judgement((Check("latency", "pass", {"candidate": 1.0}),), against)

    monkeypatch.setattr(gate, "compare", compare)
    task = toys.labelled_task()
    common = toys.ready_run(task, root, encoding.encoder_directory())
    own = toys.ready_run(task, root, toys.publish_encoder(root, seed=1), is_own=True)
    deployments.deploy(common)
    took: list[float] = []
    with ExitStack() as stack:
        processes = [ServingProcess(tmp_path) for _ in range(2)]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            process.wait_for(common)
        for turn in range(SWAPS):
            run = (own, common)[turn % 2]
            # The last one goes back the other way.
            began = time.time()
            deployed = deployments.roll_back(task) if turn == SWAPS - 1 else deployments.deploy(run)
            assert deployed.run_id == run.pk
            took += [process.wait_for(run) - began for process in processes]
        ends = [process.end() for process in processes]
    assert len(took) == 2 * SWAPS
    assert max(took) < MOST_SECONDS, took
    for end in ends:
        assert end["failures"] == []
        for answered in (f"run {common.pk}", f"run {own.pk}", "replies"):
            assert end["counts"][answered] > 20, end
        # The last swap left no thread of an own encoder behind: those of the shared one are one and a batch's.
        assert end["encoder_threads"] <= 2, end
