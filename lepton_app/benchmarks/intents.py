"""How well a classifier fitted on labelled utterances labels others, knows how sure it is, and spots strangers.

Either --train and --test, CSV files with the columns text,category, or --smp2019, whose utterances are split into five
stratified folds by normalised text, over the pairs of domain and intent with at least five rows.

  accuracy          share of right labels with the rows that are served by default (LEPTON_ENCODER_PRECISION), from 0
                    to 1; the head is fitted on rows of the same precision
  int8_accuracy     the same with int8 rows, head fitted on int8 rows: equal to accuracy where int8 is served
  fp32_accuracy     the same with fp32 rows, head fitted on fp32 rows; only with --fp32, which takes as long again
  macro_f1, ece     of the served rows; ece in 15 bins of equal width
  oos_auroc         how well the out-of-scope score tells the test texts from those of --oos
  in_scope_refused  share of test texts below the threshold; the threshold is set on training texts for 5 % of them, or
                    where --oos-valid is given, where the fewest of both kinds are on the wrong side
  oos_recall        share of the texts of --oos below the threshold
  fit_seconds       encoding the training texts and fitting, all in, with the encoder loaded (of all folds together)
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import CommandError

from lepton_app.benchmarks._inputs import encoder_directory, read_labelled, read_lines, read_smp2019, rounded
from lepton_app.learning.calibration import stratified_folds
from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.linear import LinearConfig, fit_linear
from lepton_app.learning.metrics import accuracy, auroc, expected_calibration_error, macro_f1
from lepton_app.learning.scope import best_threshold
from lepton_app.lib.text_runtime import Precision, Rows, TextEncoder

SMP_FOLDS = 5
SMP_LEAST_ROWS = 5
Progress = Callable[[str], None]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files, the method and the seed."""
    parser.add_argument("--train", type=Path, metavar="CSV", help="texts to fit on, columns text,category")
    parser.add_argument("--test", type=Path, metavar="CSV", help="texts to measure on, columns text,category")
    parser.add_argument("--smp2019", type=Path, metavar="FILE", help="SMP 2019 JSON, instead of --train and --test")
    parser.add_argument("--oos", type=Path, metavar="TXT", help="out-of-scope texts to measure on, one a line")
    parser.add_argument("--oos-valid", type=Path, metavar="TXT", help="out-of-scope texts that place the threshold")
    parser.add_argument("--method", choices=["head"], default="head", help="head: linear, on the frozen encoder")
    parser.add_argument("--fp32", action="store_true", help="measure fp32_accuracy as well")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides every split (default 0)")


@dataclass
class _Outcome:
    """What the test texts of one or more fits came to."""

    expected: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    in_scope: list[bool] = field(default_factory=list)
    outside_in_scope: list[bool] = field(default_factory=list)
    fit_seconds: float = 0.0

    def add(self, classifier: LinearClassifier, texts: Sequence[str], rows: Rows, labels: Sequence[str]) -> None:
        predictions = classifier.predict(texts, rows)
        self.expected.extend(labels)
        self.predicted.extend(prediction.labels[0] for prediction in predictions)
        self.confidences.extend(prediction.probabilities[0] for prediction in predictions)
        self.scores.extend(prediction.scope_score for prediction in predictions)
        self.in_scope.extend(prediction.in_scope for prediction in predictions)

    def accuracy(self) -> float:
        return accuracy(self.expected, self.predicted)


def run(options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Measure and return the figures that the module's first lines name."""
    measure = _smp2019 if options["smp2019"] else _files
    if options["smp2019"] and (options["train"] or options["test"] or options["oos"] or options["oos_valid"]):
        raise CommandError("--smp2019 brings its own texts: leave out --train, --test, --oos and --oos-valid.")
    if not options["smp2019"] and not (options["train"] and options["test"]):
        raise CommandError("Give both --train and --test, or --smp2019.")
    if options["oos_valid"] and not options["oos"]:
        raise CommandError("--oos-valid places the threshold for the texts of --oos: give --oos as well.")
    served: Precision = settings.LEPTON_ENCODER_PRECISION
    wanted: list[Precision] = [served]
    if served != "int8":
        wanted.append("int8")
    if options["fp32"] and served != "fp32":
        wanted.append("fp32")
    directory = encoder_directory(progress)
    outcomes: dict[Precision, _Outcome] = {}
    about: dict[str, Any] = {}
    for precision in wanted:
        encoder = TextEncoder(directory, precision=precision, threads=settings.LEPTON_MODEL_THREADS)
        encoder.warm_up()
        try:
            outcomes[precision], about = measure(options, encoder, _prefixed(precision, progress))
        except NothingToLearn as error:
            raise CommandError(f"{options['smp2019'] or options['train']}: {error}") from error
    outcome = outcomes[served]
    correct = np.array([said == true for said, true in zip(outcome.predicted, outcome.expected, strict=True)])
    figures: dict[str, Any] = {
        "accuracy": outcome.accuracy(),
        "macro_f1": macro_f1(outcome.expected, outcome.predicted),
        "ece": expected_calibration_error(np.array(outcome.confidences), correct),
        "int8_accuracy": outcomes["int8"].accuracy(),
        "fit_seconds": outcome.fit_seconds,
        "in_scope_refused": 1 - float(np.mean(outcome.in_scope)),
        "precision": served,
        **about,
    }
    if "fp32" in outcomes:
        figures["fp32_accuracy"] = outcomes["fp32"].accuracy()
    if outcome.outside:
        figures["oos_auroc"] = auroc(np.array(outcome.scores), np.array(outcome.outside))
        figures["oos_recall"] = 1 - float(np.mean(outcome.outside_in_scope))
    return rounded(figures, digits=5)


def _prefixed(name: str, progress: Progress) -> Progress:
    return lambda line: progress(f"{name}: {line}")


def _files(options: dict[str, Any], encoder: TextEncoder, progress: Progress) -> tuple[_Outcome, dict[str, Any]]:
    texts, labels = read_labelled(options["train"])
    test_texts, test_labels = read_labelled(options["test"])
    strangers = sorted(set(test_labels) - set(labels))
    if strangers:
        raise CommandError(
            f"{options['test']} has {len(strangers)} labels that {options['train']} has not, such as "
            f"{strangers[0]!r}. Both files must name labels in the same way."
        )
    outside = read_lines(options["oos"]) if options["oos"] else []
    valid = read_lines(options["oos_valid"]) if options["oos_valid"] else []
    outcome = _Outcome()
    start = time.perf_counter()
    progress(f"encoding {len(texts)} texts")
    rows = encoder.encode(texts)
    config = LinearConfig(seed=options["seed"])
    classifier = fit_linear(texts, labels, rows, encoder_version=encoder.version, config=config, progress=progress)
    outcome.fit_seconds = time.perf_counter() - start
    if valid:
        threshold = best_threshold(classifier.scope, classifier.scope_scores(valid, encoder.encode(valid)))
        classifier = replace(classifier, threshold=threshold)
    progress(f"labelling {len(test_texts)} texts")
    outcome.add(classifier, test_texts, encoder.encode(test_texts), test_labels)
    if outside:
        outcome.outside = classifier.scope_scores(outside, encoder.encode(outside)).tolist()
        outcome.outside_in_scope = [score >= classifier.threshold for score in outcome.outside]
    return outcome, {"train_texts": len(texts), "test_texts": len(test_texts), "labels": len(classifier.labels)}


def _smp2019(options: dict[str, Any], encoder: TextEncoder, progress: Progress) -> tuple[_Outcome, dict[str, Any]]:
    texts, labels = read_smp2019(options["smp2019"], least_rows=SMP_LEAST_ROWS)
    outcome = _Outcome()
    start = time.perf_counter()
    progress(f"encoding {len(texts)} texts")
    rows = encoder.encode(texts)
    outcome.fit_seconds = time.perf_counter() - start
    fold_of = stratified_folds(texts, labels, folds=SMP_FOLDS, seed=options["seed"])
    config = LinearConfig(seed=options["seed"])
    for fold in range(SMP_FOLDS):
        inside, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        start = time.perf_counter()
        classifier = fit_linear(
            [texts[row] for row in inside],
            [labels[row] for row in inside],
            rows[inside],
            encoder_version=encoder.version,
            config=config,
        )
        outcome.fit_seconds += time.perf_counter() - start
        outcome.add(classifier, [texts[row] for row in held], rows[held], [labels[row] for row in held])
        progress(f"fold {fold + 1} of {SMP_FOLDS}: accuracy so far {outcome.accuracy():.4f}")
    return outcome, {"texts": len(texts), "labels": len(set(labels)), "folds": SMP_FOLDS}
