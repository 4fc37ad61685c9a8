"""Small models that are made in milliseconds and run as the real ones do: ONNX encoders, classifiers, ready runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_app.learning import serving, snapshots
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.linear import fit_linear
from lepton_app.learning.model import SERVED_PRECISION
from lepton_app.learning.models import Annotation, Run, Snapshot, Task
from lepton_app.lib import artifacts, encoding
from lepton_app.lib.encoder_export import source_key
from lepton_app.lib.text_runtime import (
    ENCODER_FORMAT_VERSION,
    ENCODER_KIND,
    MODEL_FILES,
    TOKENIZER_FILE,
    TextEncoder,
)

DIMENSION = 16
TEXTS = {
    "card": ("lost my card", "card is gone", "no card here", "where is my card", "card was stolen"),
    "fees": ("what fees", "fee list please", "cost of it", "how much are fees", "fees of a transfer"),
}
_MARKERS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_WORDS = sorted({word for texts in TEXTS.values() for text in texts for word in text.split()})


def installation(root: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a test an artifacts folder with a toy as the installation's encoder, and a process that holds no model."""
    settings.ARTIFACTS_DIR = root
    publish_encoder(root, seed=0, is_shared=True)
    monkeypatch.setattr(encoding, "_service", None)
    monkeypatch.setattr(serving, "_deployed", {})
    monkeypatch.setattr(serving, "_shadowed", {})
    yield root
    if encoding._service is not None:
        encoding._service.close()


def publish_encoder(root: Path, *, seed: int, is_shared: bool = False, dimension: int = DIMENSION) -> Path:
    """Publish an encoder whose rows are the unit means of random word vectors; another seed gives other rows.

    A shared one is found where the installation looks for its encoder; any other is a run's own.
    """
    words = (*_MARKERS, *_WORDS)
    table = np.random.default_rng(seed).standard_normal((len(words), dimension)).astype(np.float32)

    def write(folder: Path) -> None:
        model = _mean_of_vectors(table)
        for name in MODEL_FILES.values():
            (folder / name).write_bytes(model)
        (folder / TOKENIZER_FILE).write_text(_tokeniser(words))

    meta: dict[str, Any] = {"name": f"toy-{seed}", "dimension": dimension, "max_length": 32}
    meta |= {"source": source_key(None)} if is_shared else {"source": "run", SERVED_PRECISION: "fp32"}
    return artifacts.publish(root, kind=ENCODER_KIND, format_version=ENCODER_FORMAT_VERSION, meta=meta, write=write)


def publish_classifier(root: Path, encoder: Path, *, precision: str = "int8", names: Sequence[str] = ()) -> Path:
    """Fit a classifier on the encoder's rows and publish it; ``names`` are other labels than those of ``TEXTS``."""
    reader = TextEncoder(encoder, precision=precision, threads=1)  # type: ignore[arg-type]  # one of the two
    renamed = dict(zip(TEXTS, names or TEXTS, strict=True))
    texts = [text for group in TEXTS.values() for text in group]
    labels = [renamed[name] for name, group in TEXTS.items() for _ in group]
    return fit_linear(texts, labels, reader.encode(texts), encoder_version=reader.version).save(root)


def labelled_task(name: str = "intent", *, copies: int = 1) -> Task:
    """A task whose labels are those of ``TEXTS``, with so many texts of each, told apart by a number."""
    task = Task.objects.create(name=name, title=name.title())
    rows = [
        Labelled(f"{text} {number}" if number else text, label)
        for number in range(copies)
        for label, texts in TEXTS.items()
        for text in texts
    ]
    annotate(task, rows, source=Annotation.Source.IMPORT)
    return task


def frozen(task: Task) -> Snapshot:
    """The task's labels as they are now."""
    return snapshots.freeze(task)


def ready_run(task: Task, root: Path, encoder: Path, *, is_own: bool = False, **fields: Any) -> Run:
    """A ready run whose classifier reads the encoder's rows; the run brings the encoder when it is its own."""
    made = {
        "status": Run.Status.READY,
        "artifact": publish_classifier(root, encoder, precision="fp32" if is_own else "int8").name,
        "encoder_artifact": encoder.name if is_own else "",
        "verdict": Run.Verdict.PASS,
    }
    return Run.objects.create(task=task, **(made | fields))


def damage(file: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _mean_of_vectors(table: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),  # (b, t, d)
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["vectors", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], ["sum"], keepdims=0),  # (b, d)
        helper.make_node("ReduceL2", ["sum"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Div", ["sum", "length"], ["rows"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["b", table.shape[1]])
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
    ]
    graph = helper.make_graph(nodes, "toy", inputs, [output], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def _tokeniser(words: Sequence[str]) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate(words)}
    tokeniser = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    tokeniser.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])]
    )
    text: str = tokeniser.to_str()
    json.loads(text)
    return text
