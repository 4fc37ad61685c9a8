"""Samples and annotations come in here, from people, imports and the starter content alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from lepton_app.learning.errors import LearningError, UnknownTask
from lepton_app.learning.models import Annotation, Label, Sample, Task
from lepton_app.learning.texts import normalise
from lepton_app.lib.languages import detect

MAX_TEXT_CHARS = 20_000
_BATCH_ROWS = 1000
_LANGUAGE_CODES = {"en": "en", "zh": "zh-hans"}


@dataclass(frozen=True)
class Labelled:
    """One text with what somebody says of it: a label's name, or None for out of scope."""

    text: str
    label: str | None


def digest(text: str) -> str:
    """Return the sha256 of the normalised text, in hex: the identity of a sample within its task."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def task_named(name: str) -> Task:
    """Return the task; raise ``UnknownTask`` with the names there are."""
    found = Task.objects.filter(name=name).first()
    if found is None:
        names = ", ".join(Task.objects.values_list("name", flat=True)) or "none yet"
        raise UnknownTask(f"There is no task {name!r}. Tasks: {names}.")
    return found


@transaction.atomic
def annotate(
    task: Task,
    rows: Iterable[Labelled],
    *,
    source: Annotation.Source,
    annotator: User | None = None,
) -> int:
    """Store what somebody says of texts and return how many annotations were added; all or nothing.

    Labels that the task does not have yet are made. The newest annotation of a text is the one that stands; within
    one call the last row wins. Raises ``LearningError`` for an empty or over-long text, by its row.
    """
    unique: dict[str, Labelled] = {}
    for number, row in enumerate(rows, start=1):
        if not row.text.strip():
            raise LearningError(f"Row {number} has no text.")
        if len(row.text) > MAX_TEXT_CHARS:
            raise LearningError(f"Row {number} has {len(row.text)} characters; at most {MAX_TEXT_CHARS} are allowed.")
        unique[digest(row.text)] = row
    labels = _labels(task, {row.label for row in unique.values() if row.label is not None})
    Sample.objects.bulk_create(
        [
            Sample(
                task=task,
                text=row.text.strip(),
                digest=key,
                language=_LANGUAGE_CODES[detect(row.text)],
                label=labels[row.label] if row.label is not None else None,
                is_out_of_scope=row.label is None,
            )
            for key, row in unique.items()
        ],
        batch_size=_BATCH_ROWS,
        update_conflicts=True,
        unique_fields=["task", "digest"],
        update_fields=["label", "is_out_of_scope"],
    )
    samples = dict(Sample.objects.filter(task=task, digest__in=unique).values_list("digest", "pk"))
    Annotation.objects.bulk_create(
        [
            Annotation(
                sample_id=samples[key],
                label=labels[row.label] if row.label is not None else None,
                is_out_of_scope=row.label is None,
                source=source,
                annotator=annotator,
            )
            for key, row in unique.items()
        ],
        batch_size=_BATCH_ROWS,
    )
    return len(unique)


def _labels(task: Task, names: set[str]) -> dict[str, Label]:
    Label.objects.bulk_create([Label(task=task, name=name) for name in sorted(names)], ignore_conflicts=True)
    return {label.name: label for label in Label.objects.filter(task=task, name__in=names)}


def labelled_rows(task: Task) -> Sequence[tuple[str, str, str]]:
    """Return ``(digest, text, label)`` of every sample with an active label, ordered by digest."""
    return list(
        Sample.objects.filter(task=task, label__is_active=True)
        .order_by("digest")
        .values_list("digest", "text", "label__name")
    )
