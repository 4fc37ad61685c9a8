"""Classifiers to be measured: a method's options and labelled texts in, something that predicts out.

``head`` reads the rows of the installation's encoder, each text encoded once however many classifiers are fitted on it.
Every other method goes through ``learning.training``, as a run of the admin does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from django.conf import settings
from django.core.management.base import CommandError
from numpy.typing import NDArray

from lepton_app.learning.calibration import stratified_folds
from lepton_app.learning.classifier import LinearClassifier, Prediction
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Dataset, Part, Point
from lepton_app.learning.errors import LearningError
from lepton_app.learning.linear import fit_linear
from lepton_app.learning.model import SERVED_PRECISION
from lepton_app.learning.training import linear_config, named, train
from lepton_app.lib import artifacts
from lepton_app.lib.encoder_export import ExportError
from lepton_app.lib.text_runtime import Precision, Rows, TextEncoder

Progress = Callable[[str], None]
VALIDATION_PARTS = 10
# More texts than this place a temperature and a threshold no better, and are missed in training.
ENOUGH_VALIDATION = 500
# With fewer texts of a label a tenth of them is sorely missed in training, and says next to nothing.
LEAST_TEXTS_PER_LABEL = 20
LATENCY_TEXTS = 200


class Encoded:
    """Rows of texts by one encoder at one precision; a text that was asked for before is not encoded again."""

    def __init__(self, directory: Path, precision: Precision) -> None:
        self.encoder = TextEncoder(directory, precision=precision, threads=settings.LEPTON_MODEL_THREADS)
        self.directory = directory
        self.precision = precision
        self._row_of: dict[str, NDArray[np.float32]] = {}

    def rows(self, texts: Sequence[str]) -> Rows:
        """Return ``(n, d) float32``, unit rows."""
        new = list(dict.fromkeys(text for text in texts if text not in self._row_of))
        self._row_of.update(zip(new, self.encoder.encode(new), strict=True))
        return np.stack([self._row_of[text] for text in texts]) if texts else self.encoder.encode([])


@dataclass
class Fitted:
    """A classifier with the rows that it reads; ``figures`` say what its fit cost."""

    classifier: LinearClassifier
    encoded: Encoded
    learnt: Part
    config: TrainingConfig
    figures: dict[str, Any] = field(default_factory=dict)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction for each text."""
        return self.classifier.predict(texts, self.encoded.rows(texts))

    def scope_scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the out-of-scope scores, ``(n,)``."""
        return self.classifier.scope_scores(texts, self.encoded.rows(texts))

    def with_threshold(self, threshold: float) -> Fitted:
        """Return the same with another out-of-scope threshold."""
        return replace(self, classifier=replace(self.classifier, threshold=threshold))

    def at(self, precision: Precision) -> Fitted:
        """Return a classifier of the same texts and options on the encoder's rows of another precision."""
        if precision == self.encoded.precision:
            return self
        encoded = Encoded(self.encoded.directory, precision)
        return _fitted(self.learnt, self.config, encoded, {})

    def p50_ms(self, texts: Iterable[str]) -> float:
        """Return the median time of one text, encoded and classified alone, in milliseconds."""
        times = []
        for text in list(texts)[:LATENCY_TEXTS]:
            start = time.perf_counter()
            self.classifier.predict([text], self.encoded.encoder.encode([text]))
            times.append(time.perf_counter() - start)
        return float(np.median(times)) * 1e3


class Trainer:
    """Fits classifiers of one method; a context, because tuned encoders lie in a folder that is dropped at the end."""

    def __init__(self, config: TrainingConfig, encoded: Encoded, progress: Progress) -> None:
        """Take the options, and the installation's encoder with its rows."""
        self.config = config
        self.encoded = encoded
        self.progress = progress
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-classifier-")
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    def fit(self, part: Part) -> Fitted:
        """Return a classifier of the labelled texts; its ``fit_seconds`` are all in, with the encoder loaded.

        Raises ``CommandError`` for what cannot be learnt.
        """
        try:
            return self._head(part) if self.config.method == "head" else self._tuned(part)
        except (LearningError, ExportError) as error:
            raise CommandError(str(error)) from error

    def _head(self, part: Part) -> Fitted:
        self.encoded.encoder.warm_up()
        start = time.perf_counter()
        self.progress(f"encoding {len(part)} texts")
        fitted = _fitted(named(part, self.config), self.config, self.encoded, {})
        seconds = time.perf_counter() - start
        model = fitted.classifier
        weights = model.dense_weights.size + model.ngram_weights.size + model.bias.size
        fitted.figures |= {
            "fit_seconds": seconds,
            "samples_per_second": len(part) / seconds,
            "trainable_parameters": weights,
            "total_parameters": weights,
        }
        return fitted

    def _tuned(self, part: Part) -> Fitted:
        self._count += 1
        folder = Path(self._scratch.name) / str(self._count)
        (folder / "artifacts").mkdir(parents=True)
        dataset = _with_validation(part, seed=self.config.seed)
        start = time.perf_counter()
        trained = train(
            dataset, self.config, root=folder / "artifacts", reporter=Told(self.progress), workspace=folder / "work"
        )
        seconds = time.perf_counter() - start
        if trained.classifier is None or trained.encoder is None:
            raise CommandError(f"{self.config.method} gives no classifier that could be measured.")
        precision: Precision = artifacts.peek(trained.encoder).meta[SERVED_PRECISION]
        about = {name: trained.figures.get(name) for name in _ABOUT_TUNING}
        return Fitted(
            LinearClassifier.load(trained.classifier),
            Encoded(trained.encoder, precision),
            named(dataset.train, self.config) + dataset.validation,
            self.config,
            {"fit_seconds": seconds, **about},
        )


_ABOUT_TUNING = ("samples_per_second", "trainable_parameters", "total_parameters")


class Told:
    """A reporter that says each stage, and how far it is at each epoch."""

    def __init__(self, progress: Progress) -> None:
        """Say it to ``progress``, a line at a time."""
        self._progress = progress

    def stage(self, name: str) -> None:
        """Say what begins."""
        self._progress(name)

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        """Say where it stands whenever a validation accuracy is known."""
        if point is not None and point.accuracy is not None:
            self._progress(f"step {done} of {total}: loss {point.loss:.4f}, validation accuracy {point.accuracy:.4f}")


def _fitted(part: Part, config: TrainingConfig, encoded: Encoded, figures: dict[str, Any]) -> Fitted:
    classifier = fit_linear(
        part.texts,
        part.labels,
        encoded.rows(part.texts),
        encoder_version=encoded.encoder.version,
        config=linear_config(config),
    )
    return Fitted(classifier, encoded, part, config, figures)


def _with_validation(part: Part, *, seed: int) -> Dataset:
    """Give a tenth of the texts, about 500 at most, to validation, stratified, where labels have texts enough."""
    if len(part) < LEAST_TEXTS_PER_LABEL * len(set(part.labels)):
        return Dataset(part)
    held = (
        stratified_folds(
            part.texts, part.labels, folds=max(VALIDATION_PARTS, len(part) // ENOUGH_VALIDATION), seed=seed
        )
        == 0
    )
    sides = [
        Part(
            tuple(text for text, out in zip(part.texts, held, strict=True) if out == side),
            tuple(label for label, out in zip(part.labels, held, strict=True) if out == side),
        )
        for side in (False, True)
    ]
    return Dataset(sides[0], sides[1])
