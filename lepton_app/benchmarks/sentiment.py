"""How well a sentiment classifier says how a text speaks of somebody, and how well it knows how sure it is.

Either --train and --test, CSV files with the columns text,label and, where the label is about somebody, entity; or
--sentfin, SEntFiN's own file, of which a hash of the title gives eight tenths to training, one to validation and one to
measuring. Of the rows of --train a tenth of the texts is the validation part. --model deployed measures the deployed
model on --test, or on SEntFiN's hold-out, and trains nothing.

  accuracy              share of right labels, from 0 to 1
  macro_f1              mean F1 of the labels, each counting the same
  weighted_f1           mean F1 of the labels, each counting as often as it is right
  ece                   expected calibration error, in 15 bins of equal width
  per_label             F1 of each label
  int8_accuracy         of the validation part, as is fp32_accuracy, with a head that has not learnt it either: what a
                        recipe is to be chosen by; methods that tune alone
  shipped               the same figures of what --out-dir wrote, whose adapter has a lower rank and no n-grams
  fit_seconds           from texts to the exported model, all in
  trainable_parameters  weights that learnt
"""

from __future__ import annotations

import csv
import io
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import CommandError

from lepton_app.benchmarks._inputs import encoder_directory, read_labelled, read_text, rounded
from lepton_app.benchmarks._sentfin import part_of, read_sentfin
from lepton_app.learning.classifier import Prediction
from lepton_app.learning.config import METHODS, TrainingConfig, configured, parsed
from lepton_app.learning.datasets import Dataset, Part, Point
from lepton_app.learning.errors import LearningError
from lepton_app.learning.metrics import accuracy, class_figures, expected_calibration_error, macro_f1, weighted_f1
from lepton_app.learning.model import Model, load_model
from lepton_app.learning.texts import about, normalise
from lepton_app.learning.training import train
from lepton_app.lib.encoder_export import ExportError
from monitoring import sentiment

Progress = Callable[[str], None]
_VALIDATION_PARTS = 10
_LEAST_FOR_VALIDATION = 200  # fewer texts are all learnt: a tenth of them says too little about a temperature
_BARE_EVERY = 10  # SEntFiN names an entity in each row; one headline of so many is learnt without
_CHUNK = 512


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files, the method with its options, and where to keep what was trained."""
    parser.add_argument("--train", type=Path, metavar="CSV", help="texts to learn, columns text,label[,entity]")
    parser.add_argument("--test", type=Path, metavar="CSV", help="texts to measure on, columns text,label[,entity]")
    parser.add_argument("--sentfin", type=Path, metavar="FILE", help="SEntFiN.csv, instead of --train and --test")
    parser.add_argument("--model", choices=["deployed"], help="measure the deployed model, and train nothing")
    trainable = [method for method in METHODS if method != "pretrain"]
    parser.add_argument("--method", choices=trainable, default="lora", help="how to train (default lora)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the training")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides every random start (default 0)")
    parser.add_argument(
        "--out-dir", type=Path, metavar="DIR", help="write the adapter here as it is shipped (--sentfin)"
    )
    parser.add_argument("--out-rank", type=int, default=8, metavar="R", help="rank of what is shipped (default 8)")


def run(options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Measure and return the figures that the module's first lines name."""
    _check(options)
    if options["model"] == "deployed":
        found = sentiment.current()
        if found is None:
            raise CommandError("No sentiment model is deployed: manage.py load_starter brings one.")
        _, test = _parts(options, learns=False)
        progress(f"labelling {len(test)} texts with {found.version}")
        return rounded({**_figures(found.served.model, test), "model": found.version}, digits=5)
    try:
        config = configured(options["method"], {"seed": str(options["seed"]), **parsed(options["set"])})
    except LearningError as error:
        raise CommandError(str(error)) from error
    dataset, test = _parts(options, learns=True)
    encoder_directory(progress)
    with tempfile.TemporaryDirectory(prefix="bench-sentiment-") as scratch:
        figures = _trained(dataset, test, config, Path(scratch), progress, options)
    return rounded(figures, digits=5)


def _check(options: dict[str, Any]) -> None:
    if options["sentfin"] and (options["train"] or options["test"]):
        raise CommandError("--sentfin brings its own texts: leave out --train and --test.")
    if options["out_dir"] and not (options["sentfin"] and options["method"] == "lora"):
        raise CommandError("--out-dir writes a model that is shipped: it needs --sentfin and --method lora.")
    if options["model"] == "deployed":
        if options["train"] or options["set"] or options["out_dir"]:
            raise CommandError("--model deployed trains nothing: leave out --train, --set and --out-dir.")
        if not (options["sentfin"] or options["test"]):
            raise CommandError("Give the texts to measure on: --test or --sentfin.")
    elif not options["sentfin"] and not (options["train"] and options["test"]):
        raise CommandError("Give both --train and --test, or --sentfin.")


def _parts(options: dict[str, Any], *, learns: bool) -> tuple[Dataset, Part]:
    """Return what is learnt, empty unless something ``learns``, and what is measured on."""
    if options["sentfin"]:
        headlines = read_sentfin(options["sentfin"])
        test = part_of(headlines, "holdout")
        if not learns:
            return Dataset(Part()), test
        learnt = part_of(headlines, "train", without_entity=_BARE_EVERY)
        return Dataset(learnt, part_of(headlines, "validation"), test), test
    test_rows = _read(options["test"])
    test = _part(test_rows)
    if not learns:
        return Dataset(Part()), test
    rows = _read(options["train"])
    strangers = sorted({label for _, label, _ in test_rows} - {label for _, label, _ in rows})
    if strangers:
        raise CommandError(
            f"{options['test']} has labels that {options['train']} has not, such as {strangers[0]!r}. "
            "Both files must name labels in the same way."
        )
    held = _held_out(rows)
    learnt = _part([row for row in rows if normalise(row[0]) not in held])
    return Dataset(learnt, _part([row for row in rows if normalise(row[0]) in held]), test), test


def _read(path: Path) -> list[tuple[str, str, str]]:
    """Return text, label and entity of each row; the entity is empty where the file names none."""
    texts, labels = read_labelled(path, columns=("text", "label"))
    header, *rows = (row for row in csv.reader(io.StringIO(read_text(path), newline="")) if row)
    place = header.index("entity") if "entity" in header else len(header)
    entities = [row[place].strip() if place < len(row) else "" for row in rows]
    return list(zip(texts, labels, entities, strict=True))


def _part(rows: Sequence[tuple[str, str, str]]) -> Part:
    return Part(tuple(about(text, entity) for text, _, entity in rows), tuple(label for _, label, _ in rows))


def _held_out(rows: Sequence[tuple[str, str, str]]) -> frozenset[str]:
    """Return the normalised texts of the validation part, spread evenly over the sorted texts of each label.

    All rows of a text are on one side, whomever they are about. A label's first text is always learnt.
    """
    by_label: dict[str, list[str]] = {}
    for text, label in sorted({normalise(text): label for text, label, _ in rows}.items()):
        by_label.setdefault(label, []).append(text)
    if sum(map(len, by_label.values())) < _LEAST_FOR_VALIDATION:
        return frozenset()
    places = slice(_VALIDATION_PARTS - 1, None, _VALIDATION_PARTS)
    return frozenset(text for texts in by_label.values() for text in texts[places])


class _Told:
    """Says each stage, and how far it is at each epoch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, name: str) -> None:
        self._progress(name)

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        if point is not None and point.accuracy is not None:
            self._progress(f"step {done} of {total}: loss {point.loss:.4f}, validation accuracy {point.accuracy:.4f}")


def _trained(
    dataset: Dataset, test: Part, config: TrainingConfig, scratch: Path, progress: Progress, options: dict[str, Any]
) -> dict[str, Any]:
    root = scratch / "artifacts"
    root.mkdir()
    started = time.perf_counter()
    try:
        trained = train(dataset, config, root=root, reporter=_Told(progress), workspace=scratch / "work")
    except (LearningError, ExportError) as error:
        raise CommandError(str(error)) from error
    seconds = time.perf_counter() - started
    assert trained.classifier is not None
    model = load_model(root, trained.classifier.name, trained.encoder.name if trained.encoder else "")
    try:
        figures = _figures(model, test)
    finally:
        model.close()
    known = {
        name: value
        for name, value in trained.figures.items()
        if name not in ("fit_seconds", "ranks") and not isinstance(value, dict)
    }
    if options["out_dir"]:
        from lepton_app.benchmarks._shipping import ship

        assert trained.encoder is not None
        figures["shipped"] = ship(
            trained.encoder,
            dataset,
            test,
            config,
            folder=options["out_dir"],
            rank=min(options["out_rank"], config.rank),
            scratch=scratch,
            measure=lambda classifier, rows, part: _judged(classifier.predict(list(part.texts), rows), part),
            progress=progress,
        )
    return {**figures, "fit_seconds": seconds, **known, "train_texts": len(dataset.train), "method": config.method}


def _figures(model: Model, part: Part) -> dict[str, Any]:
    said: list[Prediction] = []
    for start in range(0, len(part), _CHUNK):
        said += model.predict_sync(list(part.texts[start : start + _CHUNK]))
    return {**_judged(said, part), "test_texts": len(part), "threads": settings.LEPTON_MODEL_THREADS}


def _judged(said: Sequence[Prediction], part: Part) -> dict[str, Any]:
    expected, predicted = list(part.labels), [prediction.labels[0] for prediction in said]
    right = np.array([one == other for one, other in zip(expected, predicted, strict=True)])
    return {
        "accuracy": accuracy(expected, predicted),
        "macro_f1": macro_f1(expected, predicted),
        "weighted_f1": weighted_f1(expected, predicted),
        "ece": expected_calibration_error(np.array([prediction.probabilities[0] for prediction in said]), right),
        "per_label": {figures["label"]: round(figures["f1"], 5) for figures in class_figures(expected, predicted)},
    }
