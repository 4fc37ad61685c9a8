"""What a run says of itself: how far it is, its curves, and that it lives."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning import claims
from lepton_app.learning.claims import Claim
from lepton_app.learning.datasets import Point
from lepton_app.learning.errors import RunCancelled, RunLost
from lepton_app.learning.models import Run, Task
from lepton_app.learning.progress import MOST_POINTS, RowReporter, thinned


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def claim(db: None) -> Claim:
    task = Task.objects.create(name="intent", title="Intent")
    found = claims.take(Run.objects.create(task=task).pk)
    assert found is not None
    return found


def row(claim: Claim) -> Run:
    return Run.objects.get(pk=claim.run_id)


def test_the_row_is_written_once_a_second_and_at_each_stage(claim: Claim, django_assert_num_queries: Any) -> None:
    clock, said = Clock(), list[str]()
    reporter = RowReporter(claim, say=said.append, clock=clock)
    reporter.stage("Tuning on 900 texts")
    assert (row(claim).step, row(claim).progress) == ("Tuning on 900 texts", {"stage": "Tuning on 900 texts"})
    with django_assert_num_queries(0):
        reporter.steps(0, 100)
        clock.now += 0.9
        reporter.steps(10, 100, Point(10, 0.5, 0.7, 1e-3))
    clock.now += 1.1
    with django_assert_num_queries(1):
        reporter.steps(20, 100, Point(20, 1.0, 0.5, 5e-4, validation_loss=0.6, accuracy=0.8))
    found = row(claim)
    assert found.progress == {
        "stage": "Tuning on 900 texts",
        "done": 20,
        "total": 100,
        "epoch": 1.0,
        "loss": 0.5,
        "learning_rate": 5e-4,
        "seconds_left": 8,  # 20 steps took 2 seconds
    }
    assert [(point["step"], point["accuracy"]) for point in found.history] == [(10, None), (20, 0.8)]
    assert said[-1] == "Tuning on 900 texts  [####----------------]   20 %  loss 0.500  8 s left".replace(
        "   20", "  20"
    )
    reporter.stage("Exporting to ONNX")
    assert row(claim).progress == {"stage": "Exporting to ONNX"}


def test_the_history_is_written_every_few_seconds_and_at_the_end(claim: Claim) -> None:
    clock = Clock()
    reporter = RowReporter(claim, clock=clock)
    reporter.stage("Tuning")
    for step in range(1, 4):
        clock.now += 1.0
        reporter.steps(step, 9, Point(step, step / 9, 1.0, 1e-3))
    assert [point["step"] for point in row(claim).history] == [1]
    reporter.flush()
    assert [point["step"] for point in row(claim).history] == [1, 2, 3]


def test_a_resumed_stage_replaces_what_it_says_again_and_a_later_stage_counts_on(claim: Claim) -> None:
    def points(*steps: int, stage: str) -> list[dict[str, Any]]:
        return [{"step": step, "stage": stage, "accuracy": None} for step in steps]

    earlier = [*points(1, 2, stage="Pre"), *points(3, 4, 5, 6, stage="Tuning")]
    reporter = RowReporter(claim, history=earlier)
    reporter.stage("Tuning")
    reporter.steps(2, 6)
    reporter.steps(3, 6, Point(3, 0.5, 1.0, 1e-3))  # the second attempt goes on after the checkpoint of step 2
    assert [point["step"] for point in reporter.history] == [1, 2, 3, 4, 5]
    reporter.stage("Distilling")
    reporter.steps(1, 6, Point(1, 0.5, 1.0, 1e-3))
    assert [(point["step"], point["stage"]) for point in reporter.history[-2:]] == [(5, "Tuning"), (6, "Distilling")]


def test_a_cancelled_run_learns_it_from_its_next_word(claim: Claim) -> None:
    reporter = RowReporter(claim)
    reporter.stage("one")
    Run.objects.filter(pk=claim.run_id).update(is_cancel_requested=True)
    with pytest.raises(RunCancelled):
        reporter.stage("two")
    assert row(claim).step == "one"


@pytest.mark.parametrize("change", [{"attempts": 2}, {"status": Run.Status.FAILED}])
def test_a_lost_run_learns_it_from_its_next_word_and_writes_nothing(claim: Claim, change: dict[str, Any]) -> None:
    Run.objects.filter(pk=claim.run_id).update(**change)
    with pytest.raises(RunLost):
        claim.say(step="mine")
    with pytest.raises(RunLost):
        claim.finish(Run.Status.READY, artifact="mine")
    assert (row(claim).step, row(claim).artifact) == ("", "")


@pytest.mark.django_db(transaction=True)
def test_a_moment_without_the_database_ends_no_run(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = QuerySet.update, list[int]()

    def update(self: QuerySet[Any], **changes: Any) -> int:
        calls.append(1)
        if len(calls) <= 2:
            raise OperationalError("the server is restarting")
        return real(self, **changes)

    monkeypatch.setattr(QuerySet, "update", update)
    monkeypatch.setattr(claims, "_RETRY_SECONDS", 0.01)
    claim.say(step="unheard")
    claim.finish(Run.Status.READY, artifact="mine")
    assert (row(claim).status, row(claim).artifact) == (Run.Status.READY, "mine")
    assert len(calls) == 3


@pytest.mark.django_db(transaction=True)
def test_the_heart_beats_on_over_a_missed_beat_and_notices_a_loss(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    Run.objects.filter(pk=claim.run_id).update(heartbeat_at=long_ago)
    calls: list[int] = []

    def now() -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the database is away")
        return long_ago + timedelta(minutes=30)

    def wait_for(is_so: Any) -> None:
        deadline = time.monotonic() + 20
        while not is_so() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert is_so()

    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.02)
    with monkeypatch.context() as patch:
        patch.setattr(claims.timezone, "now", now)
        with claim.heartbeat():
            wait_for(lambda: len(calls) >= 3)
            wait_for(lambda: row(claim).heartbeat_at == long_ago + timedelta(minutes=30))
            Run.objects.filter(pk=claim.run_id).update(attempts=2)
            wait_for(claim._lost.is_set)
    with pytest.raises(RunLost):
        claim.say(step="mine")


@given(st.lists(st.booleans(), min_size=1, max_size=400), st.integers(2, 50))
def test_thinning_keeps_both_ends_all_validations_and_the_order(validated: list[bool], most: int) -> None:
    points: list[dict[str, Any]] = []
    for step, is_validated in enumerate(validated):
        points = thinned([*points, {"step": step, "accuracy": 0.5 if is_validated else None}], most=most)
    steps = [point["step"] for point in points]
    assert steps == sorted(set(steps))
    assert steps[-1] == len(validated) - 1
    assert {step for step, is_validated in enumerate(validated) if is_validated} <= set(steps)
    assert len(points) <= most + sum(validated)


def test_a_long_run_keeps_a_bounded_history(claim: Claim) -> None:
    reporter = RowReporter(claim, clock=Clock())
    reporter.stage("Tuning")
    for step in range(1, 5001):
        reporter.steps(step, 5000, Point(step, step / 100, 1.0, 1e-3))
    assert MOST_POINTS / 2 <= len(reporter.history) <= MOST_POINTS
    assert reporter.history[0]["step"] == 1
