"""The life of a run, from the labels to the model at work and back again."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from lepton_app.learning import deployments, runs, snapshots, training
from lepton_app.learning.errors import (
    AlreadyQueued,
    DeploymentRefused,
    NothingToLearn,
    NothingToRollBack,
    RunNotReady,
)
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.linear import fit_linear
from lepton_app.learning.models import Annotation, Deployment, Run, Snapshot, Task
from lepton_app.lib.artifacts import ArtifactCorrupt

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _artifacts(tmp_path: Path, settings: Any) -> None:
    settings.ARTIFACTS_DIR = tmp_path


@pytest.fixture
def task() -> Task:
    made = Task.objects.create(name="intent", title="Intent")
    texts = {"card": ["lost my card", "card is gone", "no card"], "fees": ["what fees", "fee list", "cost of it"]}
    annotate(made, [Labelled(t, name) for name, ts in texts.items() for t in ts], source=Annotation.Source.IMPORT)
    return made


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for real, on random rows in place of the encoder's."""

    def train(dataset: snapshots.Dataset, *, root: Path, progress: runs.Progress) -> tuple[Path, dict[str, Any]]:
        progress("fitting")
        rows = np.random.default_rng(len(list(root.iterdir()))).standard_normal((len(dataset.texts), 8))
        unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        classifier = fit_linear(list(dataset.texts), list(dataset.labels), unit, encoder_version="toy")
        return classifier.save(root), {"accuracy": 1.0}

    monkeypatch.setattr(training, "train_head", train)


def finished(task: Task) -> Run:
    run = runs.request_run(task)
    assert runs.execute(run.pk)
    run.refresh_from_db()
    return run


@pytest.mark.usefixtures("trained")
def test_a_run_ends_ready_with_its_snapshot_figures_and_artifact(task: Task) -> None:
    said: list[str] = []
    run = runs.request_run(task)
    with pytest.raises(AlreadyQueued, match=f"Run #{run.pk}"):
        runs.request_run(task)
    assert runs.execute(run.pk, progress=said.append)
    assert not runs.execute(run.pk)  # done twice is done once
    run.refresh_from_db()
    assert (run.status, run.attempts, run.step, run.error) == (Run.Status.READY, 1, "", "")
    assert run.metrics == {"accuracy": 1.0}
    assert said == ["Freezing the labels", "fitting"]
    assert run.snapshot is not None
    assert (run.snapshot.rows, run.snapshot.label_count) == (6, 2)
    assert (settings.ARTIFACTS_DIR / run.artifact / "manifest.json").exists()


def test_a_run_that_fails_says_why_and_leaves_nothing_at_work(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "train_head", fail)
    run = finished(task)
    assert (run.status, run.error) == (Run.Status.FAILED, "OSError: [Errno 28] No space left on device")
    assert run.finished_at is not None
    with pytest.raises(RunNotReady, match="only a ready run"):
        deployments.deploy(run)
    assert not Deployment.objects.exists()


def test_a_silent_run_is_queued_again_and_given_up_after_the_third_time(task: Task) -> None:
    now = timezone.now()
    long_ago = now - runs.SILENT_AFTER - timedelta(seconds=1)
    fresh = Run.objects.create(task=task, status=Run.Status.RUNNING, heartbeat_at=now, attempts=1)
    silent = Run.objects.create(task=task, status=Run.Status.RUNNING, heartbeat_at=long_ago, attempts=2)
    hopeless = Run.objects.create(task=task, status=Run.Status.RUNNING, heartbeat_at=long_ago, attempts=3)
    assert runs.recover(now=now) == [silent.pk]
    assert list(Run.objects.order_by("pk").values_list("status", flat=True)) == ["running", "queued", "failed"]
    hopeless.refresh_from_db()
    assert "killed 3 times" in hopeless.error
    assert fresh.status == Run.Status.RUNNING


def test_a_heartbeat_that_is_missed_once_goes_on(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    run = Run.objects.create(task=task, status=Run.Status.RUNNING, heartbeat_at=long_ago)
    calls: list[int] = []

    def now() -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the database is away")
        return long_ago + timedelta(minutes=30)

    monkeypatch.setattr(runs, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(runs.timezone, "now", now)
    with runs._heartbeat(run.pk):
        deadline = time.monotonic() + 10
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    run.refresh_from_db()
    assert run.heartbeat_at == long_ago + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has 0 labels|that have texts: 0"),
        ([("a", "one"), ("b", "one")], "1"),
        ([("a", "one"), ("b", "one"), ("c", "two")], "two"),
    ],
)
def test_labels_that_do_not_suffice_are_refused_before_anything_is_queued(
    rows: list[tuple[str, str]], message: str
) -> None:
    task = Task.objects.create(name="topic", title="Topic")
    annotate(task, [Labelled(text, label) for text, label in rows], source=Annotation.Source.IMPORT)
    with pytest.raises(NothingToLearn, match=message):
        runs.request_run(task)
    assert not Run.objects.exists()


def test_a_snapshot_is_the_same_until_a_label_changes_and_is_verified_when_read(task: Task) -> None:
    first = snapshots.freeze(task)
    assert snapshots.freeze(task) == first
    annotate(task, [Labelled("lost my card", "fees")], source=Annotation.Source.STAFF)
    second = snapshots.freeze(task)
    assert second.sha256 != first.sha256
    assert Snapshot.objects.count() == 2
    assert "card" in dict(zip(snapshots.read(first).texts, snapshots.read(first).labels, strict=True))["lost my card"]
    rows = settings.ARTIFACTS_DIR / first.artifact / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"lost", b"left"))
    with pytest.raises(ArtifactCorrupt):
        snapshots.read(first)


@pytest.mark.usefixtures("trained")
def test_deploying_moves_one_mark_and_rolling_back_goes_further_each_time(task: Task) -> None:
    first, second, third = finished(task), finished(task), finished(task)
    for run in (first, second, third, third):
        deployments.deploy(run)
    assert Deployment.objects.count() == 3
    assert Deployment.objects.get(ended_at__isnull=True).run_id == third.pk
    assert deployments.roll_back(task).run_id == second.pk
    assert deployments.roll_back(task).run_id == first.pk
    with pytest.raises(NothingToRollBack):
        deployments.roll_back(task)
    current = deployments.current("intent")
    assert current is not None
    assert current.run_id == first.pk
    assert Deployment.objects.filter(ended_at__isnull=True).count() == 1


@pytest.mark.usefixtures("trained")
def test_a_corrupt_model_is_refused_by_name_and_the_one_in_place_goes_on(task: Task) -> None:
    good, bad = finished(task), finished(task)
    deployments.deploy(good)
    weights = settings.ARTIFACTS_DIR / bad.artifact / "arrays.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DeploymentRefused, match="artifact_corrupt"):
        deployments.deploy(bad)
    assert Deployment.objects.get(ended_at__isnull=True).run_id == good.pk
