"""The page of a run: followed while it works, cancelled, read when it is ready, and taken to work past the gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from lepton_app.learning import deployments
from lepton_app.learning.config import configured
from lepton_app.learning.evaluation import save_report
from lepton_app.learning.models import Deployment, Disagreement, Run, Shadow, Task
from lepton_app.roles import APPROVERS, EDITORS, ROLES
from tests.learning import toys
from tests.learning.test_report_page import full_report, history, report_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
SignIn = Callable[..., Client]
REASON = "The old labels are gone since Monday."


@pytest.fixture
def task(toy_root: Path) -> Task:
    return toys.labelled_task(copies=3)


@pytest.fixture
def sign_in(client: Client) -> SignIn:
    """Sign in as somebody who holds these permissions."""

    def sign_in(*names: str) -> Client:
        user = User.objects.create_user("kim", is_staff=True)
        found = [Permission.objects.get(content_type__app_label="learning", codename=name) for name in names]
        user.user_permissions.set(found)
        client.force_login(user)
        return client

    return sign_in


def of_role(role: str) -> list[str]:
    return [name.removeprefix("learning.") for name in ROLES[role] if name.startswith("learning.")]


@pytest.fixture
def editor(sign_in: SignIn) -> Client:
    return sign_in(*of_role(EDITORS))


@pytest.fixture
def approver(sign_in: SignIn) -> Client:
    return sign_in(*of_role(APPROVERS))


def url(name: str, run: Run) -> str:
    return reverse(f"admin:learning_run_{name}", args=[run.pk])


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def judged(verdict: str, *, against: int | None) -> dict[str, Any]:
    figures = {"candidate": 2.0, "deployed": 1.5}
    check = {"name": "latency", "verdict": verdict, "figures": figures, "sentence": ""}
    return {"verdict": verdict, "gate": {"verdict": verdict, "against": against, "checks": [check]}}


@pytest.fixture
def ready(task: Task, toy_root: Path) -> Callable[..., Run]:
    """Make a ready run whose model loads; ``verdict`` is the gate's, ``against`` the run at work then."""
    encoder = next(toy_root.glob("encoder-*"))

    def ready(verdict: str = "pass", *, against: int | None = None, **fields: Any) -> Run:
        fields = {"snapshot": toys.frozen(task)} | judged(verdict, against=against) | fields
        return toys.ready_run(task, toy_root, encoder, **fields)

    return ready


# --- while it works ---------------------------------------------------------------------------------------------------


def test_a_page_is_told_how_far_a_run_is(sign_in: SignIn, task: Task) -> None:
    progress = {"done": 30, "total": 120, "epoch": 1.0, "loss": 0.5123, "learning_rate": 2e-4, "seconds_left": 190}
    points = history()
    run = Run.objects.create(task=task, status="running", step="Tuning", progress=progress, history=points)
    client = sign_in("view_run")
    told = client.get(url("progress", run)).json()
    assert told["is_open"] is True
    assert told["share"] == 0.25
    assert told["texts"] == {
        "status": "Running",
        "stage": "Tuning",
        "step": "30 / 120",
        "epoch": "1.0",
        "loss": "0.5123",
        "learning_rate": "2.00e-04",
        "left": "3 min 10 s",
    }
    assert told["points"] == len(points)
    assert told["charts"].count("<svg") >= 2
    assert client.get(url("progress", run), {"points": len(points)}).json()["charts"] is None
    page = client.get(url("change", run)).content.decode()
    assert f'data-refresh-url="{url("progress", run)}"' in page
    assert 'value="0.25"' in page
    assert "<polyline" in page

    Run.objects.update(status="failed")
    assert client.get(url("progress", run)).json()["is_open"] is False


def test_a_run_that_has_said_nothing_yet_shows_a_bar_without_a_share(sign_in: SignIn, task: Task) -> None:
    run = Run.objects.create(task=task)
    told = sign_in("view_run").get(url("progress", run)).json()
    assert (told["share"], told["texts"]["stage"], told["texts"]["left"]) == (None, "Waits for a worker", "–")


@pytest.mark.parametrize("name", ["progress", "report_json", "report_html", "card_md", "cancel"])
def test_nobody_else_learns_of_a_run(sign_in: SignIn, client: Client, task: Task, name: str) -> None:
    run = Run.objects.create(task=task)
    assert client.get(url(name, run)).status_code == 302  # to sign in
    others = sign_in("view_task", "add_run", "deploy_run")
    assert others.get(url(name, run)).status_code == 403
    assert others.post(url(name, run)).status_code == 403
    run.refresh_from_db()
    assert run.status == Run.Status.QUEUED


@pytest.mark.parametrize(
    ("before", "after", "is_asked"), [("queued", "cancelled", False), ("running", "running", True)]
)
def test_a_run_is_cancelled(editor: Client, task: Task, before: str, after: str, is_asked: bool) -> None:
    run = Run.objects.create(task=task, status=before)
    assert url("cancel", run) in editor.get(url("change", run)).content.decode()
    assert editor.get(url("cancel", run)).status_code == 405
    response = editor.post(url("cancel", run), follow=True)
    assert said(response) == [f"Run #{run.pk} is being cancelled."]
    run.refresh_from_db()
    assert (run.status, run.is_cancel_requested) == (after, is_asked)
    assert f'action="{url("cancel", run)}"' not in response.content.decode()


def test_what_has_ended_is_not_cancelled_and_says_so(editor: Client, task: Task) -> None:
    run = Run.objects.create(task=task, status="failed", error="no memory")
    response = editor.post(url("cancel", run), follow=True)
    assert "is failed; only a run that waits or works" in said(response)[0]
    assert "no memory" in response.content.decode()


def test_looking_is_not_cancelling(approver: Client, task: Task) -> None:
    run = Run.objects.create(task=task)
    assert url("cancel", run) not in approver.get(url("change", run)).content.decode()
    assert approver.post(url("cancel", run)).status_code == 403
    assert Run.objects.get().status == Run.Status.QUEUED


# --- what came out ----------------------------------------------------------------------------------------------------


def test_a_ready_run_shows_its_report_and_gives_it_away(
    editor: Client, toy_root: Path, ready: Callable[..., Run]
) -> None:
    report = full_report(3)
    folder = save_report(report, toy_root, card="# Card of the run")
    run = ready(report_artifact=folder.name, metrics={"trainable_parameters": 500, "total_parameters": 22_000})
    page = editor.get(url("change", run)).content.decode()
    for words in ("Confusion matrix", "Reliability", "The surest mistakes", "Each label", "More labelled texts"):
        assert words in page
    assert 'href="#cell-0-1"' in page
    assert 'id="cell-0-1"' in page
    assert "500 of 22,000 (2.3 %)" in page

    sent = editor.get(url("report_json", run))
    assert sent["Content-Disposition"] == f'attachment; filename="run-{run.pk}-report.json"'
    assert json.loads(sent.content) == report
    sent = editor.get(url("report_html", run), headers={"accept-language": "en"})
    assert sent["Content-Type"] == "text/html; charset=utf-8"
    assert sent["Content-Disposition"] == f'attachment; filename="run-{run.pk}-report.html"'
    policy = sent["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert b"<script" not in sent.content
    sent = editor.get(url("card_md", run))
    assert sent.content == b"# Card of the run"
    assert url("card_md", run) in page


def test_texts_of_a_report_are_shown_as_text(editor: Client, toy_root: Path, ready: Callable[..., Run]) -> None:
    folder = save_report(report_of(3, hostile=True), toy_root)
    run = ready(report_artifact=folder.name)
    page = editor.get(url("change", run)).content.decode()
    assert "<script>alert" not in page
    assert "<b>label" not in page
    assert "&lt;script&gt;alert" in page


def test_a_damaged_report_is_said_and_not_sent(editor: Client, toy_root: Path, ready: Callable[..., Run]) -> None:
    folder = save_report(full_report(3), toy_root)
    toys.damage(folder / "report.json")
    run = ready(report_artifact=folder.name)
    page = editor.get(url("change", run))
    assert page.status_code == 200
    assert "The report cannot be read (artifact_corrupt)" in page.content.decode()
    assert editor.get(url("report_json", run)).status_code == 404
    assert editor.get(url("report_html", run)).status_code == 404
    assert editor.get(url("card_md", run)).status_code == 404


def test_options_that_differ_from_the_preset_stand_first(editor: Client, ready: Callable[..., Run]) -> None:
    run = ready(method="lora", config=configured("lora", {"epochs": 9, "class_weights": "balanced"}).model_dump())
    context = editor.get(url("change", run)).context
    assert [(row.name, row.value, row.preset) for row in context["changed"]] == [
        ("epochs", "9", "5"),
        ("class_weights", "balanced", "none"),
    ]
    assert ("rank", "16") in [(row.name, row.value) for row in context["usual"]]


def test_an_address_of_no_run_leads_back(editor: Client, toy_root: Path) -> None:
    for number in ("x", "999"):
        assert editor.get(f"/admin/learning/run/{number}/change/").status_code == 302
    assert editor.get("/admin/learning/run/999/progress/").status_code == 404


def test_a_run_leads_to_what_it_learnt_from(editor: Client, ready: Callable[..., Run]) -> None:
    base = ready()
    run = ready(base=base)
    assert run.snapshot is not None
    page = editor.get(url("change", run)).content.decode()
    assert reverse("admin:learning_snapshot_change", args=[run.snapshot.pk]) in page
    assert url("change", base) in page


# --- to work ----------------------------------------------------------------------------------------------------------


def test_the_gates_answer_stands_first_and_what_passes_is_deployed_and_rolled_back(
    editor: Client, ready: Callable[..., Run]
) -> None:
    old = ready()
    deployments.deploy(old)
    new = ready(against=old.pk)
    assert url("deploy", new) in editor.get(url("change", new)).content.decode()
    asked = editor.get(url("deploy", new))
    text = asked.content.decode()
    assert "One text takes 2.0 ms, with the model at work 1.5 ms." in text
    assert f"At work now: #{old.pk}." in text
    assert "<textarea" not in text
    assert Deployment.objects.get(ended_at=None).run == old
    response = editor.post(url("deploy", new), follow=True)
    assert said(response) == [f"Run #{new.pk} is at work."]
    mark = Deployment.objects.get(ended_at=None)
    assert (mark.run, mark.deployed_by, mark.verdict, mark.reason) == (new, User.objects.get(), "pass", "")
    assert url("deploy", new) not in response.content.decode()

    back = reverse("admin:learning_task_roll_back", args=[new.task_id])
    assert f"At work now: #{new.pk}." in editor.get(back).content.decode()
    assert said(editor.post(back, follow=True)) == [f"Run #{old.pk} is at work again."]
    assert Deployment.objects.get(ended_at=None).run == old


@pytest.mark.parametrize("verdict", ["person", "refuse"])
def test_an_editor_reads_why_a_model_stays_out(editor: Client, ready: Callable[..., Run], verdict: str) -> None:
    run = ready(verdict)
    text = editor.get(url("deploy", run)).content.decode()
    assert "The gate does not let this model pass." in text
    assert "<textarea" not in text
    response = editor.post(url("deploy", run), {"reason": REASON})
    assert response.status_code == 200
    assert "Only people who may override the gate" in response.content.decode()
    assert not Deployment.objects.exists()


def test_an_approver_deploys_against_the_gate_with_a_reason_that_is_kept(
    approver: Client, ready: Callable[..., Run]
) -> None:
    run = ready("refuse")
    assert "<textarea" in approver.get(url("deploy", run)).content.decode()
    for reason, words in (("", "This field is required."), ("because", "at least 10 characters")):
        response = approver.post(url("deploy", run), {"reason": reason})
        assert response.status_code == 200
        assert words in response.content.decode()
        assert not Deployment.objects.exists()
    bare = approver.post(url("deploy", run))
    assert "write down why" in bare.content.decode()
    assert "<textarea" in bare.content.decode()
    assert not Deployment.objects.exists()

    response = approver.post(url("deploy", run), {"reason": REASON}, follow=True)
    assert said(response) == [f"Run #{run.pk} is at work."]
    assert (Deployment.objects.get().verdict, Deployment.objects.get().reason) == ("refuse", REASON)
    listed = approver.get(reverse("admin:learning_deployment_changelist")).content.decode()
    assert REASON in listed
    assert "Refuse" in listed


def test_an_old_verdict_is_said_to_be_old(editor: Client, ready: Callable[..., Run]) -> None:
    run = ready()
    deployments.deploy(ready())
    assert "Another model went to work since this was said." in editor.get(url("deploy", run)).content.decode()


def test_what_cannot_be_loaded_is_refused_with_its_code(
    editor: Client, toy_root: Path, ready: Callable[..., Run]
) -> None:
    run = ready()
    toys.damage(next(file for file in sorted((toy_root / run.artifact).iterdir()) if file.name != "manifest.json"))
    response = editor.post(url("deploy", run), follow=True)
    assert "cannot be loaded (artifact_corrupt)" in said(response)[0]
    assert not Deployment.objects.exists()


# --- beside the model at work -----------------------------------------------------------------------------------------


def test_a_candidate_works_as_a_shadow_and_stops(editor: Client, ready: Callable[..., Run]) -> None:
    old, new = ready(), ready()
    assert url("start_shadow", new) not in editor.get(url("change", new)).content.decode()  # beside what?
    deployments.deploy(old)
    page = editor.get(url("change", new)).content.decode()
    assert (url("start_shadow", new) in page, url("stop_shadow", new) in page) == (True, False)
    assert url("start_shadow", old) not in editor.get(url("change", old)).content.decode()
    editor.get(url("start_shadow", new))
    assert not Shadow.objects.exists()
    assert said(editor.post(url("start_shadow", new), follow=True)) == [f"Run #{new.pk} works as a shadow."]
    active = Shadow.objects.get()
    assert (active.run, active.ended_at, active.started_by) == (new, None, User.objects.get())

    page = editor.get(url("change", new)).content.decode()
    assert (url("start_shadow", new) in page, url("stop_shadow", new) in page) == (False, True)
    Shadow.objects.update(agreed=90, disagreed=10)
    response = editor.post(url("stop_shadow", new), follow=True)
    assert said(response) == ["The shadow has ended: 90 texts alike, 10 not."]
    assert Shadow.objects.get().ended_at is not None


def test_a_shadow_that_cannot_run_says_why(editor: Client, ready: Callable[..., Run]) -> None:
    response = editor.post(url("start_shadow", ready()), follow=True)
    assert "No model of 'intent' is at work" in said(response)[0]
    assert not Shadow.objects.exists()


def test_where_two_models_differ_is_listed_with_both_answers_and_filtered(
    editor: Client, ready: Callable[..., Run]
) -> None:
    old, new = ready(), ready()
    shadow = Shadow.objects.create(task=new.task, run=new, agreed=3, disagreed=1)
    Shadow.objects.create(task=new.task, run=old, ended_at="2026-01-01T00:00Z")
    both = {"deployed_run": old, "deployed_confidence": 0.91, "candidate_confidence": 0.55}
    for text, deployed, candidate in (("<b>lost</b> card", "card", "fees"), ("sing a song", "", "card")):
        Disagreement.objects.create(
            shadow=shadow, text=text, deployed_label=deployed, candidate_label=candidate, **both
        )
    listed = editor.get(reverse("admin:learning_shadow_changelist")).content.decode()
    assert "75.0 %" in listed
    address = reverse("admin:learning_disagreement_changelist")
    assert f"{address}?shadow__id__exact={shadow.pk}" in listed
    text = editor.get(address).content.decode()
    assert "card · 91.0\u00a0%" in text
    assert "(out of scope) · 91.0\u00a0%" in text
    assert "fees · 55.0\u00a0%" in text
    assert "&lt;b&gt;lost" in text
    filtered = editor.get(address, {"candidate_label": "fees"}).content.decode()
    assert "&lt;b&gt;lost" in filtered
    assert "sing a song" not in filtered
    one = Disagreement.objects.earliest("pk")
    shown = editor.get(reverse("admin:learning_disagreement_change", args=[one.pk])).content.decode()
    assert url("change", old) in shown


def test_a_shadow_asks_for_the_right_to_deploy(sign_in: SignIn, ready: Callable[..., Run]) -> None:
    run = ready()
    deployments.deploy(ready())
    client = sign_in("view_run", "add_run", "view_shadow")
    for name in ("start_shadow", "stop_shadow", "deploy"):
        assert url(name, run) not in client.get(url("change", run)).content.decode()
        assert client.post(url(name, run)).status_code == 403
    assert not Shadow.objects.exists()


def test_a_check_of_an_earlier_version_is_shown_as_it_was_kept(editor: Client, ready: Callable[..., Run]) -> None:
    check = {"name": "size", "verdict": "pass", "figures": {"old": 1}, "sentence": "Twice as large."}
    run = ready(gate={"verdict": "pass", "against": None, "checks": [check]})
    assert "Twice as large." in editor.get(url("change", run)).content.decode()
