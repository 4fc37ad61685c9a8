"""Model cards: what a trained model is, what it learnt from and how good it is, in the form that model hubs read. Pure.

A card is Markdown with a YAML header. It names labels and figures; no text of a customer ever stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.figures import Report

_SIGNS = re.compile(r"([\\`*_{}\[\]<>|#])")
_PEFT_METHODS = frozenset({"contrastive", "lora", "adalora", "ia3", "pretrain"})
_METHODS = {
    "head": "a linear head on the frozen encoder",
    "contrastive": "few-shot contrastive tuning with LoRA",
    "lora": "LoRA",
    "adalora": "AdaLoRA",
    "ia3": "(IA)³",
    "prompt": "a soft prompt",
    "full": "all weights tuned",
    "pretrain": "masked language modelling with LoRA on unlabelled texts",
}
# Of a training's figures, those that a reader of the card understands, with their names.
_TRAINING_FIGURES = {
    "trainable_parameters": "Trainable parameters",
    "total_parameters": "Parameters in all",
    "fit_seconds": "Training time, seconds",
    "samples_per_second": "Texts per second while tuning",
    "served_precision": "Served in",
    "fp32_accuracy": "Accuracy exported, fp32, on validation texts",
    "int8_accuracy": "Accuracy exported, int8, on validation texts",
    "temperature": "Temperature",
}
_QUALITY = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "weighted_f1": "Weighted F1",
    "ece": "Expected calibration error (15 bins)",
    "log_loss": "Mean negative log-likelihood, nats",
    "in_scope_refused": "Share of genuine texts refused as out of scope",
}


@dataclass(frozen=True)
class Card:
    """What a card is made from.

    ``base_model`` is the name of the encoder that was adapted, as a hub knows it where one does. ``rows`` maps a side
    (training, validation, hold-out) to its number of texts. ``figures`` are those of the training; ``report`` is
    there once the model has been measured. ``purpose``, ``limits`` and ``command`` are Markdown of whoever publishes.
    """

    task: str
    config: TrainingConfig
    labels: Sequence[str]
    base_model: str
    rows: Mapping[str, int]
    figures: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    title: str = ""
    purpose: str = ""
    languages: Sequence[str] = ("en", "zh")
    licence: str = "other"
    data: str = ""
    snapshot_sha256: str = ""
    limits: Sequence[str] = ()
    command: str = ""


def model_card(card: Card) -> str:
    """Return the card as Markdown; everything that came from outside is escaped."""
    title = card.title or f"{card.task}: {_METHODS[card.config.method]}"
    parts = [_header(card), f"# {_plain(title)}", _purpose(card), _data(card), _training(card)]
    if card.report is not None:
        parts.append(_figures(card.report))
    parts += [_limits(card), _loading(card)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _header(card: Card) -> str:
    is_peft = card.config.method in _PEFT_METHODS
    purpose = "feature-extraction" if card.config.method == "pretrain" else "text-classification"
    about: dict[str, Any] = {
        "language": list(card.languages),
        "license": card.licence,
        "base_model": card.base_model,
        "pipeline_tag": purpose,
        "tags": [_line(card.task), purpose, card.config.method, "onnx"],
    }
    if is_peft:
        about["base_model_relation"] = "adapter"
        about["library_name"] = "peft"
    quality = card.report["quality"] if card.report is not None else None
    if quality is not None and quality["rows"]:
        about["metrics"] = ["accuracy", "f1"]
        about["model-index"] = [
            {
                "name": _line(card.title or card.task),
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"name": "hold-out", "type": _line(card.task)},
                        "metrics": [
                            {"type": "accuracy", "value": quality["accuracy"]},
                            {"type": "f1", "name": "Macro F1", "value": quality["macro_f1"]},
                            {"type": "ece", "name": "Expected calibration error", "value": quality["ece"]},
                        ],
                    }
                ],
            }
        ]
    return f"---\n{yaml.safe_dump(about, allow_unicode=True, sort_keys=False, width=1000)}---"


def _purpose(card: Card) -> str:
    said = card.purpose or f"Says which of {len(card.labels)} labels of the task *{_plain(card.task)}* a text is about."
    names = ", ".join(f"`{_line(label.replace('`', ' '))}`" for label in card.labels)
    return f"## What it is for\n\n{said}\n\nLabels: {names or 'none'}."


def _data(card: Card) -> str:
    lines = [card.data or "Labelled texts of one installation, personal data masked. They are not published."]
    lines.append(
        _table([("Side", "Texts"), *((side.capitalize(), f"{number:,}") for side, number in card.rows.items())])
    )
    if card.snapshot_sha256:
        lines.append(f"Snapshot (sha256 over text, label and side of every row): `{card.snapshot_sha256}`.")
    return "## Data\n\n" + "\n\n".join(lines)


def _training(card: Card) -> str:
    said = f"Method: {_METHODS[card.config.method]}. Base: `{card.base_model}`."
    rows = [
        (name, _value(card.figures[key]))
        for key, name in _TRAINING_FIGURES.items()
        if card.figures.get(key) is not None
    ]
    parts = ["## Training", said]
    if rows:
        parts.append(_table([("Figure", "Value"), *rows]))
    usual = TrainingConfig.preset(card.config.method).model_dump()
    options = [
        (f"`{name}`", f"`{value}`" if value != "" else "–", "" if usual[name] == value else "changed")
        for name, value in card.config.model_dump().items()
        if name != "method"
    ]
    parts.append("Options:")
    parts.append(_table([("Option", "Value", "Against the preset"), *options]))
    if card.command:
        parts.append(f"Reproduce with:\n\n```sh\n{card.command}\n```")
    return "\n\n".join(parts)


def _figures(report: Report) -> str:
    quality = report["quality"]
    if not quality["rows"]:
        return "## Figures\n\nThere was no hold-out to measure on."
    known: dict[str, Any] = dict(quality)
    rows = [(name, _value(known[key])) for key, name in _QUALITY.items() if known[key] is not None]
    rows[0] = (
        rows[0][0],
        f"{rows[0][1]} ({_value(quality['accuracy_low'])} to {_value(quality['accuracy_high'])}, 95 %)",
    )
    scope, latency = report["scope"], report["latency"]
    if scope is not None:
        if scope["auroc"] is not None:
            rows.append(("Out of scope, AUROC", _value(scope["auroc"])))
        rows.append((f"Share of {scope['rows']:,} out-of-scope texts refused", _value(scope["recall"])))
    if latency is not None:
        rows.append(("One text, median, on the machine that measured", f"{latency['p50_ms']:.1f} ms"))
    parts = [
        f"## Figures\n\nMeasured on {quality['rows']:,} held-out texts that it has not learnt.",
        _table([("Figure", "Value"), *rows]),
    ]
    classes = [
        (_plain(one["label"]), *(f"{one[key]:.3f}" for key in ("precision", "recall", "f1")), f"{one['support']:,}")
        for one in report["classes"]
    ]
    parts.append(_table([("Label", "Precision", "Recall", "F1", "Texts"), *classes]))
    return "\n\n".join(parts)


def _limits(card: Card) -> str:
    said = [
        *card.limits,
        "It knows its labels and nothing else. A detector tells what is out of scope, and makes mistakes as well.",
        "Texts of another domain, language or style than those it learnt from are read worse than the figures say.",
    ]
    if card.report is not None and card.report["pairs"]:
        pairs = ", ".join(f"{_plain(pair['first'])} / {_plain(pair['second'])}" for pair in card.report["pairs"][:5])
        said.append(f"Labels that it most often takes for each other: {pairs}.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in said)


def _loading(card: Card) -> str:
    method = card.config.method
    if method == "head":
        return "## How to load it\n\nThe head lies in the classifier's own artifact; the encoder is the untouched base."
    if method in ("full", "prompt"):
        what = "all weights of the encoder" if method == "full" else "the soft prompt, put before the tokens of a text"
        return (
            f"## How to load it\n\nThe folder holds {what}, and the head. The exported `model.onnx` beside it has both "
            "in it, and returns one unit row for each text."
        )
    head = (
        ""
        if method == "pretrain"
        else """
head = load_file("head.safetensors")  # weight (k, d) and bias (k,); the labels are in the file's metadata
"""
    )
    score = "" if method == "pretrain" else '\n    logits = rows @ head["weight"].T + head["bias"]'
    return f"""## How to load it

The folder is in PEFT's own format. The row of a text is the mean over its tokens, scaled to length 1.

```python
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

base = {card.base_model!r}
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), ".").eval()
{head.strip()}
batch = tokenizer(["a text"], return_tensors="pt", padding=True, truncation=True)
with torch.no_grad():
    tokens = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    rows = torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1), dim=1){score}
```"""


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first row names the columns, and all columns but the first are to the right."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "| " + " | ".join(["---", *["---:"] * (len(rows[0]) - 1)]) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(text: str) -> str:
    """Return text in one line: three dashes alone on a line would end the header."""
    return " ".join(text.split())


def _plain(text: str) -> str:
    r"""Return text in which Markdown finds no signs of its own.

    >>> _plain("a*b|c")
    'a\\*b\\|c'
    """
    return _SIGNS.sub(r"\\\1", _line(text))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return _plain(str(value))
