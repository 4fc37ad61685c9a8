"""What may go to work, against which verdict, one after the other, and back again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection

from lepton_app.learning import deployments, gate, shadow
from lepton_app.learning.errors import (
    DeploymentRefused,
    GateRefused,
    NothingToRollBack,
    RunNotReady,
)
from lepton_app.learning.gate import Check, Judgement
from lepton_app.learning.models import Deployment, Run, Shadow, Snapshot, Task
from lepton_app.lib import encoding
from tests.learning import toys
from tests.learning.test_serving import BREAKS, change_manifest

pytestmark = pytest.mark.django_db

REASON = "Asked for by the head of support; the new labels matter more."


@pytest.fixture
def task(toy_root: Path) -> Task:
    return toys.labelled_task(copies=40)


@pytest.fixture
def snapshot(task: Task) -> Snapshot:
    return toys.frozen(task)


def judged(verdict: Any, against: int | None) -> Judgement:
    return Judgement((Check("latency", verdict, {"candidate": 9.0, "deployed": 1.0}),), against)


def passed(against: int | None) -> dict[str, Any]:
    """What a run's row keeps of a gate that it passed beside a run."""
    return dict(judged("pass", against).as_json())


def ready(snapshot: Snapshot, root: Path, /, **fields: Any) -> Run:
    """A run that learnt the snapshot, and passed the gate as the first of its task unless ``fields`` say otherwise."""
    usual: dict[str, Any] = {"snapshot": snapshot, "gate": passed(None)}
    return toys.ready_run(snapshot.task, root, encoding.encoder_directory(), **(usual | fields))


def swapped(snapshot: Snapshot, root: Path, **fields: Any) -> Run:
    """A run whose model mixes the two labels up."""
    wrong = toys.publish_classifier(root, encoding.encoder_directory(), names=("fees", "card"))
    return ready(snapshot, root, artifact=wrong.name, **fields)


def person(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    return user


def at_work() -> list[int]:
    return list(Deployment.objects.filter(ended_at__isnull=True).values_list("run_id", flat=True))


def nobody_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(*args: Any) -> Judgement:
        raise AssertionError("judged again")

    monkeypatch.setattr(gate, "compare", compare)


def judging(
    monkeypatch: pytest.MonkeyPatch, verdict: Any, *, meanwhile: Callable[[], object] = lambda: None
) -> list[tuple[int, int | None]]:
    """Let the gate give a verdict; return the list of pairs of runs that it is asked for."""
    asked: list[tuple[int, int | None]] = []

    def compare(candidate: Run, deployed: Run | None) -> Judgement:
        against = deployed.pk if deployed is not None else None
        asked.append((candidate.pk, against))
        if len(asked) == 1:
            meanwhile()
        return judged(verdict, against)

    monkeypatch.setattr(gate, "compare", compare)
    return asked


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_a_run_that_passed_beside_what_is_at_work_is_deployed_without_being_judged_again(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_judges(monkeypatch)
    by = person("editor", "deploy_run")
    first = ready(snapshot, toy_root)
    mark = deployments.deploy(first, by=by)
    assert (mark.run_id, mark.deployed_by, mark.verdict, mark.reason) == (first.pk, by, "pass", "")
    second = ready(snapshot, toy_root, gate=passed(first.pk))
    assert deployments.deploy(second).run_id == second.pk
    assert deployments.deploy(second, by=by).pk == Deployment.objects.get(run=second).pk  # again changes nothing
    assert at_work() == [second.pk]
    assert Deployment.objects.count() == 2
    mark.refresh_from_db()
    assert mark.ended_at is not None


def test_a_run_is_judged_again_when_another_model_went_to_work_since(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ready(snapshot, toy_root), ready(snapshot, toy_root)
    deployments.deploy(first)
    asked = judging(monkeypatch, "refuse")
    with pytest.raises(GateRefused, match=r"The gate says “Refuse” of run #\d+\. Time for one text: "):
        deployments.deploy(second)
    assert asked == [(second.pk, first.pk)]
    assert at_work() == [first.pk]
    second.refresh_from_db()
    assert (second.verdict, second.gate["against"]) == ("refuse", first.pk)
    with pytest.raises(GateRefused):  # the verdict that was kept is of this pair
        deployments.deploy(second)
    assert len(asked) == 1


def test_the_gate_really_measures(toy_root: Path, snapshot: Snapshot) -> None:
    good = ready(snapshot, toy_root, verdict="", gate={})
    assert deployments.deploy(good).verdict == "pass"
    bad = swapped(snapshot, toy_root)
    with pytest.raises(GateRefused, match=r"0\.0 % are right, 100\.0 % with the model at work"):
        deployments.deploy(bad)
    assert at_work() == [good.pk]
    same = ready(snapshot, toy_root, verdict="", gate={})
    assert deployments.deploy(same).verdict == "pass"


@pytest.mark.parametrize("verdict", ["person", "refuse"])
@pytest.mark.parametrize(
    ("permissions", "reason", "message"),
    [
        (("deploy_run",), REASON, "Only people who may override the gate"),
        (("deploy_run", "override_gate"), "", "write down why"),
        (("deploy_run", "override_gate"), "   because   ", "10 characters or more"),
    ],
)
def test_against_the_gate_a_permission_and_a_reason_are_needed(
    toy_root: Path,
    snapshot: Snapshot,
    monkeypatch: pytest.MonkeyPatch,
    verdict: str,
    permissions: tuple[str, ...],
    reason: str,
    message: str,
) -> None:
    judging(monkeypatch, verdict)
    run = ready(snapshot, toy_root, verdict="", gate={})
    with pytest.raises(GateRefused, match=message):
        deployments.deploy(run, by=person("somebody", *permissions), reason=reason)
    assert not Deployment.objects.exists()


def test_the_reason_is_kept_with_the_deployment(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, "refuse")
    by = person("approver", "deploy_run", "override_gate")
    mark = deployments.deploy(ready(snapshot, toy_root, verdict=""), by=by, reason=f"  {REASON} ")
    mark.refresh_from_db()
    assert (mark.verdict, mark.reason, mark.deployed_by) == ("refuse", REASON, by)
    operator = deployments.deploy(ready(snapshot, toy_root, verdict=""), reason=REASON)
    assert (operator.verdict, operator.reason, operator.deployed_by) == ("refuse", REASON, None)


def test_a_run_that_cannot_be_judged_needs_an_override(toy_root: Path, snapshot: Snapshot) -> None:
    run = ready(snapshot, toy_root, verdict="", gate={})
    (toy_root / snapshot.artifact / "manifest.json").unlink()
    with pytest.raises(GateRefused, match=r"could not be judged \(artifact_missing: "):
        deployments.deploy(run)
    assert not Deployment.objects.exists()
    assert deployments.deploy(run, reason=REASON).verdict == ""


def test_a_model_at_work_that_cannot_be_loaded_any_more_leaves_it_to_a_person(
    toy_root: Path, snapshot: Snapshot
) -> None:
    first, second = ready(snapshot, toy_root), ready(snapshot, toy_root)
    deployments.deploy(first)
    toys.damage(toy_root / first.artifact / "arrays.safetensors")
    with pytest.raises(GateRefused, match="cannot be loaded to compare with"):
        deployments.deploy(second)
    assert deployments.deploy(second, reason=REASON).verdict == "person"


# --- what cannot serve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_model_is_refused_by_name_and_the_one_in_place_stays(
    toy_root: Path, snapshot: Snapshot, what: str
) -> None:
    good = ready(snapshot, toy_root)
    deployments.deploy(good)
    own = toys.publish_encoder(toy_root, seed=1)
    bad = toys.ready_run(snapshot.task, toy_root, own, is_own=True, snapshot=snapshot)
    breaks, error = BREAKS[what]
    breaks(toy_root, own, toy_root / bad.artifact)
    with pytest.raises(DeploymentRefused, match=rf"run #{bad.pk} cannot be loaded \({error.code}\)"):
        deployments.deploy(bad, reason=REASON)
    assert at_work() == [good.pk]
    with pytest.raises(DeploymentRefused):
        shadow.start(bad)
    assert not Shadow.objects.exists()


def test_a_model_of_other_labels_is_refused(toy_root: Path, snapshot: Snapshot) -> None:
    good = ready(snapshot, toy_root)
    deployments.deploy(good)
    other = toys.publish_classifier(toy_root, encoding.encoder_directory(), names=("up", "down"))
    run = ready(snapshot, toy_root, artifact=other.name)
    with pytest.raises(DeploymentRefused, match=r"artifact_incompatible.*has not learnt: down, up"):
        deployments.deploy(run, reason=REASON)
    assert at_work() == [good.pk]


def test_a_pretraining_run_has_nothing_to_deploy(toy_root: Path, snapshot: Snapshot) -> None:
    run = ready(snapshot, toy_root, method=Run.Method.PRETRAIN, artifact="")
    with pytest.raises(DeploymentRefused, match="is a pre-training"):
        deployments.deploy(run, reason=REASON)
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("status", [status for status in Run.Status if status != Run.Status.READY])
def test_only_a_ready_run_can_be_deployed(toy_root: Path, snapshot: Snapshot, status: Run.Status) -> None:
    run = ready(snapshot, toy_root, status=status)
    with pytest.raises(RunNotReady, match=f"is {status.label.lower()}; only a ready run"):
        deployments.deploy(run, reason=REASON)
    assert not Deployment.objects.exists()


# --- one mark ---------------------------------------------------------------------------------------------------------


def test_a_model_that_goes_to_work_meanwhile_is_judged_against(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (ready(snapshot, toy_root) for _ in range(3))
    deployments.deploy(first)

    def overtake() -> None:
        Deployment.objects.filter(ended_at__isnull=True).update(ended_at=first.created_at)
        Deployment.objects.create(task=snapshot.task, run=third)

    asked = judging(monkeypatch, "pass", meanwhile=overtake)
    assert deployments.deploy(second).run_id == second.pk
    assert asked == [(second.pk, first.pk), (second.pk, third.pk)]
    assert at_work() == [second.pk]


def test_deploying_gives_up_when_others_deploy_all_the_time(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, others = ready(snapshot, toy_root), [ready(snapshot, toy_root) for _ in range(5)]

    def compare(candidate: Run, deployed: Run | None) -> Judgement:
        Deployment.objects.filter(ended_at__isnull=True).update(ended_at=candidate.created_at)
        Deployment.objects.create(task=snapshot.task, run=others.pop())
        return judged("pass", deployed.pk if deployed is not None else None)

    deployments.deploy(others.pop())
    monkeypatch.setattr(gate, "compare", compare)
    with pytest.raises(DeploymentRefused, match="went to work meanwhile"):
        deployments.deploy(run)
    assert run.pk not in at_work()
    assert len(at_work()) == 1


@pytest.mark.django_db(transaction=True)
def test_two_deploys_at_once_leave_exactly_one_mark(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(snapshot, toy_root)
    deployments.deploy(first)
    rivals = [ready(snapshot, toy_root) for _ in range(3)]  # the tests' pool has four connections
    together = threading.Barrier(len(rivals))
    asked: list[tuple[int, int | None]] = []

    def compare(candidate: Run, deployed: Run | None) -> Judgement:
        assert deployed is not None
        asked.append((candidate.pk, deployed.pk))
        if deployed.pk == first.pk:
            together.wait(20)  # all of them have judged against the same model before the first mark moves
        return judged("pass", deployed.pk)

    monkeypatch.setattr(gate, "compare", compare)
    ends: dict[int, str] = {}

    def deploy(run: Run) -> None:
        try:
            deployments.deploy(run)
            ends[run.pk] = "deployed"
        except DeploymentRefused:
            ends[run.pk] = "refused"
        finally:
            connection.close()

    threads = [threading.Thread(target=deploy, args=[run]) for run in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ends) == len(rivals)
    assert len(at_work()) == 1
    deployed = [run for run, end in ends.items() if end == "deployed"]
    history = list(Deployment.objects.order_by("pk").values_list("run_id", flat=True))
    assert sorted(history) == sorted([first.pk, *deployed])
    assert at_work() == history[-1:]
    # Each was judged against the one that it replaced.
    assert set(zip(history[1:], history[:-1], strict=True)) <= set(asked)


# --- and back ---------------------------------------------------------------------------------------------------------


def test_rolling_back_asks_no_gate_and_goes_further_each_time(
    toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NothingToRollBack):
        deployments.roll_back(snapshot.task)
    runs = [ready(snapshot, toy_root, verdict="refuse") for _ in range(3)]
    judging(monkeypatch, "refuse")
    for run in runs:
        deployments.deploy(run, reason=REASON)
    by = person("editor", "deploy_run")
    back = deployments.roll_back(snapshot.task, by=by)
    assert (back.run_id, back.deployed_by, back.reason) == (runs[1].pk, by, "")
    assert deployments.roll_back(snapshot.task).run_id == runs[0].pk
    with pytest.raises(NothingToRollBack):
        deployments.roll_back(snapshot.task)
    assert at_work() == [runs[0].pk]


def test_a_model_that_broke_since_is_not_rolled_back_to(toy_root: Path, snapshot: Snapshot) -> None:
    first, second = ready(snapshot, toy_root), ready(snapshot, toy_root)
    deployments.deploy(first)
    deployments.deploy(second, reason=REASON)
    toys.damage(toy_root / first.artifact / "arrays.safetensors")
    with pytest.raises(DeploymentRefused, match="artifact_corrupt"):
        deployments.roll_back(snapshot.task)
    assert at_work() == [second.pk]


def test_a_model_whose_snapshot_is_of_an_earlier_format_can_be_put_back(toy_root: Path, snapshot: Snapshot) -> None:
    first, second = ready(snapshot, toy_root), ready(snapshot, toy_root)
    deployments.deploy(first)
    deployments.deploy(second)
    change_manifest(toy_root / snapshot.artifact, b'"format_version": 2', b'"format_version": 1')
    assert deployments.roll_back(snapshot.task).run_id == first.pk


# --- commands ---------------------------------------------------------------------------------------------------------


def said(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def test_the_commands_deploy_and_roll_back(toy_root: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ready(snapshot, toy_root), ready(snapshot, toy_root)
    assert said("deploy", str(first.pk)) == f"intent: run #{first.pk} is at work (the gate: Pass).\n"
    judging(monkeypatch, "person")
    with pytest.raises(CommandError, match="Needs a person"):
        said("deploy", str(second.pk))
    assert at_work() == [first.pk]
    assert "Needs a person" in said("deploy", str(second.pk), "--reason", REASON)
    assert Deployment.objects.get(run=second).reason == REASON
    assert said("rollback", "intent") == f"intent: run #{first.pk} is at work.\n"
    with pytest.raises(CommandError, match="No earlier model"):
        said("rollback", "intent")
    with pytest.raises(CommandError, match="no task 'mood'"):
        said("rollback", "mood")
    with pytest.raises(CommandError, match="no run #999999"):
        said("deploy", "999999")
