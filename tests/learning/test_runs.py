"""The life of a run, from the labels to a judged model: requested, claimed, measured, failed, cancelled, recovered."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from lepton_app.learning import claims, deployments, measuring, runs, snapshots, training, workspaces
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Dataset, Reporter
from lepton_app.learning.errors import BadConfiguration, BaseUnusable, LearningError, NothingNew, RunEnded
from lepton_app.learning.evaluation import load_report
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Deployment, Run, Snapshot, Task
from lepton_app.lib import artifacts
from tests.learning import toys

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(runs, "trackers_of", lambda run, folder: [])  # their own tests are in test_trackers
    yield from toys.installation(tmp_path / "artifacts", settings, monkeypatch)


@pytest.fixture
def task() -> Task:
    return toys.labelled_task(copies=4)


Work = Callable[[Reporter, Path], None]


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Do something in the middle of a training."""
    real = training.train

    def at_work(work: Work) -> None:
        def train(
            dataset: Dataset, config: TrainingConfig, *, reporter: Reporter, workspace: Path, **rest: Any
        ) -> training.Trained:
            work(reporter, workspace)
            return real(dataset, config, reporter=reporter, workspace=workspace, **rest)

        monkeypatch.setattr(training, "train", train)

    return at_work


def finished(run: Run) -> Run:
    assert runs.execute(run.pk)
    return Run.objects.get(pk=run.pk)


def kinds(root: Path) -> set[str]:
    return {path.name.split("-")[0] for path in root.iterdir()}


# --- from request to ready --------------------------------------------------------------------------------------------


def test_a_run_ends_ready_with_its_figures_its_report_and_the_gates_verdict(task: Task, root: Path) -> None:
    said: list[str] = []
    run = runs.request_run(task)
    assert (run.status, run.snapshot, run.config["method"]) == (Run.Status.QUEUED, Snapshot.objects.get(), "head")
    assert runs.execute(run.pk, progress=said.append)
    assert not runs.execute(run.pk)  # done twice is done once
    run.refresh_from_db()
    assert (run.status, run.attempts, run.step, run.error, run.progress) == (Run.Status.READY, 1, "", "", {})
    assert run.snapshot is not None
    assert (run.metrics["rows"], run.metrics["labels"], run.metrics["disputed_rows"]) == (40, 2, 0)
    assert run.metrics["holdout_rows"] == run.snapshot.holdout_rows == 4
    assert 0 <= run.metrics["accuracy"] <= 1
    assert run.metrics["trainable_parameters"] > 0
    report = load_report(root / run.report_artifact)
    assert report["quality"]["accuracy"] == run.metrics["accuracy"]
    assert (root / run.artifact / "manifest.json").exists()
    assert run.verdict == run.gate["verdict"]
    assert run.gate["against"] is None
    assert said[0].startswith("Encoding ")
    assert said[-2:] == ["Measuring on 4 texts that were held out", "Asking the gate"]
    assert not workspaces.folder_of(run.pk).exists()
    deployments.deploy(run, reason="The first one of all.")


def test_the_second_run_is_judged_against_the_one_at_work(task: Task) -> None:
    first = finished(runs.request_run(task))
    deployments.deploy(first, reason="The first one of all.")
    second = finished(runs.request_run(task, changes={"seed": 1}))
    assert (second.status, second.gate["against"]) == (Run.Status.READY, first.pk)


def test_a_run_learns_the_labels_as_they_were_when_it_was_requested(task: Task) -> None:
    run = runs.request_run(task)
    before = run.snapshot
    annotate(task, [Labelled(f"fee number {n}", "fees") for n in range(9)], source=Annotation.Source.STAFF)
    assert finished(run).snapshot == before
    assert run.metrics.get("rows", 40) == 40


def test_disputed_texts_are_told_in_the_figures(task: Task) -> None:
    rows = [Labelled("which one", "card"), Labelled("which one", "fees")]
    annotate(task, rows, source=Annotation.Source.IMPORT)
    assert finished(runs.request_run(task)).metrics["disputed_rows"] == 1


def test_labels_of_a_few_texts_have_nothing_held_out_and_still_make_a_model(root: Path) -> None:
    task = Task.objects.create(name="tiny", title="Tiny")
    texts = {name: texts[:3] for name, texts in toys.TEXTS.items()}
    annotate(task, [Labelled(t, name) for name, ts in texts.items() for t in ts], source=Annotation.Source.IMPORT)
    run = finished(runs.request_run(task))
    assert (run.status, run.error) == (Run.Status.READY, "")
    assert (run.metrics["accuracy"], run.metrics["holdout_rows"]) == (None, 0)
    assert run.verdict == Run.Verdict.PERSON


def test_two_hundred_labels_and_texts_of_ten_thousand_words_are_learnt() -> None:
    task = Task.objects.create(name="wide", title="Wide")
    rows = [Labelled(f"text {n} of kind {n % 200}", f"label {n % 200}") for n in range(600)]
    rows += [Labelled("lost my card " * 3334 + str(n), f"label {n}") for n in range(3)]
    annotate(task, rows, source=Annotation.Source.IMPORT)
    run = finished(runs.request_run(task))
    assert (run.status, run.error, run.metrics["labels"]) == (Run.Status.READY, "", 200)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_the_same_labels_with_the_same_configuration_are_refused_by_the_number_of_the_earlier_run(task: Task) -> None:
    first = runs.request_run(task)
    with pytest.raises(NothingNew, match=rf"Run #{first.pk} \(queued\) has the same labels .* seed=1\.") as refused:
        runs.request_run(task)
    assert refused.value.run_id == first.pk
    finished(first)
    with pytest.raises(NothingNew, match=r"\(ready\)"):
        runs.request_run(task, changes={"epochs": "5"})  # the preset's own value
    assert Run.objects.count() == 1
    other = runs.request_run(task, changes={"seed": 1})
    runs.cancel(other)
    runs.request_run(task, changes={"seed": 1})  # what was cancelled counts for nothing
    annotate(task, [Labelled("what is the fee", "fees")], source=Annotation.Source.STAFF)
    runs.request_run(task)


def test_a_ready_run_whose_files_are_gone_may_be_repeated(task: Task, root: Path) -> None:
    first = finished(runs.request_run(task))
    (root / first.artifact / "manifest.json").unlink()
    assert runs.request_run(task).pk != first.pk


def test_of_two_equal_requests_at_once_one_is_refused(task: Task) -> None:
    barrier, ended = threading.Barrier(2), []

    def request() -> None:
        barrier.wait()
        try:
            ended.append(str(runs.request_run(task).pk))
        except NothingNew as error:
            ended.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(ended) == [str(Run.objects.get().pk), "nothing_new"]


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("magic", {}, "no method 'magic'"),
        ("lora", {"epoch": 3}, "no option 'epoch'"),
        ("lora", {"epochs": "many"}, "epochs: "),
        ("lora", {"dropout": 2}, "dropout: "),
        ("adalora", {"rank": 8, "initial_rank": 4}, "initial_rank must be at least rank"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_queued(
    task: Task, method: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadConfiguration, match=message):
        runs.request_run(task, method=method, changes=changes)
    assert not Run.objects.exists()
    assert not Snapshot.objects.exists()


class TestBases:
    @pytest.fixture
    def lora(self, task: Task, root: Path) -> Run:
        encoder = toys.publish_encoder(root, seed=3)
        config = TrainingConfig.preset("lora").model_dump() | {"rank": 8}
        return toys.ready_run(
            task, root, encoder, is_own=True, method="lora", config=config, snapshot=toys.frozen(task)
        )

    def test_a_warm_start_takes_over_the_shape_of_the_adapter(self, task: Task, lora: Run, root: Path) -> None:
        run = runs.request_run(task, method="lora", changes={"epochs": 2}, base=lora)
        assert (run.base, run.config["rank"], run.config["epochs"]) == (lora, 8, 2)
        base = runs.bases.base_of(run)
        assert base.warm == root / lora.encoder_artifact
        assert "lost my card" in base.learnt
        assert base.lineage == ()

    def test_what_was_pre_trained_is_the_ground_of_others_and_of_their_successors(
        self, task: Task, lora: Run, root: Path
    ) -> None:
        ground = toys.publish_encoder(root, seed=4)
        config = TrainingConfig.preset("pretrain").model_dump()
        pretrained = Run.objects.create(
            task=task, method="pretrain", status=Run.Status.READY, encoder_artifact=ground.name, config=config
        )
        on_ground = runs.request_run(task, method="ia3", base=pretrained)
        assert runs.bases.base_of(on_ground).lineage == (ground,)
        assert runs.bases.base_of(on_ground).warm is None
        Run.objects.filter(pk=lora.pk).update(base=pretrained)
        successor = runs.request_run(task, method="lora", base=Run.objects.get(pk=lora.pk))
        found = runs.bases.base_of(successor)
        assert (found.lineage, found.warm) == ((ground,), root / lora.encoder_artifact)

    @pytest.mark.parametrize(
        ("fields", "method", "changes", "message"),
        [
            ({"status": "failed"}, "lora", {}, "it is failed and not ready"),
            ({}, "head", {}, "a head uses the installation's encoder"),
            ({"encoder_artifact": ""}, "lora", {}, "it has no adapter"),
            ({"encoder_artifact": "encoder-gone"}, "lora", {}, r"cannot be read \(artifact_missing\)"),
            ({}, "ia3", {}, "its method is lora"),
            ({}, "lora", {"rank": 4}, "another shape; use rank=8"),
            ({}, "lora", {"encoder": "/elsewhere"}, "from another encoder"),
        ],
    )
    def test_a_run_that_does_not_fit_is_refused(
        self, task: Task, lora: Run, fields: dict[str, Any], method: str, changes: dict[str, Any], message: str
    ) -> None:
        Run.objects.filter(pk=lora.pk).update(**fields)
        with pytest.raises(BaseUnusable, match=message):
            runs.request_run(task, method=method, changes=changes, base=Run.objects.get(pk=lora.pk))
        assert Run.objects.count() == 1

    def test_a_run_of_another_task_is_refused(self, lora: Run) -> None:
        other = toys.labelled_task("other")
        with pytest.raises(BaseUnusable, match="belongs to the task “intent”"):
            runs.request_run(other, method="lora", base=lora)


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "The disk is full: make room in "),
        (MemoryError(), "The memory does not suffice"),
        (LearningError("It cannot be."), "It cannot be."),
        (artifacts.ArtifactCorrupt("It is broken."), r"It is broken\. \(artifact_corrupt\)"),
        (RuntimeError("odd"), "RuntimeError: odd"),
    ],
)
def test_a_run_that_fails_says_why_and_leaves_nothing_behind(
    task: Task, root: Path, at_work: Callable[[Work], None], error: Exception, reason: str
) -> None:
    def fail(reporter: Reporter, workspace: Path) -> None:
        (workspace / "checkpoint").write_text("half")
        raise error

    at_work(fail)
    run = finished(runs.request_run(task))
    assert run.status == Run.Status.FAILED
    assert re.search(reason, run.error)
    assert run.finished_at is not None
    assert not workspaces.folder_of(run.pk).exists()
    assert kinds(root) == {"encoder", "snapshot"}
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("kind", ["classifier", "report"])
def test_a_disk_that_fills_while_publishing_leaves_the_deployed_model_and_no_half_artifact(
    task: Task, root: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    first = finished(runs.request_run(task))
    deployments.deploy(first, reason="The first one of all.")
    there = sorted(path.name for path in root.iterdir())
    real = artifacts.publish

    def publish(root: Path, **options: Any) -> Path:
        write = options["write"]

        def fill(folder: Path) -> None:
            write(folder)
            if options["kind"] == kind:
                raise OSError(28, "No space left on device")

        return real(root, **options | {"write": fill})

    monkeypatch.setattr(artifacts, "publish", publish)
    run = finished(runs.request_run(task, changes={"seed": 1}))
    assert run.status == Run.Status.FAILED
    assert run.error.startswith("The disk is full")
    assert (run.artifact, run.report_artifact) == ("", "")
    assert sorted(path.name for path in root.iterdir()) == there
    assert Deployment.objects.get(ended_at__isnull=True).run == first


def test_a_snapshot_that_was_damaged_fails_the_run(task: Task, root: Path) -> None:
    run = runs.request_run(task)
    assert run.snapshot is not None
    toys.damage(root / run.snapshot.artifact / "rows.jsonl")
    assert "(artifact_corrupt)" in finished(run).error


# --- several workers --------------------------------------------------------------------------------------------------


def test_one_worker_of_several_gets_the_run(task: Task) -> None:
    run = runs.request_run(task)
    barrier, taken = threading.Barrier(4), []

    def take() -> None:
        barrier.wait()
        taken.append(claims.take(run.pk))
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert [claim.attempt for claim in taken if claim is not None] == [1]


def test_a_worker_that_lost_its_run_changes_nothing_any_more(
    task: Task, root: Path, at_work: Callable[[Work], None]
) -> None:
    run = runs.request_run(task)

    def lose(reporter: Reporter, workspace: Path) -> None:
        (workspace / "checkpoint").write_text("half")
        Run.objects.filter(pk=run.pk).update(status=Run.Status.QUEUED)
        assert claims.take(run.pk) == claims.Claim(run.pk, 2)

    at_work(lose)
    assert runs.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.attempts, run.artifact, run.error) == (Run.Status.RUNNING, 2, "", "")
    assert (workspaces.folder_of(run.pk) / "checkpoint").exists()  # the other worker goes on from there
    assert kinds(root) == {"encoder", "snapshot"}


def test_a_worker_that_loses_its_run_at_the_very_end_takes_its_artifacts_back(
    task: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.request_run(task)
    real = measuring.measure_and_judge

    def measure(*args: Any) -> None:
        real(*args)
        Run.objects.filter(pk=run.pk).update(attempts=2)

    monkeypatch.setattr(measuring, "measure_and_judge", measure)
    assert runs.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.artifact) == (Run.Status.RUNNING, "")
    assert kinds(root) == {"encoder", "snapshot"}


def test_a_silent_run_is_queued_again_and_given_up_after_the_third_time(task: Task) -> None:
    now = timezone.now()
    long_ago = now - runs.SILENT_AFTER - timedelta(seconds=1)

    def running(**fields: Any) -> Run:
        made = Run.objects.create(task=task, status=Run.Status.RUNNING, **{"heartbeat_at": long_ago} | fields)
        workspaces.folder_of(made.pk).mkdir(parents=True)
        return made

    fresh, silent, hopeless = running(heartbeat_at=now), running(attempts=2), running(attempts=3)
    cancelled = running(is_cancel_requested=True, error="Cancelled by kim.")
    assert runs.recover(now=now) == [silent.pk]
    assert list(Run.objects.order_by("pk").values_list("status", flat=True)) == [
        *("running", "queued", "failed", "cancelled")
    ]
    hopeless.refresh_from_db()
    assert "killed 3 times" in hopeless.error
    cancelled.refresh_from_db()
    assert cancelled.error == "Cancelled by kim."
    kept = {path.name for path in (settings.DATA_DIR / "runs").iterdir()}
    assert kept == {str(fresh.pk), str(silent.pk)}


def test_a_run_that_is_resumed_finds_its_workspace(task: Task, at_work: Callable[[Work], None]) -> None:
    run = runs.request_run(task)
    folder = workspaces.folder_of(run.pk)
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text("step 40")
    Run.objects.filter(pk=run.pk).update(attempts=1)
    found: list[str] = []
    at_work(lambda reporter, workspace: found.append((workspace / "checkpoint").read_text()))
    assert finished(run).attempts == 2
    assert found == ["step 40"]
    assert not folder.exists()


def test_a_worker_that_is_killed_in_the_middle_leaves_a_run_that_another_one_ends(
    task: Task, at_work: Callable[[Work], None]
) -> None:
    run = runs.request_run(task)
    environment = {
        **os.environ,
        "DATABASE_URL": settings.EMBEDDED.postgres_url(connection.settings_dict["NAME"]),
        "REDIS_URL": settings.REDIS_URL,
        "LEPTON_SECRET_KEY": settings.SECRET_KEY,
        "LEPTON_DATA_DIR": str(settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "lepton_app.settings",
    }
    command = [sys.executable, "-m", "tests.learning.dying_worker", str(run.pk)]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "checkpoint\n"
        run.refresh_from_db()
        assert (run.status, run.attempts) == (Run.Status.RUNNING, 1)
        assert runs.recover(now=timezone.now()) == []  # its heart beats
        worker.kill()
    assert runs.recover(now=timezone.now() + runs.SILENT_AFTER + timedelta(seconds=1)) == [run.pk]
    found: list[str] = []
    at_work(lambda reporter, workspace: found.append((workspace / "checkpoint").read_text()))
    ended = finished(run)
    assert (ended.status, ended.attempts, found) == (Run.Status.READY, 2, ["step 40"])
    assert not workspaces.folder_of(run.pk).exists()


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_run_that_waits_is_cancelled_at_once(task: Task) -> None:
    run = runs.request_run(task)
    runs.cancel(run, by=User.objects.create_user("kim"))
    run.refresh_from_db()
    assert (run.status, run.error) == (Run.Status.CANCELLED, "Cancelled by kim.")
    assert not runs.execute(run.pk)
    with pytest.raises(RunEnded, match="is cancelled; only a run that waits or works"):
        runs.cancel(run)


def test_a_run_that_works_ends_between_two_steps(task: Task, root: Path, at_work: Callable[[Work], None]) -> None:
    run = runs.request_run(task)
    reached: list[str] = []

    def work(reporter: Reporter, workspace: Path) -> None:
        reporter.stage("one")
        runs.cancel(run)
        reporter.stage("two")
        reached.append("three")

    at_work(work)
    ended = finished(run)
    assert (ended.status, ended.error) == (Run.Status.CANCELLED, "Cancelled by the command line.")
    assert (ended.is_cancel_requested, reached) == (False, [])
    assert not workspaces.folder_of(run.pk).exists()


def test_a_run_that_is_cancelled_in_its_last_moment_does_not_become_ready(
    task: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.request_run(task)
    real = measuring.measure_and_judge

    def measure(*args: Any) -> None:
        real(*args)
        runs.cancel(run)

    monkeypatch.setattr(measuring, "measure_and_judge", measure)
    assert finished(run).status == Run.Status.CANCELLED
    assert kinds(root) == {"encoder", "snapshot"}


def test_an_interrupt_at_the_terminal_cancels(task: Task, at_work: Callable[[Work], None]) -> None:
    def interrupt(reporter: Reporter, workspace: Path) -> None:
        raise KeyboardInterrupt

    at_work(interrupt)
    run = runs.request_run(task)
    with pytest.raises(KeyboardInterrupt):
        runs.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == (Run.Status.CANCELLED, "Interrupted at the terminal.")


def test_nothing_of_a_customer_stands_in_the_row(task: Task) -> None:
    rows = [Labelled(f"lost my card {number} 4111 1111 1111 1111", "card") for number in range(20)]
    annotate(task, rows, source=Annotation.Source.IMPORT)
    run = finished(runs.request_run(task))
    assert run.status == Run.Status.READY
    told = json.dumps([run.metrics, run.gate, run.history, run.config])
    assert "4111" not in told
    assert "lost my" not in told
    assert run.snapshot is not None
    assert snapshots.read(run.snapshot).holdout.texts
