"""A model that comes with the project: an adapter of a megabyte, from which a run is made that can be deployed.

A shipped model is a folder with

- ``adapter_config.json`` and ``adapter_model.safetensors``: LoRA in PEFT's own format and in float16, for the encoder
  of the wheel;
- ``head.safetensors``: the linear head on its unit rows, and some rows of texts that it had not learnt;
- ``shipped.json``: labels, options, temperature, precision and figures;
- ``README.md``: the model card.

``pack`` makes the folder from a trained encoder. Its adapter is written with a lower rank than it was trained with: of
each product of two matrices the largest singular values are kept, which is the nearest product of that rank (Eckart and
Young 1936). ``install`` merges the adapter, exports the encoder and makes a ready run of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from django.conf import settings
from django.utils import timezone
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.config import configured
from lepton_app.learning.errors import LearningError
from lepton_app.learning.features import Floats, Ngrams, Weights
from lepton_app.learning.models import Label, Run, Task
from lepton_app.learning.scope import THRESHOLD, fit_scope
from lepton_app.lib import artifacts
from lepton_app.lib.text_runtime import ENCODER_FORMAT_VERSION, ENCODER_KIND, Precision, TextEncoder

FORMAT_VERSION = 1
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HEAD_FILE, ABOUT_FILE, CARD_FILE = "head.safetensors", "shipped.json", "README.md"
BASE_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_FALSE_REFUSALS = 0.05
_NEIGHBOURS = 5

Progress = Callable[[str], None]


class ShippedUnreadable(LearningError):
    """The folder of a model that comes with the project is not as it should be."""

    code = "shipped_unreadable"


@dataclass(frozen=True)
class Head:
    """A linear head on unit rows: ``weight`` ``(k, d)``, ``bias`` ``(k,)``; logits are divided by ``temperature``.

    ``rows`` ``(m, d)``, of texts that neither encoder nor head have learnt, with the columns of their labels in
    ``targets`` ``(m,)``, say what such texts look like.
    """

    labels: tuple[str, ...]
    weight: Floats
    bias: Floats
    temperature: float
    rows: Floats
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Shipped:
    """A folder as ``read`` found it. ``options`` are those of the training, ``figures`` are of its hold-out."""

    folder: Path
    head: Head
    method: str
    options: Mapping[str, Any]
    max_length: int
    precision: Precision
    figures: Mapping[str, Any]
    sha256: str

    @property
    def source(self) -> str:
        """Tells encoders that were exported from these files from all others."""
        return f"shipped:{self.sha256[:16]}"


def pack(
    adapter: Path,
    folder: Path,
    *,
    head: Head,
    rank: int,
    options: Mapping[str, Any],
    max_length: int,
    precision: Precision,
    figures: Mapping[str, Any],
    card: str,
) -> None:
    """Write a shipped model into ``folder`` from an ``adapter`` folder of a run of method ``lora``.

    ``rank`` is at most the adapter's. Files of an earlier one are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    scale = about["lora_alpha"] / about["r"]
    smaller = truncated(load_file(adapter / ADAPTER_WEIGHTS), rank=rank)
    save_file({name: value.astype(np.float16) for name, value in smaller.items()}, folder / ADAPTER_WEIGHTS)
    # The path of the encoder on the machine that trained it is nobody's business.
    about |= {"r": rank, "lora_alpha": round(scale * rank), "base_model_name_or_path": BASE_NAME}
    _write_json(folder / ADAPTER_CONFIG, about)
    arrays = {
        "weight": head.weight.astype(np.float32),
        "bias": head.bias.astype(np.float32),
        "rows": head.rows.astype(np.float16),
        "targets": head.targets.astype(np.int64),
    }
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / HEAD_FILE)
    _write_json(
        folder / ABOUT_FILE,
        {
            "format_version": FORMAT_VERSION,
            "labels": list(head.labels),
            "temperature": head.temperature,
            "method": "lora",
            "options": dict(options),
            "max_length": max_length,
            "precision": precision,
            "figures": dict(figures),
        },
    )
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def truncated(weights: Mapping[str, Floats], *, rank: int) -> dict[str, Floats]:
    """Return the matrices of LoRA, ``lora_A`` ``(r, in)`` and ``lora_B`` ``(out, r)`` by name, with a lower rank.

    The product of each pair is the nearest one of that rank; both factors share its singular values.
    """
    found: dict[str, Floats] = {}
    for name, narrow in weights.items():
        if "lora_A" not in name:
            continue
        other = name.replace("lora_A", "lora_B")
        # B A = (Q R) (P S)' = Q (R S') P': the singular values of a small matrix are those of the large one.
        left, right = np.linalg.qr(weights[other].astype(np.float64)), np.linalg.qr(narrow.T.astype(np.float64))
        u, values, v = np.linalg.svd(left.R @ right.R.T)
        root = np.sqrt(values[:rank])
        found[name] = np.ascontiguousarray((root[:, None] * v[:rank]) @ right.Q.T, dtype=np.float32)
        found[other] = np.ascontiguousarray((left.Q @ u[:, :rank]) * root, dtype=np.float32)
    if len(found) != len(weights):
        raise ShippedUnreadable("The adapter holds other weights than LoRA's pairs; only method lora can be shipped.")
    return found


def read(folder: Path) -> Shipped:
    """Return what a folder holds. Raises ``ShippedUnreadable``."""
    try:
        about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
        if about["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format version is {about['format_version']}, and {FORMAT_VERSION} is read here")
        arrays = load_file(folder / HEAD_FILE)
        head = Head(
            labels=tuple(about["labels"]),
            weight=arrays["weight"],
            bias=arrays["bias"],
            temperature=float(about["temperature"]),
            rows=arrays["rows"].astype(np.float32),
            targets=arrays["targets"],
        )
        k, d = len(head.labels), head.weight.shape[1]
        if (head.weight.shape, head.bias.shape, head.rows.shape[1:]) != ((k, d), (k,), (d,)):
            raise ValueError(f"its head has other shapes than {k} labels ask for")
        if about["precision"] not in ("int8", "fp32"):
            raise ValueError(f"its precision is {about['precision']!r}")
        files = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, HEAD_FILE, ABOUT_FILE)
        content = b"".join(hashlib.sha256((folder / name).read_bytes()).digest() for name in files)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ShippedUnreadable(f"{folder} holds no model that comes with the project: {error}.") from error
    return Shipped(
        folder=folder,
        head=head,
        method=str(about["method"]),
        options=about["options"],
        max_length=int(about["max_length"]),
        precision=about["precision"],
        figures=about["figures"],
        sha256=hashlib.sha256(content).hexdigest(),
    )


def publish(shipped: Shipped, root: Path, *, progress: Progress) -> tuple[Path, Path]:
    """Merge and export a shipped model under ``root``; return the folders of its classifier and of its encoder.

    An encoder that was exported from the same folder before is taken as it is. Raises ``ExportError`` and
    ``ArtifactError``.
    """
    encoder = _exported(shipped, root)
    if encoder is None:
        from lepton_app.learning.tuning.shipping import export_shipped

        encoder = export_shipped(shipped, root, progress=progress)
    version = TextEncoder(encoder, precision=shipped.precision).version
    return classifier_of(shipped.head, encoder_version=version).save(root), encoder


def _exported(shipped: Shipped, root: Path) -> Path | None:
    """Return the encoder that was exported from the same files before, when it can still be read."""
    for path in artifacts.published(root, kind=ENCODER_KIND):
        try:
            if artifacts.peek(path).meta.get("source") != shipped.source:
                continue
            artifacts.load(path, kind=ENCODER_KIND, format_version=ENCODER_FORMAT_VERSION)
        except artifacts.ArtifactError:
            continue
        return path
    return None


def classifier_of(head: Head, *, encoder_version: str) -> LinearClassifier:
    """Return the classifier of a head alone, which reads no n-grams."""
    k = len(head.labels)
    nothing = sp.csr_matrix((len(head.rows), 0), dtype=np.float32)
    logits = head.rows @ head.weight.T + head.bias
    scope = fit_scope(
        [str(place) for place in range(len(head.rows))],
        head.targets,
        head.rows,
        nothing,
        logits,
        judged=np.ones(len(head.rows), dtype=bool),
        false_refusals=_FALSE_REFUSALS,
        neighbours=_NEIGHBOURS,
        most_rows=len(head.rows),
        seed=0,
    )
    return LinearClassifier(
        labels=head.labels,
        ngrams=Ngrams([], np.zeros(0, dtype=np.float32)),
        weights=Weights(dense=1.0, ngrams=0.0, dense_zh=1.0, ngrams_zh=0.0),
        dense_weights=np.ascontiguousarray(head.weight.T),
        ngram_weights=np.zeros((0, k), dtype=np.float32),
        bias=head.bias,
        temperature=head.temperature,
        scope=scope,
        threshold=THRESHOLD,
        encoder_version=encoder_version,
        version="",
        meta={"texts": 0, "shipped": True, "false_refusals": _FALSE_REFUSALS},
    )


def install(folder: Path, task: Task, *, progress: Progress = lambda line: None) -> Run:
    """Return a ready run of the task with the shipped model, which is made when there is none.

    Labels that the task does not have yet are made. Raises ``ShippedUnreadable``, ``ExportError``, ``ArtifactError``.
    """
    shipped = read(folder)
    fingerprint = hashlib.sha256(f"shipped:{shipped.sha256}".encode()).hexdigest()
    known = Run.objects.filter(task=task, fingerprint=fingerprint, status=Run.Status.READY).first()
    if known is not None and _is_there(known):
        return known
    classifier, encoder = publish(shipped, settings.ARTIFACTS_DIR, progress=progress)
    Label.objects.bulk_create([Label(task=task, name=name) for name in shipped.head.labels], ignore_conflicts=True)
    now = timezone.now()
    return Run.objects.create(
        task=task,
        method=shipped.method,
        status=Run.Status.READY,
        config=configured(shipped.method, shipped.options).model_dump(),
        fingerprint=fingerprint,
        metrics=dict(shipped.figures),
        artifact=classifier.name,
        encoder_artifact=encoder.name,
        started_at=now,
        finished_at=now,
    )


def _is_there(run: Run) -> bool:
    """Tell whether a run's artifacts can still be read, also by this version of the code."""
    try:
        LinearClassifier.load(settings.ARTIFACTS_DIR / run.artifact)
        encoder = settings.ARTIFACTS_DIR / run.encoder_artifact
        artifacts.load(encoder, kind=ENCODER_KIND, format_version=ENCODER_FORMAT_VERSION)
    except artifacts.ArtifactError:
        return False
    return True


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def spread_rows(targets: Sequence[int], *, each: int) -> list[int]:
    """Return at most ``each`` places of every target, evenly spread.

    >>> spread_rows([0, 0, 0, 0, 1], each=2)
    [0, 2, 4]
    """
    places: dict[int, list[int]] = {}
    for place, target in enumerate(targets):
        places.setdefault(target, []).append(place)
    return sorted(place for found in places.values() for place in found[:: max(1, -(-len(found) // each))])
