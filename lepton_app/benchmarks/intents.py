"""How well an intent classifier labels, how well it knows how sure it is, and how well it refuses what it cannot know.

Either --train and --test (CSV files with the columns text,category) or --smp2019 (the JSON of SMP 2019), split into
five stratified folds by normalised text, over the pairs of domain and intent with at least five rows. --method says how
it is trained; head reads the installation's encoder, every other method tunes one of its own and holds a tenth of the
training texts back to steer by where there are 20 of a label on average.

  accuracy              share of right labels with the rows that are served, from 0 to 1: for head in the precision of
                        LEPTON_ENCODER_PRECISION, for the others in int8 where that loses at most 0.3 points
  macro_f1, ece         of the same; ece in 15 bins of equal width
  int8_accuracy         with int8 rows, head fitted on int8 rows: equal to accuracy where int8 is served
  fp32_accuracy         with fp32 rows, head fitted on fp32 rows; only with --fp32, which encodes everything once more
  int8_p50_ms           median time of one text alone, encoded in int8 and classified, in milliseconds
  oos_auroc             how well the out-of-scope score tells the test texts from those of --oos
  in_scope_refused      share of test texts below the threshold; the threshold is set on training texts for the share
                        that --set false_refusals=… states (5 %), or where --oos-valid is given, where the fewest of
                        both kinds are on the wrong side
  oos_recall            share of the texts of --oos below the threshold
  fit_seconds           encoding the training texts and fitting, all in, with the encoder loaded (of all folds together)
  samples_per_second    training texts a second: of the tuning, or of all of a head's fit
  trainable_parameters  weights that learnt
  total_parameters      all weights of what learnt: of the head alone, or of tuned encoder and head

--known-share 0.5 measures near texts out of scope: so large a share of the labels, drawn anew --draws times, is known
and learnt from their rows of --train; the rows of --test under other labels are one more class, unknown. No text out
of scope is learnt. The threshold is set on texts of the known labels for 12 % of them, unless --set false_refusals=…
states another share: near unknowns ask for a stricter threshold than texts of other domains do. Then accuracy and
macro_f1 are of the known labels alone, all figures are means over the draws, and

  open_set_accuracy     share of test rows that are labelled right: with their label, or refused where it is unknown
  open_set_spread       standard deviation of that over the draws
  oos_auroc, oos_recall, in_scope_refused as above, with the unknown labels' rows as texts out of scope
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import CommandError

from lepton_app.benchmarks._classifiers import Encoded, Fitted, Trainer
from lepton_app.benchmarks._inputs import encoder_directory, read_labelled, read_lines, read_smp2019, rounded
from lepton_app.learning.calibration import stratified_folds
from lepton_app.learning.config import METHODS, TrainingConfig, configured, parsed
from lepton_app.learning.datasets import Part
from lepton_app.learning.errors import LearningError
from lepton_app.learning.metrics import accuracy, auroc, expected_calibration_error, macro_f1
from lepton_app.learning.scope import best_threshold
from lepton_app.lib.text_runtime import Precision

SMP_FOLDS = 5
SMP_LEAST_ROWS = 5
OPEN_SET_REFUSALS = "0.12"
Progress = Callable[[str], None]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files, the method with its options, and the seed."""
    parser.add_argument("--train", type=Path, metavar="CSV", help="texts to fit on, columns text,category")
    parser.add_argument("--test", type=Path, metavar="CSV", help="texts to measure on, columns text,category")
    parser.add_argument("--smp2019", type=Path, metavar="FILE", help="SMP 2019 JSON, instead of --train and --test")
    parser.add_argument("--oos", type=Path, metavar="TXT", help="out-of-scope texts to measure on, one a line")
    parser.add_argument("--oos-valid", type=Path, metavar="TXT", help="out-of-scope texts that place the threshold")
    parser.add_argument("--known-share", type=float, metavar="SHARE", help="share of the labels that is known, 0 to 1")
    parser.add_argument("--draws", type=int, default=10, metavar="N", help="draws of known labels (default 10)")
    trainable = [method for method in METHODS if method != "pretrain"]
    parser.add_argument("--method", choices=trainable, default="head", help="how to train (default head)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the training")
    parser.add_argument("--fp32", action="store_true", help="measure fp32_accuracy as well")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides every split (default 0)")


@dataclass
class Outcome:
    """What the test texts of one or more fits came to; texts of no known label are expected to be ``None``."""

    expected: list[str | None] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    in_scope: list[bool] = field(default_factory=list)

    def add(self, fitted: Fitted, texts: Sequence[str], labels: Sequence[str | None]) -> None:
        """Ask the classifier for each text."""
        predictions = fitted.predict(texts)
        self.expected.extend(labels)
        self.predicted.extend(prediction.labels[0] for prediction in predictions)
        self.confidences.extend(prediction.probabilities[0] for prediction in predictions)
        self.scores.extend(prediction.scope_score for prediction in predictions)
        self.in_scope.extend(prediction.in_scope for prediction in predictions)

    def figures(self) -> dict[str, float]:
        """Return the figures of the texts with a known label, those of refusing, and those of both together."""
        known = np.array([label is not None for label in self.expected])
        truths = [label for label in self.expected if label is not None]
        said = [label for label, counts in zip(self.predicted, known, strict=True) if counts]
        right = np.array([one == other for one, other in zip(said, truths, strict=True)])
        scores, accepted = np.array(self.scores), np.array(self.in_scope)
        figures = {
            "accuracy": accuracy(truths, said),
            "macro_f1": macro_f1(truths, said),
            "ece": expected_calibration_error(np.array(self.confidences)[known], right),
            "in_scope_refused": 1 - float(accepted[known].mean()),
        }
        if not known.all():
            figures["oos_auroc"] = auroc(scores[known], scores[~known])
            figures["oos_recall"] = 1 - float(accepted[~known].mean())
            labelled = int((right & accepted[known]).sum()) + int((~accepted[~known]).sum())
            figures["open_set_accuracy"] = labelled / len(known)
        return figures


def run(options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Measure and return the figures that the module's first lines name."""
    config = _checked(options)
    measure = _smp2019 if options["smp2019"] else _files if options["known_share"] is None else _open_set
    served: Precision = settings.LEPTON_ENCODER_PRECISION
    encoded = Encoded(encoder_directory(progress), served)
    encoded.encoder.warm_up()
    with Trainer(config, encoded, progress) as trainer:
        figures = measure(options, trainer, progress)
    return rounded({**figures, "method": config.method}, digits=5)


def _checked(options: dict[str, Any]) -> TrainingConfig:
    files = ("train", "test", "oos", "oos_valid", "known_share")
    if options["smp2019"] and any(options[name] is not None for name in files):
        raise CommandError(
            "--smp2019 brings its own texts: leave out --train, --test, --oos, --oos-valid and --known-share."
        )
    if not options["smp2019"] and not (options["train"] and options["test"]):
        raise CommandError("Give both --train and --test, or --smp2019.")
    if options["oos_valid"] and not options["oos"]:
        raise CommandError("--oos-valid places the threshold for the texts of --oos: give --oos as well.")
    usual: dict[str, str] = {}
    if options["known_share"] is not None:
        if options["oos"] or options["fp32"]:
            raise CommandError("--known-share takes its unknown texts from --test: leave out --oos and --fp32.")
        if not 0 < options["known_share"] < 1 or options["draws"] < 1:
            raise CommandError("--known-share lies between 0 and 1, and --draws is at least 1.")
        usual["false_refusals"] = OPEN_SET_REFUSALS
    try:
        return configured(options["method"], usual | {"seed": str(options["seed"])} | parsed(options["set"]))
    except LearningError as error:
        raise CommandError(str(error)) from error


def _files(options: dict[str, Any], trainer: Trainer, progress: Progress) -> dict[str, Any]:
    learnt, test = _read(options)
    outside = read_lines(options["oos"]) if options["oos"] else []
    valid = read_lines(options["oos_valid"]) if options["oos_valid"] else []
    fitted = trainer.fit(learnt)
    if valid:
        fitted = fitted.with_threshold(best_threshold(fitted.classifier.scope, fitted.scope_scores(valid)))
    progress(f"labelling {len(test) + len(outside)} texts")
    outcome = Outcome()
    outcome.add(fitted, test.texts, test.labels)
    outcome.add(fitted, outside, [None] * len(outside))
    figures: dict[str, Any] = outcome.figures()
    figures.pop("open_set_accuracy", None)  # of a mixture that nobody asked for
    figures |= fitted.figures | _of_precisions(fitted, [(fitted, test)], options, progress)
    figures |= {"train_texts": len(learnt), "test_texts": len(test), "labels": len(fitted.classifier.labels)}
    return figures


def _smp2019(options: dict[str, Any], trainer: Trainer, progress: Progress) -> dict[str, Any]:
    texts, labels = read_smp2019(options["smp2019"], least_rows=SMP_LEAST_ROWS)
    every = Part(tuple(texts), tuple(labels))
    fold_of = stratified_folds(texts, labels, folds=SMP_FOLDS, seed=options["seed"])
    outcome = Outcome()
    pairs: list[tuple[Fitted, Part]] = []
    for fold in range(SMP_FOLDS):
        fitted, held = trainer.fit(_chosen(every, fold_of != fold)), _chosen(every, fold_of == fold)
        outcome.add(fitted, held.texts, held.labels)
        pairs.append((fitted, held))
        progress(f"fold {fold + 1} of {SMP_FOLDS}: accuracy so far {outcome.figures()['accuracy']:.4f}")
    figures: dict[str, Any] = {
        **outcome.figures(),
        **pairs[0][0].figures,
        **_of_precisions(pairs[0][0], pairs, options, progress),
        "fit_seconds": sum(fitted.figures["fit_seconds"] for fitted, _ in pairs),
    }
    return {**figures, "texts": len(texts), "labels": len(set(labels)), "folds": SMP_FOLDS}


def _open_set(options: dict[str, Any], trainer: Trainer, progress: Progress) -> dict[str, Any]:
    learnt, test = _read(options)
    labels = sorted(set(learnt.labels))
    number = round(options["known_share"] * len(labels))
    if not 2 <= number < len(labels):
        raise CommandError(
            f"{options['known_share']} of {len(labels)} labels are {number} known ones; at least 2 must be known and "
            "one unknown."
        )
    found: list[dict[str, Any]] = []
    for draw in range(options["draws"]):
        generator = np.random.default_rng([options["seed"], draw])
        known = set(generator.choice(labels, number, replace=False).tolist())
        fitted = trainer.fit(_chosen(learnt, [label in known for label in learnt.labels]))
        outcome = Outcome()
        outcome.add(fitted, test.texts, [label if label in known else None for label in test.labels])
        found.append({**outcome.figures(), **fitted.figures})
        so_far = float(np.mean([figures["open_set_accuracy"] for figures in found]))
        progress(f"draw {draw + 1} of {options['draws']}: open-set accuracy so far {so_far:.4f}")
    means: dict[str, Any] = {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}
    spread = float(np.std([figures["open_set_accuracy"] for figures in found]))
    return {
        **means,
        "open_set_spread": spread,
        "known_labels": number,
        "labels": len(labels),
        "draws": options["draws"],
        "false_refusals": trainer.config.false_refusals,
        "test_texts": len(test),
    }


def _of_precisions(
    fitted: Fitted, pairs: Sequence[tuple[Fitted, Part]], options: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Return the accuracy over all pairs of classifier and test part at each precision, and the latency in int8."""

    def accuracy_at(precision: Precision) -> float:
        outcome = Outcome()
        for one, part in pairs:
            progress(f"fitting on {precision} rows")
            outcome.add(one.at(precision), part.texts, part.labels)
        return outcome.figures()["accuracy"]

    served = fitted.encoded.precision
    about: dict[str, Any] = {"precision": served}
    wanted: tuple[Precision, ...] = ("int8", "fp32") if options["fp32"] else ("int8",)
    for precision in wanted:
        about[f"{precision}_accuracy"] = accuracy_at(precision)
    about["int8_p50_ms"] = fitted.at("int8").p50_ms(pairs[0][1].texts)
    return about


def _read(options: dict[str, Any]) -> tuple[Part, Part]:
    learnt = Part(*map(tuple, read_labelled(options["train"])))
    test = Part(*map(tuple, read_labelled(options["test"])))
    if len(set(learnt.labels)) < 2:
        raise CommandError(
            f"{options['train']}: all {len(learnt)} texts have the label {learnt.labels[0]!r}. A classifier needs at "
            "least two labels."
        )
    strangers = sorted(set(test.labels) - set(learnt.labels))
    if strangers:
        raise CommandError(
            f"{options['test']} has {len(strangers)} labels that {options['train']} has not, such as "
            f"{strangers[0]!r}. Both files must name labels in the same way."
        )
    return learnt, test


def _chosen(part: Part, stays: Sequence[bool]) -> Part:
    return Part(
        tuple(text for text, stay in zip(part.texts, stays, strict=True) if stay),
        tuple(label for label, stay in zip(part.labels, stays, strict=True) if stay),
    )
