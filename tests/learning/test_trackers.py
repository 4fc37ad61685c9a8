"""Curves lie in TensorBoard's files, go to Weights & Biases by its key alone, and never stop a run."""

from __future__ import annotations

import importlib.machinery
import logging
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lepton_app.learning import trackers
from lepton_app.learning.models import Run, Task

KEY = "secret-0123456789"
POINT = {"step": 7, "epoch": 0.5, "loss": 0.25, "learning_rate": 1e-3, "validation_loss": None, "accuracy": 0.75}


@pytest.fixture
def run(tmp_path: Path, settings: Any) -> Run:
    settings.DATA_DIR = tmp_path
    settings.WANDB_API_KEY = ""
    return Run(pk=12, task=Task(name="intent"), method="lora", config={"epochs": 3}, attempts=1)


class Wandb(types.ModuleType):
    """Stands in for the library: takes what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.given: dict[str, Any] = {}
        self.logged: list[tuple[dict[str, float], int]] = []
        self.summary: dict[str, float] = {}
        self.finished = False

    def Settings(self, **options: Any) -> dict[str, Any]:
        return options

    def init(self, **options: Any) -> Wandb:
        self.given = options
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.finished = True


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Read event files back: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            found += [
                (value.tag, event.step, round(value.simple_value, 6))
                for value in event.summary.value
                if value.HasField("simple_value")
            ]
    return found


def follow(run: Run, folder: Path) -> None:
    for tracker in trackers.trackers_of(run, folder=folder):
        tracker.point(POINT)
        tracker.figures({"accuracy": 0.5, "served_precision": "int8", "ece": None})
        tracker.close()


def test_every_run_leaves_event_files_that_tensorboard_reads(run: Run, tmp_path: Path) -> None:
    follow(run, tmp_path)
    folder = tmp_path / "runs-tensorboard" / "intent" / "run-12"
    assert trackers.tensorboard_folder(run) == folder
    assert sorted(scalars(folder)) == [
        ("final/accuracy", 7, 0.5),
        ("train/epoch", 7, 0.5),
        ("train/learning_rate", 7, 0.001),
        ("train/loss", 7, 0.25),
        ("validation/accuracy", 7, 0.75),
    ]
    run.attempts = 2  # resumed: what the first attempt wrote stays
    follow(run, tmp_path)
    assert len(scalars(folder)) == 10


def test_without_a_key_nothing_is_sent_though_the_library_is_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    follow(run, tmp_path)
    assert (wandb.given, wandb.logged) == ({}, [])


def test_with_a_key_curves_and_figures_are_sent(
    run: Run, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    settings.WANDB_API_KEY, settings.WANDB_PROJECT = KEY, "desk"
    follow(run, tmp_path)
    options = wandb.given
    assert (options["project"], options["id"], options["resume"], options["config"]) == (
        *("desk", "intent-12", "allow"),
        {"epochs": 3},
    )
    assert (options["settings"]["api_key"], options["settings"]["console"]) == (KEY, "off")
    told = {"train/loss": 0.25, "train/learning_rate": 1e-3, "train/epoch": 0.5, "validation/accuracy": 0.75}
    assert wandb.logged == [(told, 7)]
    assert wandb.summary == {"accuracy": 0.5}
    assert wandb.finished


def test_a_key_without_the_library_is_said_once_and_never_shown(
    run: Run, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WANDB_API_KEY = KEY
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert len(trackers.trackers_of(run, folder=tmp_path)) == 1
    assert "pip install wandb" in caplog.text
    assert KEY not in caplog.text


def test_a_tracker_that_fails_is_left_out_and_its_message_with_the_key_is_not_logged(
    run: Run, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Wandb):
        def log(self, values: dict[str, float], step: int) -> None:
            raise ConnectionError(f"refused {KEY}")

    broken = Broken()
    monkeypatch.setitem(sys.modules, "wandb", broken)
    settings.WANDB_API_KEY = KEY
    with caplog.at_level(logging.DEBUG):
        follow(run, tmp_path)
    assert "Weights & Biases does not follow this run any further (ConnectionError)" in caplog.text
    assert KEY not in caplog.text
    assert broken.summary == {}


def test_a_folder_that_cannot_be_written_does_not_stop_a_run(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs-tensorboard").write_text("in the way")
    follow(run, tmp_path)
    assert "TensorBoard does not follow this run" in caplog.text
    shutil.rmtree(tmp_path, ignore_errors=True)
