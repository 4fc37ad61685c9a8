"""What was trained on SEntFiN, as it is shipped: packed, exported from the pack, measured, with its model card.

1. the adapter is packed with a lower rank, and the encoder is exported from the pack as an installation does it;
2. temperature, precision and the rows that say what texts look like are found on the validation part, which neither
   adapter nor head have learnt;
3. the hold-out is measured once, and the figures go into the pack and its card.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from lepton_app.benchmarks._inputs import rounded
from lepton_app.learning import shipped
from lepton_app.learning.calibration import fit_temperature
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Dataset, Part
from lepton_app.learning.shipped import Head, Shipped
from lepton_app.learning.tuning.adapters import ADAPTER_FOLDER
from lepton_app.learning.tuning.exporting import MOST_LOST
from lepton_app.lib.text_runtime import Precision, Rows, TextEncoder

MOST_ROWS_OF_A_LABEL = 60
Measure = Callable[[shipped.LinearClassifier, Rows, Part], dict[str, Any]]


def ship(
    encoder: Path,
    dataset: Dataset,
    test: Part,
    config: TrainingConfig,
    *,
    folder: Path,
    rank: int,
    scratch: Path,
    measure: Measure,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Pack the tuned ``encoder`` into ``folder`` and return the figures of what was packed, on ``test``.

    ``measure(classifier, rows, part)`` returns the figures of a part, ``accuracy`` among them.
    """
    adapter = encoder / ADAPTER_FOLDER
    head = _tuned_head(adapter)
    options = {name: value for name, value in config.model_dump().items() if name != "method"}
    about: dict[str, Any] = {
        "rank": rank,
        "max_length": config.max_length,
        "options": {**options, "rank": rank, "alpha": _alpha(config, rank)},
    }

    def pack(target: Path, settled: Head, precision: Precision, figures: dict[str, Any], card: str) -> Shipped:
        shipped.pack(adapter, target, head=settled, precision=precision, figures=figures, card=card, **about)
        return shipped.read(target)

    progress(f"Packing the adapter with rank {rank}")
    draft = pack(scratch / "draft", head, "fp32", {}, "")
    _, exported = shipped.publish(draft, scratch, progress=progress)
    accuracy: dict[Precision, float] = {}
    heads: dict[Precision, Head] = {}
    readers = {precision: TextEncoder(exported, precision=precision) for precision in get_args(Precision)}
    for precision, reader in readers.items():
        rows = reader.encode(list(dataset.validation.texts))
        heads[precision] = settled = _settled(head, rows, dataset.validation)
        classifier = shipped.classifier_of(settled, encoder_version=reader.version)
        accuracy[precision] = measure(classifier, rows, dataset.validation)["accuracy"]
        progress(f"validation accuracy with {precision}: {accuracy[precision]:.4f}")
    chosen: Precision = "int8" if accuracy["int8"] >= accuracy["fp32"] - MOST_LOST else "fp32"
    progress("Measuring the hold-out")
    classifier = shipped.classifier_of(heads[chosen], encoder_version=readers[chosen].version)
    figures = measure(classifier, readers[chosen].encode(list(test.texts)), test)
    figures |= {
        "holdout_rows": len(test),
        "rows": len(dataset.train),
        "labels": len(head.labels),
        "validation_accuracy_int8": accuracy["int8"],
        "validation_accuracy_fp32": accuracy["fp32"],
        "temperature": heads[chosen].temperature,
        "served_precision": chosen,
    }
    figures = rounded(figures, digits=4)
    pack(folder, heads[chosen], chosen, figures, card(config, figures, rank=rank))
    progress(f"packed into {folder}")
    return figures


def _alpha(config: TrainingConfig, rank: int) -> int:
    return max(1, round(config.alpha * rank / config.rank))


def _tuned_head(adapter: Path) -> Head:
    with safe_open(adapter / shipped.HEAD_FILE, framework="np") as opened:
        labels = json.loads(opened.metadata()["labels"])
    arrays = load_file(adapter / shipped.HEAD_FILE)
    width = arrays["weight"].shape[1]
    nothing = np.zeros((0, width), dtype=np.float32)
    return Head(tuple(labels), arrays["weight"], arrays["bias"], 1.0, nothing, np.zeros(0, dtype=np.int64))


def _settled(head: Head, rows: Rows, part: Part) -> Head:
    """Return the head with its temperature and the rows that say what texts look like."""
    targets = np.array([head.labels.index(label) for label in part.labels], dtype=np.int64)
    temperature = fit_temperature(rows @ head.weight.T + head.bias, targets)
    places = shipped.spread_rows(targets.tolist(), each=MOST_ROWS_OF_A_LABEL)
    return replace(head, temperature=temperature, rows=rows[places], targets=targets[places])


def card(config: TrainingConfig, figures: dict[str, Any], *, rank: int) -> str:
    """Return the model card in Markdown, with the header that model hubs read."""
    per_label = "".join(f"| {label} | {value:.3f} |\n" for label, value in figures["per_label"].items())
    options = " ".join(f"--set {name}={getattr(config, name)}" for name in _SAID)
    kept = (
        f" It was tuned with rank {config.rank}; of each product of two matrices the largest {rank} singular values "
        "are kept."
    )
    return _CARD.format(
        base=shipped.BASE_NAME,
        rank=rank,
        kept=kept if rank < config.rank else "",
        accuracy=figures["accuracy"],
        macro_f1=figures["macro_f1"],
        weighted_f1=figures["weighted_f1"],
        ece=figures["ece"],
        rows=f"{figures['rows']:,}",
        holdout_rows=f"{figures['holdout_rows']:,}",
        int8=figures["validation_accuracy_int8"],
        fp32=figures["validation_accuracy_fp32"],
        precision=figures["served_precision"],
        per_label=per_label,
        options=options,
        max_length=config.max_length,
        seed=config.seed,
    )


# What the command in the card states, whatever the presets are by the time that somebody reads it.
_SAID = (
    "epochs",
    "learning_rate",
    "head_learning_rate",
    "batch_size",
    "rank",
    "alpha",
    "label_smoothing",
    "dropout",
    "adapter_dropout",
    "max_length",
)

_CARD = """---
language: en
license: mit
base_model: {base}
library_name: peft
tags: [lora, sentiment-analysis, finance, text-classification]
metrics: [accuracy, f1]
---

# Financial sentiment

Says how a headline or a post speaks of a company, a commodity, an index or a currency: negative, neutral or positive.
It reads whom it is asked about together with the text, so that *SpiceJet falls as IndiGo gains* is negative for
SpiceJet and positive for IndiGo; asked about nobody, it says how the text speaks as a whole.

It is a LoRA adapter of rank {rank} for all linear layers of `{base}`
(22 million weights, 6 layers), with a linear head on the unit row of a text.{kept}

## How a text is written

`lepton_app.learning.texts.about(text, entity)`: the entity, a bar, and the text with each mention between two signs:

    SpiceJet | « SpiceJet » falls as IndiGo gains

Without an entity the text stands alone.

## Data

[SEntFiN](https://github.com/pyRis/SEntFiN) (Sinha, Kedas, Kumar and Malo 2022; MIT licence): English headlines of the
Indian and the world's markets with the sentiment stated for each entity that they name. A hash of the normalised
title puts eight tenths of them into training ({rows} rows), one into validation and one into the hold-out
({holdout_rows} rows); no title is on two sides. In some published names a word of trading was replaced by a sentiment;
they were put right before training. One in ten headlines that say the same of all their entities is learnt with an
entity left out.

## Figures

On the hold-out, which was measured once, after the recipe was settled:

| measure | value |
| --- | --- |
| accuracy | {accuracy:.3f} |
| macro F1 | {macro_f1:.3f} |
| weighted F1 | {weighted_f1:.3f} |
| expected calibration error, 15 bins | {ece:.3f} |

| label | F1 |
| --- | --- |
{per_label}
On the validation part: {int8:.3f} with int8 weights, {fp32:.3f} with fp32; {precision} is served.

## Limits

- English headlines of markets. Chinese is nearly invisible to this encoder: of a Chinese text it nearly always says
  neutral. Label Chinese texts of your own and train on them before you rely on it there.
- It has learnt headlines of about 10 words. Of a long text only the first {max_length} tokens are read.
- What is neutral is a matter of taste: most errors are between neutral and one of the others.
- Sarcasm, questions and advice to buy or sell are weak points. It is no advice to trade.

## Made by

    manage.py bench sentiment --sentfin SEntFiN.csv --method lora --seed {seed} \\
        {options} \\
        --out-rank {rank} --out-dir monitoring/starter/sentiment

## Loading it elsewhere

    from peft import PeftModel
    from transformers import AutoModel
    base = AutoModel.from_pretrained("{base}")
    encoder = PeftModel.from_pretrained(base, "monitoring/starter/sentiment")

The row of a text is the mean of its tokens' last states, brought to length 1; `head.safetensors` holds `weight` and
`bias` of the head, and `shipped.json` the names of its columns.
"""
