"""A candidate beside the deployed model: started, fed, counted, bounded, stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from lepton_app.learning import deployments, gate, serving, shadow
from lepton_app.learning.classifier import Prediction
from lepton_app.learning.errors import DeploymentRefused, NotShadowed, RunNotReady
from lepton_app.learning.gate import Check, Judgement
from lepton_app.learning.models import Deployment, Disagreement, Run, Shadow, Task
from lepton_app.lib import encoding
from tests.learning import toys

pytestmark = pytest.mark.django_db


@pytest.fixture
def task(toy_root: Path) -> Task:
    return toys.labelled_task()


@pytest.fixture
def at_work(task: Task, toy_root: Path) -> Run:
    run = toys.ready_run(task, toy_root, encoding.encoder_directory())
    Deployment.objects.create(task=task, run=run)
    return run


@pytest.fixture
def candidate(task: Task, toy_root: Path) -> Run:
    """A run with its own encoder that says the same as the deployed one."""
    return toys.ready_run(task, toy_root, toys.publish_encoder(toy_root, seed=1), is_own=True)


@pytest.fixture
def contrary(task: Task, toy_root: Path) -> Run:
    """A run that says the opposite."""
    wrong = toys.publish_classifier(toy_root, encoding.encoder_directory(), names=("fees", "card"))
    return toys.ready_run(task, toy_root, encoding.encoder_directory(), artifact=wrong.name)


@pytest.fixture
def observer() -> shadow.Observer:
    return shadow.Observer(rest_seconds=0, is_threaded=False)


def said(label: str, *, is_in_scope: bool = True, confidence: float = 0.8) -> Prediction:
    rest = "fees" if label == "card" else "card"
    return Prediction((label, rest), (confidence, 1 - confidence), 1.0, is_in_scope)


def show(observer: shadow.Observer, run: Run, *rows: tuple[str, str]) -> None:
    """Offer texts with what the deployed run said of them, and let the observer work until it has nothing to do."""
    observer.offer("intent", run.pk, [text for text, _ in rows], [said(label) for _, label in rows])
    while observer.step():
        pass


def counts(of: Run) -> tuple[int, int, int]:
    row = Shadow.objects.get(run=of)
    return row.agreed, row.disagreed, row.dropped


# --- start and stop ---------------------------------------------------------------------------------------------------


def test_one_candidate_at_a_time_runs_beside_the_deployed_model(at_work: Run, candidate: Run, contrary: Run) -> None:
    by = User.objects.create_user("editor")
    first = shadow.start(candidate, by=by)
    assert (first.run_id, first.started_by, first.ended_at) == (candidate.pk, by, None)
    assert shadow.start(candidate).pk == first.pk
    second = shadow.start(contrary)
    first.refresh_from_db()
    assert first.ended_at is not None
    assert shadow.current("intent") == second
    ended = shadow.stop(at_work.task, by=by)
    assert (ended.pk, ended.ended_at is not None) == (second.pk, True)
    assert shadow.current("intent") is None
    with pytest.raises(NotShadowed, match="'intent'"):
        shadow.stop(at_work.task)


def test_what_could_not_serve_cannot_run_in_the_shadow_either(task: Task, at_work: Run, candidate: Run) -> None:
    with pytest.raises(DeploymentRefused, match="is at work itself"):
        shadow.start(at_work)
    with pytest.raises(RunNotReady):
        shadow.start(Run.objects.create(task=task, status=Run.Status.FAILED))
    with pytest.raises(DeploymentRefused, match="pre-training"):
        shadow.start(Run.objects.create(task=task, status=Run.Status.READY, method=Run.Method.PRETRAIN))
    Deployment.objects.all().delete()
    with pytest.raises(DeploymentRefused, match="No model of 'intent' is at work"):
        shadow.start(candidate)
    assert not Shadow.objects.exists()


def test_a_candidate_that_is_deployed_leaves_the_shadow(
    at_work: Run, candidate: Run, contrary: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(run: Run, deployed: Run | None) -> Judgement:
        return Judgement((Check("latency", "pass", {"candidate": 1.0}),), deployed.pk if deployed else None)

    monkeypatch.setattr(gate, "compare", compare)
    shadow.start(candidate)
    deployments.deploy(contrary)
    assert shadow.current("intent") is not None  # of another run: it goes on beside the new model
    deployments.deploy(candidate)
    assert shadow.current("intent") is None


# --- what is counted and kept -----------------------------------------------------------------------------------------


def test_agreement_is_counted_and_nothing_is_kept_of_it(
    at_work: Run, candidate: Run, observer: shadow.Observer
) -> None:
    shadow.start(candidate)
    show(observer, at_work, ("lost my card", "card"), ("what fees", "fees"))
    show(observer, at_work, ("card is gone", "card"))
    assert counts(candidate) == (3, 0, 0)
    assert not Disagreement.objects.exists()


def test_a_disagreement_is_kept_with_personal_data_masked(
    at_work: Run, contrary: Run, observer: shadow.Observer
) -> None:
    shadow.start(contrary)
    show(observer, at_work, ("lost my card 4111 1111 1111 1111, write to ann@example.com", "card"))
    assert counts(contrary) == (0, 1, 0)
    kept = Disagreement.objects.get()
    assert kept.text == "lost my card [card], write to [email]"
    assert (kept.deployed_run_id, kept.deployed_label, kept.deployed_confidence) == (at_work.pk, "card", 0.8)
    assert kept.candidate_label != "card"
    assert 0.5 < kept.candidate_confidence <= 1


def test_out_of_scope_is_a_label_of_its_own(at_work: Run, candidate: Run, observer: shadow.Observer) -> None:
    shadow.start(candidate)
    outside = said("card", is_in_scope=False)
    observer.offer("intent", at_work.pk, ["lost my card", "qwert yuiop asdfg"], [outside, outside])
    assert observer.step()
    model = serving.shadowed("intent").get().model
    refused = [not one.in_scope for one in model.predict_sync(["lost my card", "qwert yuiop asdfg"])]
    assert refused == [False, True]
    assert counts(candidate) == (1, 1, 0)
    kept = Disagreement.objects.get()
    assert (kept.text, kept.deployed_label, kept.candidate_label) == ("lost my card", "", "card")


def test_at_most_so_many_disagreements_are_kept(
    at_work: Run, contrary: Run, observer: shadow.Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "MAX_DISAGREEMENTS", 3)
    shadow.start(contrary)
    show(observer, at_work, ("lost my card", "card"), ("card is gone", "card"))
    show(observer, at_work, ("no card here", "card"), ("where is my card", "card"), ("x" * 9000, "card"))
    assert counts(contrary)[1] >= 4
    assert Disagreement.objects.count() == 3
    assert not Disagreement.objects.filter(text="where is my card").exists()


def test_long_texts_are_cut(at_work: Run, contrary: Run, observer: shadow.Observer) -> None:
    shadow.start(contrary)
    show(observer, at_work, ("lost my card " * 1000, "card"))
    assert len(Disagreement.objects.get().text) == shadow.MAX_TEXT_CHARACTERS


def test_after_the_end_nothing_is_counted(at_work: Run, contrary: Run, observer: shadow.Observer) -> None:
    shadow.start(contrary)
    show(observer, at_work, ("lost my card", "card"))
    shadow.stop(at_work.task)  # the process has not noticed yet
    show(observer, at_work, ("what fees", "fees"))
    assert counts(contrary) == (0, 1, 0)
    assert Disagreement.objects.count() == 1
    serving.shadowed("intent").refresh(spared_seconds=60)
    show(observer, at_work, ("what fees", "fees"))
    assert counts(contrary) == (0, 1, 0)


def test_what_the_candidate_itself_said_is_not_compared(at_work: Run, contrary: Run, observer: shadow.Observer) -> None:
    shadow.start(contrary)
    show(observer, contrary, ("lost my card", "card"))
    assert counts(contrary) == (0, 0, 0)


def test_without_a_candidate_offers_cost_nothing_and_are_forgotten(at_work: Run, observer: shadow.Observer) -> None:
    show(observer, at_work, ("lost my card", "card"))
    assert not observer.step()
    assert not Disagreement.objects.exists()


def test_a_candidate_that_fails_costs_the_comparison_alone(
    at_work: Run, candidate: Run, observer: shadow.Observer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    shadow.start(candidate)
    show(observer, at_work, ("lost my card", "card"))
    encoder = serving.shadowed("intent").get().model.service.encoder
    with monkeypatch.context() as patch:

        def fail(texts: Sequence[str]) -> None:
            raise RuntimeError("no memory")

        patch.setattr(encoder, "encode", fail)
        show(observer, at_work, ("what fees", "fees"))
    assert "shadow of intent: 1 texts not compared" in caplog.text
    show(observer, at_work, ("what fees", "fees"))
    assert counts(candidate) == (2, 0, 0)


# --- the queue --------------------------------------------------------------------------------------------------------


def test_a_full_queue_drops_and_counts(at_work: Run, candidate: Run) -> None:
    observer = shadow.Observer(rest_seconds=0, most_waiting=3, is_threaded=False)
    shadow.start(candidate)
    texts = [f"lost my card {number}" for number in range(5)]
    observer.offer("intent", at_work.pk, texts, [said("card")] * 5)
    observer.offer("intent", at_work.pk, ["one more"], [said("card")])
    assert observer.step()
    assert counts(candidate) == (3, 0, 3)
    observer.offer("intent", at_work.pk, ["and now"], [said("card")])
    assert observer.step()
    agreed, disagreed, dropped = counts(candidate)
    assert (agreed + disagreed, dropped) == (4, 3)


def test_texts_rest_so_that_their_replies_go_first(at_work: Run, candidate: Run) -> None:
    now = [100.0]
    observer = shadow.Observer(rest_seconds=0.5, clock=lambda: now[0], is_threaded=False)
    shadow.start(candidate)
    observer.offer("intent", at_work.pk, ["lost my card"], [said("card")])
    assert not observer.step()
    now[0] = 100.5
    assert observer.step()
    assert counts(candidate) == (1, 0, 0)


def test_texts_of_two_tasks_go_to_their_own_candidates(at_work: Run, candidate: Run, toy_root: Path) -> None:
    observer = shadow.Observer(rest_seconds=0, is_threaded=False)
    topic = toys.labelled_task("topic")
    runs = [toys.ready_run(topic, toy_root, encoding.encoder_directory()) for _ in range(2)]
    Deployment.objects.create(task=topic, run=runs[0])
    shadow.start(candidate)
    shadow.start(runs[1])
    observer.offer("intent", at_work.pk, ["lost my card"], [said("card")])
    observer.offer("topic", runs[0].pk, ["what fees", "fee list"], [said("fees")] * 2)
    observer.offer("intent", at_work.pk, ["card is gone"], [said("card")])
    while observer.step():
        pass
    assert counts(candidate)[0] == 2
    assert counts(runs[1])[0] == 2


@pytest.mark.django_db(transaction=True)
def test_the_thread_compares_what_live_code_offers_without_holding_it_up(
    at_work: Run, candidate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = threading.Event()
    compare = shadow.Observer._compare
    inside: list[str] = []

    def slow(self: shadow.Observer, *args: Any) -> None:
        inside.append(threading.current_thread().name)
        time.sleep(0.2)
        compare(self, *args)
        compared.set()

    monkeypatch.setattr(shadow.Observer, "_compare", slow)
    observer = shadow.Observer(rest_seconds=0.05)
    shadow.start(candidate)
    started = time.monotonic()
    observer.offer("intent", at_work.pk, ["lost my card"], [said("card")])
    assert time.monotonic() - started < 0.1
    assert compared.wait(20)
    assert inside == ["shadow"]
    assert counts(candidate) == (1, 0, 0)


# --- the command ------------------------------------------------------------------------------------------------------


def printed(*arguments: str) -> str:
    out = StringIO()
    call_command("shadow", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_starts_lists_and_stops(at_work: Run, contrary: Run, observer: shadow.Observer) -> None:
    assert printed() == "No candidate has run beside a deployed model yet.\n"
    assert printed(str(contrary.pk)) == f"intent: run #{contrary.pk} runs: 0 compared.\n"
    show(observer, at_work, ("lost my card", "card"), ("what fees", "card"))
    assert printed() == (
        f"intent: run #{contrary.pk} runs: 2 compared, 50.0% agreed.\n  intent: card / fees: lost my card\n"
    )
    assert printed("--stop", "intent") == f"intent: run #{contrary.pk} ended: 2 compared, 50.0% agreed.\n"
    for arguments, message in (
        (("--stop", "intent"), "No candidate runs"),
        (("--stop", "mood"), "no task 'mood'"),
        ((str(contrary.pk), "--stop", "intent"), "not both"),
        (("999999",), "no run #999999"),
        ((str(at_work.pk),), "is at work itself"),
    ):
        with pytest.raises(CommandError, match=message):
            printed(*arguments)
