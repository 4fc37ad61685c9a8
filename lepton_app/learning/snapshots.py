"""Freeze what a run learns from: the rows as they are now, in an artifact that never changes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext

from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.labelling import labelled_rows
from lepton_app.learning.models import Snapshot, Task
from lepton_app.lib import artifacts

KIND = "snapshot"
FORMAT_VERSION = 1
_ROWS_FILE = "rows.jsonl"
MIN_ROWS_PER_LABEL = 2


@dataclass(frozen=True)
class Dataset:
    """The rows of a snapshot: ``texts`` and ``labels`` of the same length, in the order of the texts' digests."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


def freeze(task: Task) -> Snapshot:
    """Return the snapshot of the task's labelled rows, the existing one when nothing has changed since.

    Raises ``NothingToLearn`` when there are fewer than two labels, or a label with fewer than two texts.
    """
    rows = labelled_rows(task)
    counts = Counter(label for _digest, _text, label in rows)
    if len(counts) < 2:
        raise NothingToLearn(
            gettext("The task '%(task)s' has %(count)s labels with texts; a classifier needs at least two.")
            % {"task": task.name, "count": len(counts)}
        )
    thin = sorted(name for name, count in counts.items() if count < MIN_ROWS_PER_LABEL)
    if thin:
        raise NothingToLearn(
            gettext("Each label needs at least %(least)s texts. Label more of: %(labels)s; or deactivate these labels.")
            % {"least": MIN_ROWS_PER_LABEL, "labels": ", ".join(thin[:10])}
        )
    content = "".join(json.dumps([text, label], ensure_ascii=False) + "\n" for _digest, text, label in rows).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    known = Snapshot.objects.filter(task=task, sha256=sha256).first()
    if known is not None and (settings.ARTIFACTS_DIR / known.artifact).exists():
        return known

    def write(folder: Path) -> None:
        (folder / _ROWS_FILE).write_bytes(content)

    path = artifacts.publish(
        settings.ARTIFACTS_DIR,
        kind=KIND,
        format_version=FORMAT_VERSION,
        meta={"task": task.name, "sha256": sha256, "rows": len(rows)},
        write=write,
    )
    snapshot, _made = Snapshot.objects.update_or_create(
        task=task,
        sha256=sha256,
        defaults={"artifact": path.name, "rows": len(rows), "label_count": len(counts)},
    )
    return snapshot


def read(snapshot: Snapshot) -> Dataset:
    """Return the rows of a snapshot, verified by their sha256. Raises ``ArtifactError``."""
    path = settings.ARTIFACTS_DIR / snapshot.artifact
    artifacts.load(path, kind=KIND, format_version=FORMAT_VERSION)
    with open(path / _ROWS_FILE, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return Dataset(texts=tuple(text for text, _label in rows), labels=tuple(label for _text, label in rows))
