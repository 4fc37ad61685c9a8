"""``manage.py train`` and ``manage.py runs`` as a person at a terminal uses them."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from lepton_app.learning import deployments, runs, training
from lepton_app.learning.config import options
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Run, Sample, Task
from tests.learning import toys

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(runs, "trackers_of", lambda run, folder: [])
    yield from toys.installation(tmp_path / "artifacts", settings, monkeypatch)


@pytest.fixture
def task() -> Task:
    return toys.labelled_task(copies=4)


def say(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as error:
        say(*words)
    return str(error.value)


def test_train_ends_with_figures_verdict_and_what_comes_next(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    contradictory = [Labelled("which one", "card"), Labelled("which one", "fees")]
    annotate(task, contradictory, source=Annotation.Source.IMPORT)
    said = say("train", "intent", "--set", "seed=3", "--set", "ngram_weight=0.5", "false_refusals=0.1")
    run = Run.objects.get()
    assert (run.config["seed"], run.config["ngram_weight"], run.config["false_refusals"]) == (3, 0.5, 0.1)
    assert said.startswith(f"Run #{run.pk} is ready.\n  accuracy ")
    assert "1 disputed texts were left out" in said
    assert f"The gate: {run.get_verdict_display()}." in said
    assert said.endswith(f"Put it to work with `manage.py deploy {run.pk}`.\n")
    assert f"Run #{run.pk} of intent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "Name the task to train"),
        (["train", "topic"], "There is no task 'topic'. Tasks: intent."),
        (["train", "intent", "--set", "epochs"], "An option is set as key=value"),
        (["train", "intent", "--set", "epoch=3"], "There is no option 'epoch'. Options: method, encoder"),
        (["train", "intent", "--method", "lora", "--set", "epochs=0"], "epochs: Input should be greater than"),
        (["train", "intent", "--method", "lora", "--set", "encoder=x", "--from", "77"], "There is no run #77"),
        (["train", "intent", "--csv", "/nowhere.csv"], "/nowhere.csv cannot be read: No such file or directory."),
        (["runs", "77"], "There is no run #77"),
        (["runs", "--cancel", "77"], "There is no run #77"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_and_nothing_is_queued(
    task: Task, words: list[str], message: str
) -> None:
    assert message in refused(*words)
    assert not Run.objects.exists()


def test_training_the_same_twice_names_the_earlier_run(task: Task) -> None:
    say("train", "intent")
    assert f"Run #{Run.objects.get().pk} (ready) has the same labels" in refused("train", "intent")


def test_labels_that_do_not_suffice_are_said(task: Task) -> None:
    annotate(task, [Labelled("alone", "single")], source=Annotation.Source.IMPORT)
    assert "Label more of: single" in refused("train", "intent")


def test_a_run_that_fails_ends_the_command_with_its_reason(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "train", fail)
    assert f"Run #{Run.objects.count() + 1}" not in say("runs")
    assert "is failed: The disk is full" in refused("train", "intent")


def test_the_options_are_listed_with_range_preset_and_sentence() -> None:
    said = say("train", "--options", "--method", "full")
    assert [option.name for option in options() if f"\n{option.name}=" not in said] == []
    assert "\nlearning_rate=5e-05   (> 0, ≤ 1)\n    Highest learning rate" in said


def test_a_file_of_labelled_texts_is_taken_in_first(task: Task, tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text("label,text,entity,note\nfees,A new fee,,x\n,Sing a song,,\nfees,Acme raises fees,Acme,\n")
    say("train", "intent", "--csv", str(file))
    assert Sample.objects.get(text="Acme raises fees").entity == "Acme"
    assert Sample.objects.get(text="Sing a song").is_out_of_scope
    assert Run.objects.get().metrics["rows"] == 42


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column text, label"),
        (b"text,category\na,b\n", "has no column label"),
        (b"text,label\n", "has a header and no rows"),
        (b"text,label\na,b\n ,c\n", "line 3: a text and a label are expected"),
        (b"text,label\njust a text\n", "line 2: a text and a label are expected"),
        (b'text,label\n"open,b\n', "line 2: unexpected end of data. Quote cells"),
        (b"text,label\n\xff,b\n", "is not UTF-8"),
        (("text,label\na," + "l" * 101).encode(), "label of row 1 has 101 characters"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_line(
    task: Task, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    before = Sample.objects.count()
    assert message in refused("train", "intent", "--csv", str(file))
    assert Sample.objects.count() == before


def test_runs_are_listed_with_verdict_and_accuracy_and_a_star_for_the_one_at_work(task: Task) -> None:
    first = runs.request_run(task)
    runs.execute(first.pk)
    deployments.deploy(first, reason="The first one of all.")
    second = runs.request_run(task, method="lora", changes={"epochs": 2})
    Run.objects.filter(pk=second.pk).update(
        status=Run.Status.RUNNING, step="Tuning", progress={"done": 30, "total": 60}
    )
    first.refresh_from_db()
    lines = say("runs").splitlines()
    assert lines[0].split() == [f"#{second.pk}", "intent", "lora", "running", *["Tuning", "(30", "of", "60)"]]
    assert lines[1].split() == [
        *("*", f"#{first.pk}", "intent", "head", "ready", first.verdict),
        *f"{first.metrics['accuracy']:.1%}".replace("%", " %").split(),
    ]
    assert len(say("runs", "--limit", "1").splitlines()) == 1
    assert say("runs", "--task", "topic") == ""


def test_one_run_is_told_with_its_options_figures_and_checks(task: Task) -> None:
    run = runs.request_run(task, changes={"seed": 4})
    runs.execute(run.pk)
    said = say("runs", str(run.pk))
    assert "options      seed=4\n" in said
    assert "40 texts of 2 labels (4 for validation, 4 held out), 0 out of scope\n" in said
    assert "figures      accuracy " in said
    assert f"gate         {Run.objects.get().get_verdict_display()}\n" in said
    assert "encoder " not in said.split("figures")[0].replace("encoder_", "")


def test_runs_are_cancelled(task: Task) -> None:
    waiting = runs.request_run(task)
    assert say("runs", "--cancel", str(waiting.pk)) == f"Run #{waiting.pk} is cancelled.\n"
    assert "is cancelled; only a run that waits or works" in refused("runs", "--cancel", str(waiting.pk))
    working = runs.request_run(task)
    Run.objects.filter(pk=working.pk).update(status=Run.Status.RUNNING)
    assert "ends after the step that it is at" in say("runs", "--cancel", str(working.pk))
    assert Run.objects.get(pk=working.pk).is_cancel_requested
