"""Annotations come in once, whole or not at all, and nothing is overwritten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning.errors import LearningError, UnknownTask
from lepton_app.learning.labelling import MAX_TEXT_CHARS, Labelled, annotate, digest, labelled_rows, task_named
from lepton_app.learning.models import Annotation, Label, Sample, Task
from lepton_app.learning.texts import normalise

pytestmark = pytest.mark.django_db


@pytest.fixture
def task() -> Task:
    return Task.objects.create(name="intent", title="Intent")


def test_texts_get_labels_and_languages(task: Task) -> None:
    added = annotate(
        task,
        [Labelled("I lost my card", "card_lost"), Labelled("我的卡丢了", "card_lost"), Labelled("nice weather", None)],
        source=Annotation.Source.IMPORT,
    )
    assert added == 3
    assert [(s.text, s.language, s.label and s.label.name, s.is_out_of_scope) for s in task.samples.order_by("id")] == [
        ("I lost my card", "en", "card_lost", False),
        ("我的卡丢了", "zh-hans", "card_lost", False),
        ("nice weather", "en", None, True),
    ]
    assert [label for _digest, _text, label in labelled_rows(task)] == ["card_lost", "card_lost"]


def test_the_same_text_is_one_sample_and_the_newest_annotation_stands(task: Task) -> None:
    annotate(task, [Labelled("Where is my card?", "card_lost")], source=Annotation.Source.STARTER)
    annotate(task, [Labelled("where is my CARD", "card_arrival")], source=Annotation.Source.STAFF)
    sample = Sample.objects.get()
    assert sample.label is not None
    assert sample.label.name == "card_arrival"
    assert [a.label and a.label.name for a in sample.annotations.order_by("id")] == ["card_lost", "card_arrival"]


def test_a_label_that_is_renamed_keeps_its_texts_and_an_inactive_one_teaches_nothing(task: Task) -> None:
    annotate(task, [Labelled("a b", "one"), Labelled("c d", "two")], source=Annotation.Source.IMPORT)
    Label.objects.filter(name="one").update(name="first")
    Label.objects.filter(name="two").update(is_active=False)
    assert [(text, label) for _digest, text, label in labelled_rows(task)] == [("a b", "first")]


@pytest.mark.parametrize(
    ("text", "message"),
    [("   ", "Row 2 has no text."), ("x" * (MAX_TEXT_CHARS + 1), "Row 2 has 20001 characters; at most 20000")],
)
def test_a_bad_row_is_named_and_nothing_is_stored(task: Task, text: str, message: str) -> None:
    with pytest.raises(LearningError, match=message):
        annotate(task, [Labelled("good", "one"), Labelled(text, "one")], source=Annotation.Source.IMPORT)
    assert not Sample.objects.exists()
    assert not Annotation.objects.exists()
    assert not Label.objects.exists()


def test_an_unknown_task_is_answered_with_those_there_are(task: Task) -> None:
    with pytest.raises(UnknownTask, match=r"There is no task 'topic'\. Tasks: intent\."):
        task_named("topic")


@given(st.text(min_size=1))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert len(digest(text)) == 64
