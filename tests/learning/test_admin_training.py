"""The page that begins a training: what it offers, what it queues, and what it says of a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from lepton_app.learning.admin import words
from lepton_app.learning.config import METHODS, TUNING_METHODS, configured, options
from lepton_app.learning.models import Run, Task
from lepton_app.learning.tasks import execute_run
from tests.learning import toys

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture
def task(toy_root: Path) -> Task:
    return toys.labelled_task(copies=3)


@pytest.fixture
def trainer(client: Client) -> Client:
    user = User.objects.create_user("kim", is_staff=True)
    names = ("view_task", "view_run", "view_snapshot", "add_run")
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="learning", codename__in=names))
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sent: list[int] = []
    monkeypatch.setattr(execute_run, "delay", sent.append)
    return sent


def address(task: Task) -> str:
    return reverse("admin:learning_task_train", args=[task.pk])


def form_errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["form"].errors)


def test_every_option_is_described_with_the_words_of_the_configuration() -> None:
    assert {name: str(words.OPTIONS[name]) for name in words.OPTIONS} == {
        option.name: option.description for option in options()
    }
    grouped = [name for _title, _methods, names in words.GROUPS for name in names]
    assert sorted(grouped) == sorted(option.name for option in options())
    assert list(words.METHODS) == list(METHODS)
    assert {method for _title, methods, _names in words.GROUPS for method in methods} == set(METHODS)


def test_the_page_offers_each_method_with_its_sentence_and_each_option_with_its_range(
    trainer: Client, task: Task
) -> None:
    response = trainer.get(address(task))
    text = response.content.decode()
    for method in METHODS:
        assert f'name="method" value="{method}"' in text
    for option in options():
        assert f'name="set_{option.name}"' in text
    assert "Passes over the training texts at most." in text
    assert "≥ 1, ≤ 200" in text
    assert response.context["presets"]["adalora"]["initial_rank"] == "12"
    assert not Run.objects.exists()


def test_only_what_somebody_filled_in_differs_from_the_preset(
    trainer: Client, task: Task, nudged: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    data = {"method": "adalora", "base": "", "set_epochs": "3", "set_class_weights": "balanced", "set_rank": ""}
    with django_capture_on_commit_callbacks(execute=True):
        response = trainer.post(address(task), data)
    run = Run.objects.get()
    assert response["Location"] == reverse("admin:learning_run_change", args=[run.pk])
    assert run.config == configured("adalora", {"epochs": 3, "class_weights": "balanced"}).model_dump()
    assert (run.method, run.base, run.requested_by) == ("adalora", None, User.objects.get())
    assert nudged == [run.pk]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"set_epochs": "0"}, "set_epochs", "greater than or equal to 1"),
        ({"set_learning_rate": "fast"}, "set_learning_rate", "valid number"),
        ({"method": "adalora", "set_initial_rank": "2"}, "__all__", "initial_rank must be at least rank"),
        ({"method": "magic"}, "method", "not one of the available choices"),
        ({"base": "999"}, "base", "not one of the available choices"),
        ({"set_optimiser": "adam"}, "set_optimiser", "not one of the available choices"),
    ],
)
def test_what_is_wrong_is_said_at_its_place_and_nothing_is_lost(
    trainer: Client, task: Task, nudged: list[int], given: dict[str, str], field: str, words: str
) -> None:
    data = {"method": "lora", "base": "", "set_batch_size": "48", **given}
    response = trainer.post(address(task), data)
    assert response.status_code == 200
    errors = form_errors(response)
    assert list(errors) == [field]
    assert words in errors[field][0]
    text = response.content.decode()
    assert errors[field][0] in text.replace("&#x27;", "'")
    assert 'value="48"' in text
    assert '<details class="learn-card learn-options" open>' in text
    assert not Run.objects.exists()
    assert nudged == []


def test_the_same_once_more_is_refused_and_leads_to_the_earlier_run(trainer: Client, task: Task) -> None:
    data = {"method": "head", "base": ""}
    trainer.post(address(task), data)
    earlier = Run.objects.get()
    response = trainer.post(address(task), data)
    assert f"Run #{earlier.pk}" in form_errors(response)["__all__"][0]
    assert f'href="{reverse("admin:learning_run_change", args=[earlier.pk])}"' in response.content.decode()
    assert Run.objects.get() == earlier


def test_too_few_labels_are_said_on_the_page(trainer: Client, toy_root: Path) -> None:
    bare = Task.objects.create(name="topic", title="Topic")
    response = trainer.post(address(bare), {"method": "head", "base": ""})
    assert "two" in form_errors(response)["__all__"][0]
    assert not Run.objects.exists()


def test_runs_that_brought_an_encoder_can_be_started_from_and_others_are_refused_by_name(
    trainer: Client, task: Task, toy_root: Path
) -> None:
    encoder = toys.publish_encoder(toy_root, seed=1)
    fields = {"config": configured("ia3", {}).model_dump(), "snapshot": toys.frozen(task)}
    tuned = toys.ready_run(task, toy_root, encoder, is_own=True, method="ia3", **fields)
    toys.ready_run(task, toy_root, encoder)  # a head has nothing that could be taken over
    toys.ready_run(toys.labelled_task("topic"), toy_root, encoder, is_own=True)
    response = trainer.get(address(task))
    assert [pk for pk, _method, _said in response.context["form"].bases()] == [tuned.pk]

    refused = trainer.post(address(task), {"method": "lora", "base": str(tuned.pk)})
    assert "its method is ia3" in form_errors(refused)["base"][0]
    assert f'value="{tuned.pk}" data-method="ia3" selected' in refused.content.decode()
    assert Run.objects.filter(status=Run.Status.QUEUED).count() == 0


def test_what_people_named_is_shown_as_text(trainer: Client, task: Task) -> None:
    Task.objects.update(title="<script>alert(1)</script>")
    response = trainer.post(address(task), {"method": "lora", "set_encoder": '"><script>alert(2)</script>' * 30})
    assert "<script>alert" not in response.content.decode()


def test_a_head_reads_none_of_the_options_of_tuning() -> None:
    read = {name for _title, methods, names in words.GROUPS if "head" in methods for name in names}
    assert read == {"seed", "ngram_weight", "inverse_regularisation", "false_refusals"}
    assert set(TUNING_METHODS) == set(METHODS) - {"head"}
