"""Freeze what a run learns from: the rows as they are now, each on its side, in an artifact that never changes.

1. the task's samples are read under a lock on the task, personal data masked, and what they are about written in;
2. texts that are disputed are left out: those marked so, and those that, masked, say the same under several labels;
3. texts that are new get their side (``splits``), once and for good;
4. the rows are written, with a sha256 over text, label and side; the same content is the same snapshot.

For pre-training, which reads texts and no labels, every text is taken that does not steer or measure.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext

from lepton_app.learning import splits
from lepton_app.learning.datasets import Dataset, Part
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.labelling import text_digest
from lepton_app.learning.models import Sample, Snapshot, Split, Task
from lepton_app.learning.texts import about, normalise
from lepton_app.lib import artifacts
from lepton_app.lib.redaction import redact

KIND = "snapshot"
# 1: rows of text and label. 2: rows with side and digest, personal data masked, texts out of scope as well.
FORMAT_VERSION = 2
MIN_ROWS_PER_LABEL = 2  # that are learnt
_ROWS_FILE, _DISPUTED_FILE = "rows.jsonl", "disputed.jsonl"
_BATCH_ROWS = 5000


@dataclass(frozen=True)
class _Row:
    """A sample as it may be learnt: ``text`` masked and with its entity, ``key`` the digest that tells its side."""

    pk: int
    digest: str
    key: str
    text: str
    entity: str
    label: str | None
    side: str
    is_known: bool  # it has an active label, or belongs to none
    is_disputed: bool


def freeze(task: Task, *, for_pretraining: bool = False) -> Snapshot:
    """Return the snapshot of the task's rows, the existing one when nothing has changed since.

    Raises ``NothingToLearn`` when there are fewer than two labels, or a label with fewer than two texts to learn; for
    pre-training, when there is no text at all. Raises ``OSError`` when it cannot be written.
    """
    with transaction.atomic():
        # Two at once: one after the other, so that no text gets two sides.
        Task.objects.select_for_update(no_key=True).get(pk=task.pk)
        rows = _read_samples(task)
        if for_pretraining:
            return _keep(task, _texts_alone(task, rows), disputed=[])
        disputed = _disputed(rows)
        left_out = {row.pk for row in disputed}
        kept = _once(_with_sides(rows, [row for row in rows if row.is_known and row.pk not in left_out]))
        _check(task, kept)
        return _keep(task, kept, disputed=disputed)


def read(snapshot: Snapshot) -> Dataset:
    """Return the rows of a snapshot, verified by their sha256.

    Raises ``ArtifactError``; a snapshot of an earlier format is refused as incompatible.
    """
    path = settings.ARTIFACTS_DIR / snapshot.artifact
    artifacts.load(path, kind=KIND, format_version=FORMAT_VERSION)
    texts: dict[str, list[str]] = defaultdict(list)
    labels: dict[str, list[str]] = defaultdict(list)
    unknown: dict[str, list[str]] = defaultdict(list)
    with open(path / _ROWS_FILE, encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["label"] is None:
                unknown[row["side"]].append(row["text"])
            else:
                texts[row["side"]].append(row["text"])
                labels[row["side"]].append(row["label"])

    def part(side: Split) -> Part:
        return Part(tuple(texts[side]), tuple(labels[side]))

    return Dataset(
        train=part(Split.TRAIN),
        validation=part(Split.VALIDATION),
        holdout=part(Split.HOLDOUT),
        unknown_train=tuple(unknown[Split.TRAIN]),
        unknown_validation=tuple(unknown[Split.VALIDATION]),
        unknown_holdout=tuple(unknown[Split.HOLDOUT]),
    )


def _read_samples(task: Task) -> list[_Row]:
    """Return every sample of the task, oldest first, with the key by which it gets its side; mend stored keys."""
    found = (
        Sample.objects.filter(task=task)
        .order_by("pk")
        .values_list(
            *("pk", "digest", "text_digest", "text", "entity", "split"),
            *("label__name", "label__is_active", "is_out_of_scope", "is_disputed"),
        )
    )
    rows, stale = [], []
    for pk, digest, stored, text, entity, side, label, is_active, is_unknown, is_disputed in found:
        key = text_digest(text)
        if key != stored:  # what is masked was masked otherwise when the text came in
            stale.append(Sample(pk=pk, text_digest=key))
        rows.append(
            _Row(
                pk=pk,
                digest=digest,
                key=key,
                text=about(redact(text), redact(entity)),
                entity=normalise(entity),
                label=label,
                side=side,
                is_known=bool(is_active) or is_unknown,
                is_disputed=is_disputed,
            )
        )
    Sample.objects.bulk_update(stale, ["text_digest"], batch_size=_BATCH_ROWS)
    return rows


def _disputed(rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows that are disputed; mark those of which it only shows once personal data are masked."""
    said: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for row in rows:
        if row.is_known and not row.is_disputed:
            said[row.key, row.entity].add(row.label)
    found = [row for row in rows if row.is_disputed or (row.is_known and len(said[row.key, row.entity]) > 1)]
    for batch in _batches([row.pk for row in found if not row.is_disputed]):
        Sample.objects.filter(pk__in=batch).update(is_disputed=True)
    return found


def _with_sides(rows: Sequence[_Row], learnable: Sequence[_Row]) -> list[_Row]:
    """Return the learnable rows with their sides, and store those that are new.

    A text that has a side in any of its rows, learnable or not, keeps it; the oldest row decides.
    """
    sides: dict[str, str] = {}
    for row in rows:
        if row.side:
            sides.setdefault(row.key, row.side)
    groups: dict[str, str | None] = {}
    for row in learnable:
        groups.setdefault(row.key, row.label)
    sides |= splits.assign(groups, sides)
    for side in Split:
        new = [row.pk for row in learnable if sides[row.key] == side != row.side]
        for batch in _batches(new):
            Sample.objects.filter(pk__in=batch).update(split=side)
    return [replace(row, side=sides[row.key]) for row in learnable]


def _once(rows: Sequence[_Row]) -> list[_Row]:
    """Return each text once, in the order of the samples' digests."""
    oldest: dict[tuple[str, str], _Row] = {}
    for row in rows:
        oldest.setdefault((row.key, row.entity), row)
    return sorted(oldest.values(), key=lambda row: row.digest)


def _texts_alone(task: Task, rows: Sequence[_Row]) -> list[_Row]:
    """Return the texts that do not steer or measure, without labels, to be learnt."""
    away = {row.key for row in rows if row.side in (Split.VALIDATION, Split.HOLDOUT)}
    found = [replace(row, label=None, side=Split.TRAIN.value) for row in rows if row.key not in away]
    if not found:
        raise NothingToLearn(gettext("The task '%(task)s' has no texts to read.") % {"task": task.name})
    return _once(found)


def _check(task: Task, rows: Sequence[_Row]) -> None:
    """Refuse what no classifier can be made of. Raises ``NothingToLearn``."""
    counts = Counter(row.label for row in rows if row.label is not None)
    if len(counts) < 2:
        raise NothingToLearn(
            gettext("The task '%(task)s' has %(count)s labels with texts; a classifier needs at least two.")
            % {"task": task.name, "count": len(counts)}
        )
    learnt = Counter(row.label for row in rows if row.side == Split.TRAIN)
    thin = sorted(label for label in counts if learnt[label] < MIN_ROWS_PER_LABEL)
    if thin:
        raise NothingToLearn(
            gettext("Each label needs at least %(least)s texts. Label more of: %(labels)s; or deactivate these labels.")
            % {"least": MIN_ROWS_PER_LABEL, "labels": ", ".join(thin[:10])}
        )


def _keep(task: Task, rows: Sequence[_Row], *, disputed: Sequence[_Row]) -> Snapshot:
    """Publish the rows unless the same ones lie there already, and return their snapshot."""
    hashed = hashlib.sha256()
    for row in rows:
        hashed.update(_line([row.text, row.label, row.side]))
    sha256 = hashed.hexdigest()
    known = Snapshot.objects.filter(task=task, sha256=sha256).first()
    if known is not None and _is_readable(known):
        return known
    counts = Counter(row.side for row in rows if row.label is not None)
    figures = {
        "rows": counts.total(),
        "label_count": len({row.label for row in rows if row.label is not None}),
        "validation_rows": counts[Split.VALIDATION],
        "holdout_rows": counts[Split.HOLDOUT],
        "out_of_scope_rows": len(rows) - counts.total(),
        "disputed_rows": len(disputed),
    }

    def write(folder: Path) -> None:
        with open(folder / _ROWS_FILE, "wb") as file:
            for row in rows:
                file.write(_line({"digest": row.digest, "text": row.text, "label": row.label, "side": row.side}))
        with open(folder / _DISPUTED_FILE, "wb") as file:
            for row in disputed:
                file.write(_line({"digest": row.digest, "text": row.text}))

    path = artifacts.publish(
        settings.ARTIFACTS_DIR,
        kind=KIND,
        format_version=FORMAT_VERSION,
        meta={"task": task.name, "sha256": sha256, **figures},
        write=write,
    )
    snapshot, _made = Snapshot.objects.update_or_create(
        task=task, sha256=sha256, defaults={"artifact": path.name, **figures}
    )
    return snapshot


def _is_readable(snapshot: Snapshot) -> bool:
    try:
        manifest = artifacts.peek(settings.ARTIFACTS_DIR / snapshot.artifact)
    except artifacts.ArtifactError:
        return False
    return manifest.format_version == FORMAT_VERSION


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _batches(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[start : start + _BATCH_ROWS] for start in range(0, len(keys), _BATCH_ROWS))
