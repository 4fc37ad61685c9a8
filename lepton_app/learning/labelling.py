"""Samples and annotations come in here, from people, imports and the starter content alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext

from lepton_app.learning.errors import LearningError, UnknownTask
from lepton_app.learning.models import Annotation, Label, Sample, Task
from lepton_app.learning.texts import normalise
from lepton_app.lib.languages import detect
from lepton_app.lib.redaction import redact

MAX_TEXT_CHARS = 100_000  # ten thousand words and more; an encoder reads the beginning
MAX_ENTITY_CHARS = 200
MAX_LABEL_CHARS = 100
_BATCH_ROWS = 1000
_LANGUAGE_CODES = {"en": "en", "zh": "zh-hans"}


@dataclass(frozen=True)
class Labelled:
    """One text with what somebody says of it: a label's name, or None for out of scope.

    ``entity`` is whom or what the label is about, where a text names several; empty: the text as a whole.
    """

    text: str
    label: str | None
    entity: str = ""


def digest(text: str, entity: str = "") -> str:
    """Return the sha256 of the normalised text and entity, in hex: the identity of a sample within its task."""
    said = normalise(text)
    if entity.strip():
        said += "\n" + normalise(entity)  # a line feed stands in no normalised text
    return hashlib.sha256(said.encode()).hexdigest()


def text_digest(text: str) -> str:
    """Return the sha256 of the normalised text with personal data masked, in hex.

    This is what a model gets to read, so that it tells which samples must be on one side of a split: two complaints
    that differ in the card number alone are one text here and two samples.
    """
    return hashlib.sha256(normalise(redact(text)).encode()).hexdigest()


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

    Labels that the task does not have yet are made. The newest word of staff stands, and without one the newest of
    all; within one call the last row wins. Two cases are marked as disputed and left out of training until staff
    decides: one call brings a text with several labels, or something else than staff contradicts staff (whose word
    stands on). Raises ``LearningError`` for an empty or over-long text or entity, by its row.
    """
    said = _checked(rows)
    # Two calls at once: one after the other, so that neither judges by labels which the other replaces.
    Task.objects.select_for_update(no_key=True).get(pk=task.pk)
    overruled = {} if source == Annotation.Source.STAFF else _contradicted(task, said)
    named = [row.label for group in [*said.values(), overruled.values()] for row in group]
    labels = _labels(task, {name for name in named if name is not None})
    disputed = {key for key, group in said.items() if len(group) > 1} | overruled.keys()
    samples = _store(task, {key: overruled.get(key, group[-1]) for key, group in said.items()}, labels)
    if source == Annotation.Source.STAFF:
        Sample.objects.filter(pk__in=samples.values(), is_disputed=True).update(is_disputed=False)
    if disputed:
        Sample.objects.filter(pk__in=[samples[key] for key in disputed]).update(is_disputed=True)
    added = Annotation.objects.bulk_create(
        [
            Annotation(
                sample_id=samples[key],
                label=labels[row.label] if row.label is not None else None,
                is_out_of_scope=row.label is None,
                source=source,
                annotator=annotator,
            )
            for key, group in said.items()
            for row in group
        ],
        batch_size=_BATCH_ROWS,
    )
    return len(added)


def _checked(rows: Iterable[Labelled]) -> dict[str, list[Labelled]]:
    """Return by digest what the rows say, each label once, the last one last."""
    said: dict[str, dict[str | None, Labelled]] = {}
    for number, row in enumerate(rows, start=1):
        if not row.text.strip():
            raise LearningError(gettext("Row %(number)s has no text.") % {"number": number})
        if len(row.text) > MAX_TEXT_CHARS:
            raise LearningError(
                gettext("Row %(number)s has %(count)s characters; at most %(limit)s are allowed.")
                % {"number": number, "count": len(row.text), "limit": MAX_TEXT_CHARS}
            )
        if len(row.entity) > MAX_ENTITY_CHARS:
            raise LearningError(
                gettext("Row %(number)s is about something with %(count)s characters; at most %(limit)s are allowed.")
                % {"number": number, "count": len(row.entity), "limit": MAX_ENTITY_CHARS}
            )
        if row.label is not None and not 0 < len(row.label.strip()) <= MAX_LABEL_CHARS:
            raise LearningError(
                gettext("The label of row %(number)s has %(count)s characters; 1 to %(limit)s are allowed.")
                % {"number": number, "count": len(row.label.strip()), "limit": MAX_LABEL_CHARS}
            )
        group = said.setdefault(digest(row.text, row.entity), {})
        group.pop(row.label, None)
        group[row.label] = row
    return {key: list(group.values()) for key, group in said.items()}


def _contradicted(task: Task, said: Mapping[str, Sequence[Labelled]]) -> dict[str, Labelled]:
    """Return what staff says of texts of which ``said`` says something else."""
    newest = (
        Annotation.objects.filter(sample__task=task, sample__digest__in=said, source=Annotation.Source.STAFF)
        .order_by("sample_id", "-pk")
        .distinct("sample_id")
        .values_list("sample__digest", "sample__text", "label__name", "sample__entity")
    )
    return {
        key: Labelled(text, label, entity)
        for key, text, label, entity in newest
        if any(row.label != label for row in said[key])
    }


def _store(task: Task, rows: Mapping[str, Labelled], labels: Mapping[str, Label]) -> dict[str, int]:
    """Write the samples with the labels that stand, and return their keys by digest."""
    Sample.objects.bulk_create(
        [
            Sample(
                task=task,
                text=row.text.strip(),
                entity=row.entity.strip(),
                digest=key,
                text_digest=text_digest(row.text),
                language=_LANGUAGE_CODES[detect(row.text)],
                label=labels[row.label] if row.label is not None else None,
                is_out_of_scope=row.label is None,
            )
            for key, row in rows.items()
        ],
        batch_size=_BATCH_ROWS,
        update_conflicts=True,
        unique_fields=["task", "digest"],
        update_fields=["label", "is_out_of_scope"],
    )
    return dict(Sample.objects.filter(task=task, digest__in=rows).values_list("digest", "pk"))


def _labels(task: Task, names: set[str]) -> dict[str, Label]:
    Label.objects.bulk_create([Label(task=task, name=name) for name in sorted(names)], ignore_conflicts=True)
    return {label.name: label for label in Label.objects.filter(task=task, name__in=names)}
