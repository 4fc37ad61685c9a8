"""A dataset in, a published classifier and its encoder out. Runs in the training worker.

The steps of a method that tunes:

1. fit a linear head on the untouched encoder's rows: the tuning starts from it and not from nothing;
2. tune adapter and head on the training part (``tuning.loop``); drop layers where asked;
3. merge, export to ONNX, and choose int8 or fp32 by what is lost on texts that were not learnt;
4. fit the classifier that serves on the exported encoder's rows joined with n-grams;
5. set temperature and out-of-scope threshold on texts that the encoder has not learnt.

``head`` is step 4 on the installation's own encoder. The hold-out is touched by none of this.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings

from lepton_app.learning.cards import Card, model_card
from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Dataset, Part, Reporter
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.features import Floats, Weights
from lepton_app.learning.linear import LinearConfig, fit_dense, fit_linear
from lepton_app.learning.model import SERVED_PRECISION
from lepton_app.learning.row_cache import RowCache
from lepton_app.lib import artifacts
from lepton_app.lib.encoding import encoder_service
from lepton_app.lib.text_runtime import TextEncoder

if TYPE_CHECKING:
    from lepton_app.learning.tuning.encoders import TorchEncoder
    from lepton_app.learning.tuning.exporting import TunedHead
    from lepton_app.learning.tuning.loop import Examples

# Comparing int8 with fp32 needs no more texts than this to fit on.
MOST_COMPARED = 4000
# The C of the final head, and what is tried where it is left open and validation texts can tell.
USUAL_REGULARISATION = 20.0
REGULARISATIONS = (20.0, 5.0, 1.0)
LEAST_TO_CHOOSE = 100
# A label that many texts stand under gains nothing from its name.
MOST_TEXTS_FOR_NAMES = 50


@dataclass(frozen=True)
class Base:
    """What a run starts from.

    ``lineage`` are encoder artifacts of earlier runs whose adapters are merged first to last; ``warm`` is the encoder
    artifact whose adapter and head are gone on from, and ``learnt`` the texts that it has learnt, for the replay.
    """

    lineage: tuple[Path, ...] = ()
    warm: Path | None = None
    learnt: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trained:
    """What a training published: ``classifier`` is None after pre-training, ``encoder`` where none was tuned.

    ``figures`` has ``trainable_parameters``, ``total_parameters``, ``fit_seconds`` and, where they apply,
    ``samples_per_second`` (of the tuning), ``served_precision``, ``fp32_accuracy``, ``int8_accuracy`` (on validation
    texts), ``temperature``, ``ranks`` (of AdaLoRA, by matrix).
    """

    classifier: Path | None
    encoder: Path | None
    figures: dict[str, Any] = field(default_factory=dict)


def train(
    dataset: Dataset,
    config: TrainingConfig,
    *,
    root: Path,
    reporter: Reporter,
    workspace: Path,
    base: Base | None = None,
    task: str = "",
) -> Trained:
    """Train as configured, publish under ``root``, and return what was published.

    ``task`` names the task on the model card. ``workspace`` is the run's own folder: a second call with the same one
    goes on from its checkpoint. Raises ``NothingToLearn``, ``BaseUnusable``, what the reporter raises,
    ``ArtifactError``, ``ExportError`` and ``OSError``;
    then nothing has been published that a run would be pointed to.
    """
    base = base or Base()
    started = time.perf_counter()
    if config.method == "pretrain":
        from lepton_app.learning.tuning.pretraining import pretrain

        encoder, figures = pretrain(
            dataset, config, root=root, reporter=reporter, workspace=workspace, base=base, task=task
        )
        return Trained(None, encoder, {**figures, "fit_seconds": round(time.perf_counter() - started, 1)})
    if len(dataset.labels) < 2:
        raise NothingToLearn("A classifier needs at least two labels with texts. Label texts of another one.")
    if config.method == "head":
        path, figures = _train_head(dataset, config, root, reporter, base)
        encoder_path = None
    else:
        path, encoder_path, figures = _tune(dataset, config, root, reporter, workspace, base, task)
    return Trained(path, encoder_path, {**figures, "fit_seconds": round(time.perf_counter() - started, 1)})


def _train_head(
    dataset: Dataset, config: TrainingConfig, root: Path, reporter: Reporter, base: Base
) -> tuple[Path, dict[str, Any]]:
    service = encoder_service()
    fitted = named(dataset.train, config) + dataset.validation
    reporter.stage(f"Encoding {len(fitted)} texts")
    outside = _outside(dataset)
    cache = RowCache(settings.DATA_DIR / "cache" / "rows", service.encoder.version, dimension=service.encoder.dimension)
    rows = cache.rows([*fitted.texts, *outside], service.encode_sync)
    reporter.stage(f"Fitting the head on {len(fitted)} texts")
    classifier = fit_linear(
        fitted.texts,
        fitted.labels,
        rows[: len(fitted)],
        encoder_version=service.encoder.version,
        config=linear_config(config),
        out_of_scope=(outside, rows[len(fitted) :]),
    )
    weights = classifier.dense_weights.size + classifier.ngram_weights.size + classifier.bias.size
    figures = {
        "trainable_parameters": weights,
        "total_parameters": weights,
        **_said_of(classifier),
        "served_precision": service.encoder.precision,
    }
    return classifier.save(root), figures


def _tune(
    dataset: Dataset,
    config: TrainingConfig,
    root: Path,
    reporter: Reporter,
    workspace: Path,
    base: Base,
    task: str,
) -> tuple[Path, Path, dict[str, Any]]:
    import torch

    from lepton_app.learning.tuning import adapters, loop, pruning
    from lepton_app.learning.tuning.encoders import load_encoder
    from lepton_app.learning.tuning.exporting import TunedHead, publish_tuned

    torch.set_num_threads(settings.LEPTON_MODEL_THREADS or _cores())
    workspace.mkdir(parents=True, exist_ok=True)
    reporter.stage("Loading the encoder")
    source = config.encoder or settings.LEPTON_ENCODER or None
    lineage = _adapters_of(base.lineage)
    encoder = load_encoder(source, max_length=config.max_length, dropout=config.dropout, lineage=lineage)
    part = _replayed(named(dataset.train, config), base, config)
    train = _examples(encoder, part, dataset.labels)
    known = set(dataset.labels)
    validation = _examples(encoder, _only(dataset.validation, known), dataset.labels)

    torch.manual_seed(config.seed)
    adapted = adapters.adapt(encoder, config, total_steps=loop.planned_steps(train, config))
    kept = None
    if base.warm is not None:
        adapters.load_adapter(adapted, base.warm / adapters.ADAPTER_FOLDER)
        kept = _kept_head(base.warm / adapters.ADAPTER_FOLDER)
    reporter.stage(f"Fitting the first head on {len(train.targets)} texts")
    bf16 = loop.uses_bf16(config.precision)
    head = _first_head(encoder, train, dataset.labels, kept, bf16=bf16)

    reporter.stage(f"Tuning on {len(train.targets)} texts")
    began = time.perf_counter()
    points = loop.tune(adapted, head, train, validation, config, workspace=workspace, reporter=reporter)
    tuning_seconds = time.perf_counter() - began
    if not config.classification_weight:  # contrast moved the rows away from under the head
        head = _first_head(encoder, train, dataset.labels, None, bf16=bf16)
    learns, there = adapted.parameters()
    in_head = sum(parameter.numel() for parameter in head.parameters())
    figures: dict[str, Any] = {
        "trainable_parameters": learns + in_head,
        "total_parameters": there + in_head,
        "samples_per_second": round(_samples(points, len(train.targets)) / max(tuning_seconds, 1e-9), 1),
    }
    if ranks := adapted.ranks():
        figures["ranks"] = ranks
    if config.layers:
        reporter.stage(f"Distilling into {config.layers} layers")
        adapted = pruning.distil(adapted, train, config, reporter=reporter)

    tuned_head = TunedHead(
        dataset.labels,
        head.weight.detach().numpy().astype(np.float32),
        head.bias.detach().numpy().astype(np.float32),
    )
    settled = linear_config(config)
    encoder_path, measured = publish_tuned(
        adapted,
        tuned_head,
        root=root,
        name=f"{encoder.name.rsplit('/', 1)[-1]}-{config.method}",
        origin=f"tuned:{config.method}:{config.sha256[:16]}",
        judged=_only(dataset.validation, known),
        fitted=_thinned(part, MOST_COMPARED),
        lineage=lineage,
        card=_card(task, config, figures, dataset, encoder),
        reporter=reporter,
        fit=lambda chosen, rows: fit_linear(chosen.texts, chosen.labels, rows, encoder_version="draft", config=settled),
    )
    figures |= measured
    classifier, said = fit_on_tuned(dataset, part, config, encoder_path, reporter)
    figures |= said
    return classifier.save(root), encoder_path, figures


def fit_on_tuned(
    dataset: Dataset, part: Part, config: TrainingConfig, encoder_path: Path, reporter: Reporter
) -> tuple[LinearClassifier, dict[str, Any]]:
    """Fit the serving classifier on a tuned encoder's rows; return it with its figures.

    A tuned encoder knows its training texts by heart: they are surer and lie closer together than any text to come.
    Temperature and out-of-scope scale are therefore set on the validation texts, where there are enough of them.
    """
    encoder = TextEncoder(encoder_path, precision=artifacts.peek(encoder_path).meta[SERVED_PRECISION])
    everything = part + dataset.validation
    outside = _outside(dataset)
    reporter.stage(f"Encoding {len(everything) + len(outside)} texts with the tuned encoder")
    rows = encoder.encode([*everything.texts, *outside])
    reporter.stage(f"Fitting the serving head on {len(everything)} texts")
    settled = linear_config(config)
    is_open = not config.inverse_regularisation and len(dataset.validation) >= LEAST_TO_CHOOSE
    # A tuned encoder leaves little to learn where labels are few, and a close fit then learns its mistakes.
    candidates = REGULARISATIONS if is_open else (settled.inverse_regularisation,)
    fitted = [
        fit_linear(
            everything.texts,
            everything.labels,
            rows[: len(everything)],
            encoder_version=encoder.version,
            config=replace(settled, inverse_regularisation=candidate),
            unseen=np.arange(len(everything)) >= len(part),
            out_of_scope=(outside, rows[len(everything) :]),
        )
        for candidate in candidates
    ]
    classifier = max(fitted, key=lambda one: one.meta.get("held_out_accuracy") or 0.0)  # the first of equals
    return classifier, _said_of(classifier)


def _said_of(classifier: LinearClassifier) -> dict[str, Any]:
    """Return what a fitted classifier reports: its temperature, and its accuracy on what was held out of the fit."""
    accuracy = classifier.meta.get("held_out_accuracy")
    said: dict[str, Any] = {
        "temperature": round(classifier.temperature, 4),
        "inverse_regularisation": classifier.meta["inverse_regularisation"],
    }
    return said if accuracy is None else {**said, "validation_accuracy": round(float(accuracy), 4)}


def _outside(dataset: Dataset) -> tuple[str, ...]:
    """Return the texts out of scope that may place the threshold: all but the hold-out's."""
    return (*dataset.unknown_train, *dataset.unknown_validation)


def linear_config(config: TrainingConfig) -> LinearConfig:
    """Return how the final linear head is fitted under these options."""
    usual = Weights()
    weights = replace(usual, ngrams=usual.ngrams * config.ngram_weight, ngrams_zh=usual.ngrams_zh * config.ngram_weight)
    return LinearConfig(
        inverse_regularisation=config.inverse_regularisation or USUAL_REGULARISATION,
        weights=weights,
        false_refusals=config.false_refusals,
        seed=config.seed,
    )


def readable(label: str) -> str:
    """Return a label's name as words.

    >>> readable("card_arrival"), readable("Refund.not-showing_up?")
    ('card arrival', 'refund not showing up')
    """
    return " ".join("".join(sign if sign.isalnum() else " " for sign in label).split()).lower()


def named(part: Part, config: TrainingConfig) -> Part:
    """Add the name of each label that has few texts as a text of its own, where configured."""
    if not config.label_names:
        return part
    counts = {label: part.labels.count(label) for label in set(part.labels)}
    names = [label for label in sorted(counts) if counts[label] <= MOST_TEXTS_FOR_NAMES and readable(label)]
    return part + Part(tuple(map(readable, names)), tuple(names))


def _replayed(part: Part, base: Base, config: TrainingConfig) -> Part:
    """Leave out a share of the texts that the base has learnt; new ones all stay."""
    if base.warm is None or not base.learnt or config.replay >= 1:
        return part
    generator = np.random.default_rng(config.seed)
    stays = [text not in base.learnt or bool(generator.random() < config.replay) for text in part.texts]
    seen: set[str] = set()
    for place, label in enumerate(part.labels):  # a label must not vanish
        if stays[place]:
            seen.add(label)
    for place, label in enumerate(part.labels):
        if label not in seen:
            stays[place] = True
            seen.add(label)
    return _chosen(part, stays)


def _chosen(part: Part, stays: Sequence[bool]) -> Part:
    return Part(
        tuple(text for text, stay in zip(part.texts, stays, strict=True) if stay),
        tuple(label for label, stay in zip(part.labels, stays, strict=True) if stay),
    )


def _only(part: Part, labels: set[str]) -> Part:
    return _chosen(part, [label in labels for label in part.labels])


def _thinned(part: Part, most: int) -> Part:
    """Return about ``most`` rows, spread evenly, with every label still there."""
    every = max(1, -(-len(part) // most))
    seen: set[str] = set()
    stays = []
    for place, label in enumerate(part.labels):
        stays.append(place % every == 0 or label not in seen)
        seen.add(label)
    return _chosen(part, stays)


def _examples(encoder: TorchEncoder, part: Part, labels: Sequence[str]) -> Examples:
    from lepton_app.learning.tuning.loop import Examples

    column_of = {label: column for column, label in enumerate(labels)}
    return Examples(encoder.tokenise(part.texts) if len(part) else [], [column_of[label] for label in part.labels])


def _first_head(
    encoder: TorchEncoder, train: Examples, labels: Sequence[str], kept: TunedHead | None, *, bf16: bool
) -> Any:
    """Return a linear layer ``(k, d)`` fitted on the encoder's rows as they are; rows of ``kept`` labels stand."""
    import torch

    rows = encoder.rows(train.tokens, bf16=bf16)
    weight, bias = fit_dense(rows, np.array(train.targets), len(labels))
    if kept is not None:
        place_of = {label: place for place, label in enumerate(kept.labels)}
        for row, label in enumerate(labels):
            if label in place_of:
                weight[row], bias[row] = kept.weight[place_of[label]], kept.bias[place_of[label]]
    head = torch.nn.Linear(rows.shape[1], len(labels))
    head.weight.data = torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32))
    head.bias.data = torch.from_numpy(np.ascontiguousarray(bias, dtype=np.float32))
    return head


def _kept_head(folder: Path) -> TunedHead | None:
    import json

    from safetensors import safe_open

    from lepton_app.learning.tuning.exporting import TunedHead

    path = folder / "head.safetensors"
    if not path.exists():
        return None
    with safe_open(path, framework="np") as opened:
        labels = tuple(json.loads(opened.metadata()["labels"]))
        weight: Floats = opened.get_tensor("weight")
        bias: Floats = opened.get_tensor("bias")
    return TunedHead(labels, weight, bias)


def _adapters_of(encoders: Sequence[Path]) -> list[Path]:
    """Return the adapter folders of encoder artifacts, each after those that it was itself tuned upon."""
    from lepton_app.learning.tuning.adapters import ADAPTER_FOLDER
    from lepton_app.learning.tuning.exporting import LINEAGE_FOLDER

    found: list[Path] = []
    for artifact in encoders:
        found += sorted((artifact / LINEAGE_FOLDER).glob("*"), key=lambda path: int(path.name))
        found.append(artifact / ADAPTER_FOLDER)
    return found


def _card(task: str, config: TrainingConfig, figures: dict[str, Any], dataset: Dataset, encoder: TorchEncoder) -> str:
    """Return the model card that lies with the adapter; what the hold-out says comes later, with the report."""
    rows = {"training": len(dataset.train), "validation": len(dataset.validation), "hold-out": len(dataset.holdout)}
    return model_card(Card(task, config, dataset.labels, encoder.name, rows, figures))


def _samples(points: Sequence[Any], number: int) -> float:
    return points[-1].epoch * number if points else 0.0


def _cores() -> int:
    from lepton_app.lib.text_runtime import physical_cores

    return physical_cores()
