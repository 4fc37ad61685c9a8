"""What a run learns from is frozen: masked, on its sides, without what is disputed, and never changed afterwards."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from lepton_app.learning import snapshots
from lepton_app.learning.datasets import Dataset, Part
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Label, Sample, Snapshot, Task
from lepton_app.lib import artifacts
from lepton_app.lib.artifacts import ArtifactCorrupt, ArtifactIncompatible

pytestmark = pytest.mark.django_db
IMPORT, STAFF = Annotation.Source.IMPORT, Annotation.Source.STAFF


@pytest.fixture(autouse=True)
def _artifacts(tmp_path: Path, settings: Any) -> None:
    settings.ARTIFACTS_DIR = tmp_path


@pytest.fixture
def task() -> Task:
    return Task.objects.create(name="intent", title="Intent")


def label(task: Task, *rows: tuple[str, str | None], source: Annotation.Source = IMPORT) -> None:
    annotate(task, [Labelled(text, name) for text, name in rows], source=source)


def some(count: int, *names: str | None) -> list[tuple[str, str | None]]:
    return [(f"{name} text number {number}", name) for name in names for number in range(count)]


def content(dataset: Dataset) -> dict[str, str | None]:
    parts = (dataset.train, dataset.validation, dataset.holdout)
    unknown = (*dataset.unknown_train, *dataset.unknown_validation, *dataset.unknown_holdout)
    known: dict[str, str | None] = {
        text: name for part in parts for text, name in zip(part.texts, part.labels, strict=True)
    }
    return known | dict.fromkeys(unknown)


def side_of(dataset: Dataset) -> dict[str, str]:
    named: dict[str, tuple[str, ...]] = {
        "train": (*dataset.train.texts, *dataset.unknown_train),
        "validation": (*dataset.validation.texts, *dataset.unknown_validation),
        "holdout": (*dataset.holdout.texts, *dataset.unknown_holdout),
    }
    return {text: side for side, texts in named.items() for text in texts}


def test_rows_come_back_on_their_sides_and_the_row_says_how_many(task: Task) -> None:
    label(task, *some(20, "card", "fees", None))
    snapshot = snapshots.freeze(task)
    dataset = snapshots.read(snapshot)
    assert content(dataset) == dict(some(20, "card", "fees", None))
    assert Counter(side_of(dataset).values()) == {"train": 48, "validation": 6, "holdout": 6}
    assert Counter(dataset.holdout.labels) == {"card": 2, "fees": 2}
    assert (snapshot.rows, snapshot.label_count, snapshot.out_of_scope_rows) == (40, 2, 20)
    assert (snapshot.validation_rows, snapshot.holdout_rows, snapshot.disputed_rows) == (4, 4, 0)


def test_no_text_ever_changes_sides(task: Task) -> None:
    label(task, *some(12, "card", "fees", None))
    before = side_of(snapshots.read(snapshots.freeze(task)))
    label(task, *some(30, "card", "new"))
    label(task, ("card text number 1", "fees"), ("fees text number 2", None), source=STAFF)
    Label.objects.filter(name="fees").update(name="costs")
    after = side_of(snapshots.read(snapshots.freeze(task)))
    assert {text: after[text] for text in before} == before
    assert len(after) == len(before) + 18 + 30


def test_the_same_content_is_the_same_snapshot_and_another_label_another(task: Task) -> None:
    label(task, *some(6, "card", "fees"))
    first = snapshots.freeze(task)
    assert snapshots.freeze(task) == first
    label(task, ("card text number 1", "fees"), source=STAFF)
    second = snapshots.freeze(task)
    assert second.sha256 != first.sha256
    assert content(snapshots.read(first))["card text number 1"] == "card"
    assert Snapshot.objects.count() == 2


def test_a_file_that_was_changed_is_refused_and_one_that_is_lost_is_made_anew(task: Task) -> None:
    label(task, *some(3, "card", "fees"))
    first = snapshots.freeze(task)
    rows = settings.ARTIFACTS_DIR / first.artifact / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"text", b"TEXT"))
    with pytest.raises(ArtifactCorrupt):
        snapshots.read(first)
    (settings.ARTIFACTS_DIR / first.artifact / "manifest.json").unlink()
    again = snapshots.freeze(task)
    assert (again.pk, again.sha256) == (first.pk, first.sha256)
    assert again.artifact != first.artifact
    assert content(snapshots.read(again)) == dict(some(3, "card", "fees"))


def test_a_snapshot_of_an_earlier_format_is_refused(task: Task) -> None:
    def write(folder: Path) -> None:
        (folder / "rows.jsonl").write_text('["a", "b"]\n')

    path = artifacts.publish(settings.ARTIFACTS_DIR, kind=snapshots.KIND, format_version=1, meta={}, write=write)
    old = Snapshot.objects.create(task=task, sha256="0" * 64, artifact=path.name, rows=1, label_count=1)
    with pytest.raises(ArtifactIncompatible, match="format version 1, and version 2 is read here: make"):
        snapshots.read(old)


def test_personal_data_are_masked_and_texts_that_then_read_the_same_are_one_row(task: Task) -> None:
    cards = ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"]
    label(task, *some(10, "fees"), *[(f"block {number}", "card") for number in cards], ("card gone", "card"))
    snapshot = snapshots.freeze(task)
    texts = content(snapshots.read(snapshot))
    assert {text for text in texts if text.startswith("block")} == {"block [card]"}
    assert snapshot.rows == 12
    written = (settings.ARTIFACTS_DIR / snapshot.artifact / "rows.jsonl").read_text()
    assert "4111" not in written
    assert Sample.objects.filter(text__contains="4111").exists()  # who labels sees what was said


def test_an_entity_is_written_into_the_text_and_all_rows_of_a_text_are_on_one_side(task: Task) -> None:
    titles = [f"Alpha number {number} beats Beta" for number in range(40)]
    rows = [Labelled(title, name, entity) for title in titles for entity, name in (("Alpha", "good"), ("Beta", "bad"))]
    annotate(task, rows, source=IMPORT)
    dataset = snapshots.read(snapshots.freeze(task))
    assert "Alpha | « Alpha » number 7 beats Beta" in side_of(dataset)
    assert len(content(dataset)) == 80
    sides = Counter(side for _text, side in set(Sample.objects.values_list("text", "split")))
    assert sides.total() == 40
    assert sides["train"] == 32


def test_disputed_texts_are_left_out_and_listed_until_somebody_decides(task: Task) -> None:
    label(task, *some(6, "card", "fees"))
    label(task, ("which one", "card"), ("which one", "fees"))
    snapshot = snapshots.freeze(task)
    assert (snapshot.rows, snapshot.disputed_rows) == (12, 1)
    listed = (settings.ARTIFACTS_DIR / snapshot.artifact / "disputed.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in listed] == ["which one"]
    label(task, ("which one", "fees"), source=STAFF)
    decided = snapshots.freeze(task)
    assert (decided.rows, decided.disputed_rows) == (13, 0)
    assert content(snapshots.read(decided))["which one"] == "fees"


def test_contradictions_that_only_show_when_masked_are_disputed_too(task: Task) -> None:
    label(task, *some(6, "card", "fees"))
    label(task, ("block 4111 1111 1111 1111", "card"), ("block 5500 0000 0000 0004", "fees"))
    snapshot = snapshots.freeze(task)
    assert (snapshot.rows, snapshot.disputed_rows) == (12, 2)
    assert Sample.objects.filter(is_disputed=True).count() == 2
    assert not Sample.objects.filter(is_disputed=True).exclude(split="").exists()


def test_a_side_outlives_a_dispute(task: Task) -> None:
    label(task, *some(6, "card", "fees"))
    held = next(iter(snapshots.read(snapshots.freeze(task)).holdout.texts))
    label(task, (held, "card"), (held, "fees"))
    assert held not in side_of(snapshots.read(snapshots.freeze(task)))
    label(task, (held, "fees"), source=STAFF)
    assert side_of(snapshots.read(snapshots.freeze(task)))[held] == "holdout"


def test_texts_that_read_the_same_by_newer_rules_of_masking_share_the_older_ones_side(task: Task) -> None:
    label(task, *some(6, "card", "fees"), ("block 4111 1111 1111 1111", "card"), ("block 5500 0000 0000 0004", "card"))
    older, newer = Sample.objects.filter(text__startswith="block").order_by("pk")
    Sample.objects.filter(pk=older.pk).update(text_digest="1" * 64, split="validation")
    Sample.objects.filter(pk=newer.pk).update(text_digest="2" * 64, split="train")
    dataset = snapshots.read(snapshots.freeze(task))
    assert side_of(dataset)["block [card]"] == "validation"
    assert set(Sample.objects.filter(text__startswith="block").values_list("split", flat=True)) == {"validation"}
    assert Sample.objects.filter(text__startswith="block").values("text_digest").distinct().count() == 1


def test_labels_that_are_not_active_teach_nothing_and_get_no_side(task: Task) -> None:
    label(task, *some(6, "card", "fees", "old"))
    Label.objects.filter(name="old").update(is_active=False)
    assert set(content(snapshots.read(snapshots.freeze(task))).values()) == {"card", "fees"}
    assert set(Sample.objects.filter(label__name="old").values_list("split", flat=True)) == {""}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has 0 labels with texts"),
        (some(3, None), "has 0 labels with texts"),
        (some(6, "card"), "has 1 labels with texts"),
        ([*some(6, "card", "fees"), ("alone", "single")], r"at least 2 texts\. Label more of: single;"),
    ],
)
def test_labels_that_do_not_suffice_are_refused_and_nothing_is_kept(
    task: Task, rows: list[tuple[str, str | None]], message: str
) -> None:
    label(task, *rows)
    with pytest.raises(NothingToLearn, match=message):
        snapshots.freeze(task)
    assert not Snapshot.objects.exists()
    assert not Sample.objects.exclude(split="").exists()


def test_a_label_whose_texts_all_measure_has_none_to_learn(task: Task) -> None:
    label(task, *some(40, "card", "fees"))
    held = snapshots.read(snapshots.freeze(task)).holdout.texts
    label(task, *[(text, "moved") for text in held], source=STAFF)
    with pytest.raises(NothingToLearn, match="Label more of: moved"):
        snapshots.freeze(task)


def test_pre_training_reads_every_text_that_does_not_measure(task: Task) -> None:
    label(task, *some(10, "card", "fees"))
    held = {text for text, side in side_of(snapshots.read(snapshots.freeze(task))).items() if side != "train"}
    label(task, ("single", "alone"), ("disputed", "card"), ("disputed", "fees"))
    Sample.objects.create(task=task, text="nobody said anything", digest="d", text_digest="d", language="en")
    snapshot = snapshots.freeze(task, for_pretraining=True)
    dataset = snapshots.read(snapshot)
    expected = {text for text, _ in some(10, "card", "fees")} - held | {"single", "disputed", "nobody said anything"}
    assert set(dataset.unknown_train) == expected
    assert (len(dataset.train), snapshot.rows, snapshot.out_of_scope_rows) == (0, 0, len(expected))
    assert dataset.holdout == Part()
    with pytest.raises(NothingToLearn, match="no texts to read"):
        snapshots.freeze(Task.objects.create(name="empty", title="Empty"), for_pretraining=True)


def test_ten_thousand_rows_are_frozen_in_seconds_with_few_queries(
    task: Task, django_assert_max_num_queries: Any
) -> None:
    label(task, *[(f"text number {number} of {number % 77}", f"label {number % 77}") for number in range(10_000)])
    started = time.perf_counter()
    with django_assert_max_num_queries(20):
        snapshot = snapshots.freeze(task)
    seconds = time.perf_counter() - started
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM learning_sample WHERE split = 'holdout'")
        assert cursor.fetchone() == (snapshot.holdout_rows,)
    assert snapshot.rows == 10_000
    assert 950 <= snapshot.holdout_rows <= 1050
    assert seconds < 15  # about one second on an idle machine
