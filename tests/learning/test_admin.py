"""The admin of learning: lists that stay cheap, labels that are kept, and steps that ask before they act."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from lepton_app.learning import deployments, runs
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Deployment, Disagreement, Label, Run, Sample, Shadow, Snapshot, Task
from lepton_app.learning.tasks import execute_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
INJECTION = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def task() -> Task:
    return Task.objects.create(name="intent", title="Intent")


@pytest.fixture
def staff(client: Client) -> Callable[..., Client]:
    """Sign in as somebody who holds these permissions of learning."""

    def staff(*codenames: str) -> Client:
        user = User.objects.create_user("kim", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="learning", codename__in=codenames))
        assert user.user_permissions.count() == len(codenames)
        client.force_login(user)
        return client

    return staff


@pytest.fixture
def editor(staff: Any) -> Client:
    return staff(
        *(f"view_{model}" for model in ("task", "label", "sample", "annotation", "snapshot", "run", "deployment")),
        *("view_shadow", "view_disagreement"),
        *("add_sample", "change_sample", "add_label", "change_label", "add_run", "deploy_run"),
    )


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sent: list[int] = []
    monkeypatch.setattr(execute_run, "delay", sent.append)
    return sent


def label_some(task: Task, count: int = 4) -> None:
    rows = [Labelled(f"text {number}", f"label {number % 2}") for number in range(count)]
    annotate(task, rows, source=Annotation.Source.STARTER)


def ready_run(task: Task, **changes: Any) -> Run:
    now = timezone.now()
    fields = {"status": Run.Status.READY, "artifact": "classifier-1", "started_at": now - timedelta(seconds=9.5)}
    return Run.objects.create(task=task, **fields | {"finished_at": now} | changes)


def page(client: Client, name: str, *args: Any, query: str = "") -> str:
    response = client.get(reverse(f"admin:learning_{name}", args=args) + query)
    assert response.status_code == 200
    return response.content.decode()


def shown_messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["task", "label", "sample", "annotation", "snapshot", "run", "deployment", "shadow", "disagreement"],
)
def test_a_list_costs_as_many_queries_with_one_row_as_with_many(
    editor: Client, task: Task, name: str, django_assert_max_num_queries: Any, django_assert_num_queries: Any
) -> None:
    def rows(number: int) -> None:
        other = Task.objects.create(name=f"task-{number}", title=f"Task {number}")
        label_some(other, 2)
        snapshot = Snapshot.objects.create(task=other, sha256=f"{number:064}", artifact="a", rows=2, label_count=2)
        run = ready_run(other, snapshot=snapshot, requested_by=User.objects.get())
        Deployment.objects.create(task=other, run=run, deployed_by=User.objects.get())
        shadow = Shadow.objects.create(task=other, run=run, started_by=User.objects.get(), disagreed=1)
        Disagreement.objects.create(
            shadow=shadow, text="x", deployed_run=run, deployed_confidence=0.5, candidate_confidence=0.5
        )

    rows(0)
    address = reverse(f"admin:learning_{name}_changelist")
    editor.get(address)  # content types and the like are read once
    with django_assert_max_num_queries(14) as first:
        assert editor.get(address).status_code == 200
    for number in range(1, 8):
        rows(number)
    with django_assert_num_queries(len(first)):
        assert editor.get(address).status_code == 200


def test_a_task_shows_what_it_has_and_what_is_at_work(editor: Client, task: Task) -> None:
    label_some(task, 5)
    first = ready_run(task)
    Run.objects.create(task=task, status=Run.Status.FAILED, error="no memory")
    Deployment.objects.create(task=task, run=first)
    text = page(editor, "task_changelist")
    cells = re.findall(r'class="[^"]*field-(\w+)[^"]*"[^>]*>(.*?)</td>', text, flags=re.DOTALL)
    found = {name: re.sub(r"<[^>]+>|\s+", " ", cell).strip() for name, cell in cells}
    assert found["label_count"].endswith("2")
    assert found["sample_count"].endswith("5")
    assert found["newest_run"].endswith("Failed")
    assert found["at_work"].endswith(f"#{first.pk}")


def test_samples_are_filtered_and_searched(editor: Client, task: Task) -> None:
    rows = [Labelled("where is my card", "card"), Labelled("我的卡在哪里", "card"), Labelled("sing a song", None)]
    annotate(task, rows, source=Annotation.Source.STARTER)
    label = Label.objects.get()

    def texts(query: str) -> set[str]:
        listed = page(editor, "sample_changelist", query=query)
        return {row.text for row in rows if row.text in listed}

    assert texts("") == {row.text for row in rows}
    assert texts(f"?label__id__exact={label.pk}") == {"where is my card", "我的卡在哪里"}
    assert texts("?language__exact=zh-hans") == {"我的卡在哪里"}
    assert texts("?is_out_of_scope__exact=1") == {"sing a song"}
    assert texts(f"?task__id__exact={task.pk}&q=song") == {"sing a song"}
    assert texts("?q=card") == {"where is my card", "我的卡在哪里"}  # by the label's name as well


def test_what_people_wrote_is_shown_as_text(editor: Client, task: Task) -> None:
    annotate(task, [Labelled(INJECTION, INJECTION[:90]), Labelled("x", "y")], source=Annotation.Source.IMPORT)
    sample = Sample.objects.get(text=INJECTION)
    run = ready_run(task, error=INJECTION, metrics={INJECTION: INJECTION, "per_label": {INJECTION: {"f1": 1.0}}})
    pages = [
        page(editor, "sample_changelist"),
        page(editor, "sample_change", sample.pk),
        page(editor, "annotation_changelist"),
        page(editor, "annotation_change", sample.annotations.get().pk),
        page(editor, "label_changelist"),
        page(editor, "run_change", run.pk),
    ]
    for text in pages:
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "&lt;script&gt;" in text


# --- labels and samples -----------------------------------------------------------------------------------------------


def test_saving_a_sample_adds_an_annotation_and_keeps_the_old_one(editor: Client, task: Task) -> None:
    label_some(task, 2)
    sample = Sample.objects.get(text="text 0")
    other = Label.objects.get(name="label 1")
    address = reverse("admin:learning_sample_change", args=[sample.pk])
    assert editor.post(address, {"label": other.pk}).status_code == 302
    sample.refresh_from_db()
    assert sample.label == other
    said = list(sample.annotations.order_by("pk").values_list("label__name", "source", "annotator__username"))
    assert said == [("label 0", "starter", None), ("label 1", "staff", "kim")]

    assert editor.post(address, {"label": other.pk}).status_code == 302  # nothing changed, nothing said
    assert sample.annotations.count() == 2

    assert editor.post(address, {"label": "", "is_out_of_scope": "on"}).status_code == 302
    sample.refresh_from_db()
    assert sample.is_out_of_scope
    assert sample.label_id is None
    assert sample.annotations.count() == 3


def test_a_dispute_is_found_and_decided_by_saving_the_sample_as_it_is(editor: Client, task: Task) -> None:
    label_some(task, 2)
    sample = Sample.objects.get(text="text 0")
    Sample.objects.filter(pk=sample.pk).update(is_disputed=True)
    disputed = page(editor, "sample_changelist", query="?is_disputed__exact=1")
    assert ("text 0" in disputed, "text 1" in disputed) == (True, False)
    address = reverse("admin:learning_sample_change", args=[sample.pk])
    assert editor.post(address, {"label": sample.label_id}).status_code == 302
    sample.refresh_from_db()
    assert (sample.is_disputed, sample.label.name if sample.label else None) == (False, "label 0")
    assert [annotation.source for annotation in sample.annotations.all()[:1]] == [Annotation.Source.STAFF]


def test_one_text_about_two_things_is_two_samples(editor: Client, task: Task) -> None:
    up, down = (Label.objects.create(task=task, name=name) for name in ("up", "down"))
    address = reverse("admin:learning_sample_add")
    given = {"task": task.pk, "text": "SpiceJet falls as IndiGo gains"}
    assert editor.post(address, given | {"entity": "IndiGo", "label": up.pk}).status_code == 302
    assert editor.post(address, given | {"entity": "SpiceJet", "label": down.pk}).status_code == 302
    again = editor.post(address, given | {"entity": " spicejet ", "label": up.pk})
    assert "has this text." in again.content.decode()
    assert set(Sample.objects.values_list("entity", "label__name")) == {("IndiGo", "up"), ("SpiceJet", "down")}
    assert "SpiceJet" in page(editor, "sample_changelist", query="?q=spicejet")


def test_a_new_sample_is_stored_with_its_annotation(editor: Client, task: Task) -> None:
    label = Label.objects.create(task=task, name="card")
    address = reverse("admin:learning_sample_add")
    assert editor.post(address, {"task": task.pk, "text": " 我的卡在哪里 ", "label": label.pk}).status_code == 302
    sample = Sample.objects.get()
    assert (sample.text, sample.language, sample.label) == ("我的卡在哪里", "zh-hans", label)
    assert sample.annotations.get().annotator == User.objects.get()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Choose a label or “out of scope”."),
        ({"label": "own", "is_out_of_scope": "on"}, "Choose a label or “out of scope”, not both."),
        ({"label": "foreign"}, "This label belongs to another task."),
        ({"label": "own", "text": "TEXT 0 "}, "has this text."),
        ({"label": "own", "text": "x" * 100_001}, "At most 100000 characters are allowed."),
        ({"label": "own", "text": "a\x00b"}, "Null characters are not allowed."),
    ],
)
def test_a_sample_that_says_nothing_clear_is_refused(
    editor: Client, task: Task, fields: dict[str, str], message: str
) -> None:
    label_some(task, 2)
    foreign = Label.objects.create(task=Task.objects.create(name="topic", title="Topic"), name="merger")
    labels = {"own": Label.objects.filter(task=task).earliest("pk"), "foreign": foreign}
    given = {"task": task.pk, "text": "a new text"} | fields
    if "label" in fields:
        given["label"] = labels[fields["label"]].pk
    response = editor.post(reverse("admin:learning_sample_add"), given)
    assert response.status_code == 200
    assert message in response.content.decode()
    assert Sample.objects.count() == 2
    assert Annotation.objects.count() == 2


def test_labels_that_differ_in_capitals_or_spaces_only_are_refused(editor: Client, task: Task) -> None:
    Label.objects.create(task=task, name="card lost")
    address = reverse("admin:learning_label_add")
    response = editor.post(address, {"task": task.pk, "name": " Card  LOST", "is_active": "on"})
    assert "There is the label “card lost” already." in response.content.decode()
    assert Label.objects.count() == 1
    assert editor.post(address, {"task": task.pk, "name": "card stolen", "is_active": "on"}).status_code == 302


@pytest.mark.parametrize("name", ["annotation", "snapshot", "run", "deployment"])
def test_what_has_happened_is_not_changed_or_deleted_even_by_a_superuser(
    admin_client: Client, task: Task, name: str
) -> None:
    label_some(task, 2)
    snapshot = Snapshot.objects.create(task=task, sha256="0" * 64, artifact="a", rows=2, label_count=2)
    run = ready_run(task, snapshot=snapshot)
    Deployment.objects.create(task=task, run=run)
    model: Any = {"annotation": Annotation, "snapshot": Snapshot, "run": Run, "deployment": Deployment}[name]
    before = list(model.objects.order_by("pk").values())
    pk = before[0]["id"]
    assert admin_client.get(reverse(f"admin:learning_{name}_change", args=[pk])).status_code == 200
    assert admin_client.post(reverse(f"admin:learning_{name}_change", args=[pk]), {"error": "x"}).status_code == 403
    assert admin_client.post(reverse(f"admin:learning_{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert admin_client.get(reverse(f"admin:learning_{name}_add")).status_code == 403
    assert list(model.objects.order_by("pk").values()) == before


# --- steps ------------------------------------------------------------------------------------------------------------


def test_nothing_to_roll_back_is_said(editor: Client, task: Task) -> None:
    response = editor.post(reverse("admin:learning_task_roll_back", args=[task.pk]), follow=True)
    assert shown_messages(response) == ["No earlier model of 'intent' has been deployed."]


@pytest.mark.parametrize(
    ("step", "codename"), [("task_train", "add_run"), ("task_roll_back", "deploy_run"), ("run_deploy", "deploy_run")]
)
def test_a_step_needs_its_own_permission(
    staff: Any, task: Task, monkeypatch: pytest.MonkeyPatch, step: str, codename: str
) -> None:
    def forbidden(*args: Any, **options: Any) -> None:
        raise AssertionError("the step was taken")

    for module, name in ((runs, "request_run"), (deployments, "deploy"), (deployments, "roll_back")):
        monkeypatch.setattr(module, name, forbidden)
    run = ready_run(task)
    others = {"add_run", "deploy_run"} - {codename}
    client = staff("view_task", "change_task", "view_run", *others)
    pk = run.pk if step.startswith("run") else task.pk
    address = reverse(f"admin:learning_{step}", args=[pk])
    assert address not in page(client, step.split("_")[0] + "_change", pk)
    assert client.get(address).status_code == 403
    assert client.post(address).status_code == 403


def test_a_step_on_what_is_not_there_is_not_found(editor: Client) -> None:
    assert editor.post(reverse("admin:learning_run_deploy", args=[999])).status_code == 404
    assert editor.post(reverse("admin:learning_task_train", args=["x"])).status_code == 404


def test_a_step_from_another_site_is_refused(task: Task, editor: Client, nudged: list[int]) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = editor.cookies
    assert strict.post(reverse("admin:learning_task_train", args=[task.pk])).status_code == 403
    assert not Run.objects.exists()


def test_a_run_shows_its_figures(editor: Client, task: Task) -> None:
    metrics = {"accuracy": 0.93125, "ece": 0.0, "per_label": {"fees": {"precision": 1.0, "support": 12}}}
    run = ready_run(task, metrics=metrics)
    assert "93.1 %" in page(editor, "run_changelist")
    text = page(editor, "run_change", run.pk)
    for figure in ("0.9313", "0.0000", "fees", "1.0000", "12", "9.5 s"):
        assert figure in text
