"""A tuned encoder becomes an artifact: merged, traced, quantised, measured, with its adapter beside it.

int8 is served where its head loses at most ``MOST_LOST`` of accuracy to fp32's, measured on the texts that the encoder
did not learn; otherwise fp32 is, and the manifest says which.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.datasets import Part, Reporter
from lepton_app.learning.model import SERVED_PRECISION
from lepton_app.learning.tuning.adapters import ADAPTER_FOLDER, Adapted
from lepton_app.learning.tuning.encoders import Rows, TorchEncoder
from lepton_app.lib.encoder_export import Tuned, export_encoder, quiet
from lepton_app.lib.text_runtime import BATCH_TOKENS, Model, Precision, plan_batches

MOST_LOST = 0.003  # of accuracy, int8 against fp32
LINEAGE_FOLDER = "lineage"


@dataclass(frozen=True)
class TunedHead:
    """The head as it was tuned: ``weight`` ``(k, d)`` and ``bias`` ``(k,)`` on unit rows, for its labels."""

    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def write(self, folder: Path) -> None:
        """Write ``head.safetensors`` with the labels in its metadata."""
        save_file(
            {"weight": self.weight, "bias": self.bias},
            folder / "head.safetensors",
            metadata={"labels": json.dumps(self.labels, ensure_ascii=False)},
        )


def write_merged(encoder: TorchEncoder, folder: Path) -> None:
    """Write an encoder into ``folder`` in the format of sentence-transformers, its adapter merged already."""
    with quiet():
        encoder.transformer.save_pretrained(str(folder))  # type: ignore[operator]  # a method of transformers' models
        encoder.tokeniser.save_pretrained(str(folder))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": encoder.max_length, "do_lower_case": False}), encoding="utf-8"
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": encoder.dimension,
                "pooling_mode_mean_tokens": encoder.pooling == "mean",
                "pooling_mode_cls_token": encoder.pooling == "cls",
            }
        ),
        encoding="utf-8",
    )


def publish_tuned(
    adapted: Adapted,
    head: TunedHead | None,
    *,
    root: Path,
    name: str,
    origin: str,
    judged: Part,
    fitted: Part,
    lineage: Sequence[Path],
    card: str,
    reporter: Reporter,
    fit: Any,
) -> tuple[Path, dict[str, Any]]:
    """Publish a tuned encoder and return its folder with what was measured on the way.

    ``fit(part, rows)`` fits a classifier on rows; it is asked twice, to compare int8 and fp32 on the ``judged`` texts,
    which the encoder has not learnt. ``origin`` says what it was tuned from, ``lineage`` holds the adapters that were
    merged before, ``card`` is the model card. ``measured`` has ``served_precision``, ``fp32_accuracy``,
    ``int8_accuracy``, ``probability_shift`` (int8 to fp32), ``torch_shift`` (what is served to what was trained; the
    mean over texts of the largest difference of a probability) and ``torch_agreement`` (share of equal labels).
    """
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tuned-") as scratch:
        merged_folder, adapter_folder = Path(scratch) / "merged", Path(scratch) / ADAPTER_FOLDER
        adapted.save(adapter_folder)
        if head is not None:
            head.write(adapter_folder)
        (adapter_folder / "README.md").write_text(card, encoding="utf-8")
        prompt = adapted.encoder.prompt.detach().numpy() if adapted.encoder.prompt is not None else None
        encoder = adapted.merged()
        write_merged(encoder, merged_folder)
        trained = encoder.rows(encoder.tokenise(judged.texts)) if len(judged) else None

        def measure(draft: Path) -> Mapping[str, Any]:
            reporter.stage("Comparing int8 with fp32")
            measured.update(compare_precisions(draft, encoder.max_length, fitted, judged, fit, trained))
            return {SERVED_PRECISION: measured["served_precision"], "lineage": len(lineage), "adapter": ADAPTER_FOLDER}

        def write(folder: Path) -> None:
            _copy(adapter_folder, folder / ADAPTER_FOLDER)
            for place, earlier in enumerate(lineage):
                _copy(earlier, folder / LINEAGE_FOLDER / f"{place}")

        reporter.stage("Exporting to ONNX")
        tuned = Tuned(name=name, source=origin, soft_prompt=prompt, measure=measure, write=write)
        path = export_encoder(merged_folder, root, progress=reporter.stage, tuned=tuned)
    return path, measured


def compare_precisions(
    draft: Path, max_length: int, fitted: Part, judged: Part, fit: Any, trained: Rows | None
) -> dict[str, Any]:
    """Fit a head on rows of either precision and say which to serve; int8 where there is nothing to judge."""
    if not len(judged) or trained is None:
        return {"served_precision": "int8"}
    accuracy: dict[str, float] = {}
    probabilities: dict[str, NDArray[np.float64]] = {}
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    for precision in precisions:
        rows = draft_rows(draft, precision, max_length, [*fitted.texts, *judged.texts])
        classifier: LinearClassifier = fit(fitted, rows[: len(fitted)])
        found = classifier.probabilities(judged.texts, rows[len(fitted) :])
        said = [classifier.labels[column] for column in found.argmax(axis=1).tolist()]
        accuracy[precision] = float(np.mean([one == other for one, other in zip(said, judged.labels, strict=True)]))
        probabilities[precision] = found
        if precision == "fp32":
            probabilities["torch"] = classifier.probabilities(judged.texts, trained)
    before = probabilities["torch"].argmax(axis=1)
    served: Precision = "int8" if accuracy["int8"] >= accuracy["fp32"] - MOST_LOST else "fp32"
    return {
        "served_precision": served,
        "fp32_accuracy": round(accuracy["fp32"], 4),
        "int8_accuracy": round(accuracy["int8"], 4),
        "probability_shift": _shift(probabilities["int8"], probabilities["fp32"]),
        "torch_agreement": round(float(np.mean(probabilities[served].argmax(axis=1) == before)), 4),
        "torch_shift": _shift(probabilities[served], probabilities["torch"]),
    }


def _shift(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the mean over texts of the largest difference of a probability."""
    return round(float(np.abs(one - other).max(axis=1).mean()), 6)


def draft_rows(draft: Path, precision: Precision, max_length: int, texts: Sequence[str]) -> Rows:
    """Encode with an unpublished draft in the batches that serving makes: ``(n, d) float32``, unit rows."""
    model = Model(draft, precision, 1, max_length)
    tokens = model.tokenise([text[: max_length * 32] for text in texts])
    rows: Rows | None = None
    for batch in plan_batches([len(ids) for ids in tokens], batch_tokens=BATCH_TOKENS):
        found = model.run([tokens[place] for place in batch])
        if rows is None:
            rows = np.empty((len(texts), found.shape[1]), dtype=np.float32)
        rows[batch] = found
    assert rows is not None
    return rows


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
