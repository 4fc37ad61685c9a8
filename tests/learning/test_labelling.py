"""Annotations come in once, whole or not at all, and nothing is overwritten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.learning.errors import LearningError, UnknownTask
from lepton_app.learning.labelling import (
    MAX_ENTITY_CHARS,
    MAX_TEXT_CHARS,
    Labelled,
    annotate,
    digest,
    task_named,
    text_digest,
)
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


def test_the_same_text_is_one_sample_and_the_newest_annotation_stands(task: Task) -> None:
    annotate(task, [Labelled("Where is my card?", "card_lost")], source=Annotation.Source.STARTER)
    annotate(task, [Labelled("where is my CARD", "card_arrival")], source=Annotation.Source.STAFF)
    sample = Sample.objects.get()
    assert sample.label is not None
    assert sample.label.name == "card_arrival"
    assert [a.label and a.label.name for a in sample.annotations.order_by("id")] == ["card_lost", "card_arrival"]


def test_a_text_about_several_things_is_a_sample_for_each(task: Task) -> None:
    rows = [Labelled("A beats B", "good", "A"), Labelled("A beats B", "bad", "B"), Labelled("A beats B!", "bad", " b ")]
    assert annotate(task, rows, source=Annotation.Source.IMPORT) == 2
    samples = list(Sample.objects.order_by("id"))
    assert [(s.entity, s.label and s.label.name, s.is_disputed) for s in samples] == [
        ("A", "good", False),
        ("b", "bad", False),
    ]
    assert samples[0].text_digest == samples[1].text_digest == digest("A beats B")
    assert len({digest("A beats B"), *(s.digest for s in samples)}) == 3


def test_personal_data_does_not_tell_two_texts_apart_on_the_sides_of_a_split(task: Task) -> None:
    assert text_digest("block 4111 1111 1111 1111") == text_digest("Block 5500 0000 0000 0004!")
    assert digest("block 4111 1111 1111 1111") != digest("block 5500 0000 0000 0004")
    assert text_digest("block my card") == digest("block my card")


def standing(task: Task) -> tuple[str | None, bool, list[str | None]]:
    """The label that stands, whether it is disputed, and all that was said."""
    sample = Sample.objects.select_related("label").get(task=task)
    said = [annotation.label.name if annotation.label else None for annotation in sample.annotations.order_by("id")]
    return sample.label.name if sample.label else None, sample.is_disputed, said


def test_one_call_that_contradicts_itself_is_disputed_until_staff_decides(task: Task) -> None:
    rows = [Labelled("card?", "lost"), Labelled("Card", "stolen"), Labelled("CARD", "lost"), Labelled("card", None)]
    assert annotate(task, rows, source=Annotation.Source.IMPORT) == 3
    assert standing(task) == (None, True, ["stolen", "lost", None])
    annotate(task, [Labelled("card", "lost")], source=Annotation.Source.IMPORT)
    assert standing(task) == ("lost", True, ["stolen", "lost", None, "lost"])
    annotate(task, [Labelled("card", "stolen")], source=Annotation.Source.STAFF)
    assert standing(task) == ("stolen", False, ["stolen", "lost", None, "lost", "stolen"])


def test_an_import_never_overrules_staff(task: Task) -> None:
    annotate(task, [Labelled("card", "lost")], source=Annotation.Source.STARTER)
    annotate(task, [Labelled("card", "stolen")], source=Annotation.Source.STAFF)
    annotate(task, [Labelled("card", "stolen")], source=Annotation.Source.IMPORT)
    assert standing(task)[:2] == ("stolen", False)
    annotate(task, [Labelled("card", "blocked")], source=Annotation.Source.IMPORT)
    assert standing(task) == ("stolen", True, ["lost", "stolen", "stolen", "blocked"])
    annotate(task, [Labelled("card", None)], source=Annotation.Source.STAFF)
    assert standing(task)[:2] == (None, False)
    annotate(task, [Labelled("card", "lost")], source=Annotation.Source.IMPORT)
    assert standing(task)[:2] == (None, True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Labelled("   ", "one"), "Row 2 has no text."),
        (Labelled("x" * (MAX_TEXT_CHARS + 1), "one"), "Row 2 has 100001 characters; at most 100000"),
        (Labelled("x", "one", "y" * (MAX_ENTITY_CHARS + 1)), "something with 201 characters; at most 200"),
        (Labelled("x", " "), "label of row 2 has 0 characters; 1 to 100"),
        (Labelled("x", "l" * 101), "label of row 2 has 101 characters; 1 to 100"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_stored(task: Task, row: Labelled, message: str) -> None:
    with pytest.raises(LearningError, match=message):
        annotate(task, [Labelled("good", "one"), row], source=Annotation.Source.IMPORT)
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
