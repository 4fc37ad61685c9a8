"""Measure a model on texts that it never saw, and keep the report as an artifact.

``evaluate`` makes the report of any ``predict``; ``measure`` that of a loaded model, with its latency and its sizes;
``save_report`` publishes it as ``report.json`` and as one HTML page, ``load_report`` reads it. What a report holds is
in ``figures``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning import metrics
from lepton_app.learning.classifier import Prediction
from lepton_app.learning.curves import LEAST_HOLDOUT, LEAST_TRAINING, learning_curve
from lepton_app.learning.datasets import Dataset, Part, Point
from lepton_app.learning.figures import (
    Accepted,
    CurvePoint,
    HistoryPoint,
    Latency,
    Mistake,
    Outcome,
    Parity,
    Quality,
    Report,
    ScopeFigures,
    Sizes,
)
from lepton_app.learning.linear import LinearConfig
from lepton_app.learning.model import Model
from lepton_app.learning.report_page import render
from lepton_app.learning.texts import normalise
from lepton_app.lib import artifacts
from lepton_app.lib.redaction import redact
from lepton_app.lib.text_runtime import MODEL_FILES

KIND = "report"
# 1: the first.
FORMAT_VERSION = 1
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
CARD_FILE = "README.md"

MOST_MISTAKES = 1000
MOST_PAIRS = 50
MOST_ACCEPTED = 200
HISTOGRAM_BINS = 20
_CHUNK_TEXTS = 1000  # all labels of each text are held in memory for so many texts at once

# Of a training's figures, those that say what was measured.
_ABOUT_TRAINING = ("trainable_parameters", "total_parameters", "fit_seconds")

Predict = Callable[[Sequence[str]], list[Prediction]]


def digest(text: str) -> str:
    """Return the identity of a text in reports and gates: the sha256 of the normalised text, in hex."""
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()


def evaluate(
    predict: Predict,
    part: Part,
    *,
    unknown: Sequence[str] = (),
    labels: Sequence[str] = (),
    temperature: float = 1.0,
    about: Mapping[str, Any] | None = None,
    latency: Latency | None = None,
    sizes: Sizes | None = None,
    parity: Parity | None = None,
    curve: Sequence[CurvePoint] = (),
    history: Sequence[HistoryPoint] = (),
) -> Report:
    """Return the report of ``predict`` on a hold-out and on texts that are ``unknown``: of none of the labels.

    Personal data are masked in what the report quotes, as they are in the parts of a snapshot. ``labels`` are those of
    the model, which is to say more than those of the hold-out; ``temperature`` is the one by which its probabilities
    were scaled, so that the calibration error without it can be told. The rest is passed on. An empty hold-out gives
    figures of None.
    """
    inside = _ask(predict, part.texts, part.labels, temperature)
    outside = _ask(predict, unknown, [""] * len(unknown), temperature)
    truths = [outcome["truth"] for outcome in inside.outcomes]
    answers = [outcome["said"] for outcome in inside.outcomes]
    confidences = np.array([outcome["confidence"] for outcome in inside.outcomes], dtype=np.float64)
    right = np.array([said == truth for said, truth in zip(answers, truths, strict=True)], dtype=bool)
    mistakes = _mistakes(part.texts, inside.outcomes)
    return Report(
        format=FORMAT_VERSION,
        about=dict(about or {}),
        labels=sorted({*labels, *truths, *answers}),
        quality=_quality(inside, truths, answers, confidences, right),
        classes=metrics.class_figures(truths, answers) if truths else [],
        confusion=metrics.confusion(truths, answers),
        pairs=metrics.confused_pairs(truths, answers)[:MOST_PAIRS],
        histogram=metrics.bins_of(confidences, right, bins=HISTOGRAM_BINS),
        reliability=metrics.bins_of(confidences, right, bins=metrics.ECE_BINS),
        mistakes=mistakes[:MOST_MISTAKES],
        mistakes_in_all=len(mistakes),
        scope=_scope(unknown, inside, outside) if unknown else None,
        latency=latency,
        sizes=sizes,
        parity=parity,
        curve=list(curve),
        history=list(history),
        outcomes=[*inside.outcomes, *outside.outcomes],
    )


def measure(
    model: Model,
    dataset: Dataset,
    *,
    artifact: Path,
    figures: Mapping[str, Any] | None = None,
    history: Sequence[HistoryPoint] = (),
    about: Mapping[str, Any] | None = None,
) -> Report:
    """Return the report of a loaded model on the hold-out of its dataset, with its latency and its sizes.

    ``artifact`` is the classifier's folder. ``figures`` are those of the training (``Trained.figures``): of them the
    parity of the exported model stands in the report. The learning curve is drawn on the rows of the model's encoder.
    ``about`` says what was measured; the rows of each side are added.
    """
    timed = dataset.holdout.texts or dataset.validation.texts or dataset.train.texts
    said_of = {
        "training_rows": len(dataset.train),
        "validation_rows": len(dataset.validation),
        "holdout_rows": len(dataset.holdout),
        "encoder": model.service.encoder.version,
        **{name: figures[name] for name in _ABOUT_TRAINING if figures and figures.get(name) is not None},
    }
    report = evaluate(
        model.predict_sync,
        dataset.holdout,
        unknown=dataset.unknown_holdout,
        labels=model.classifier.labels,
        temperature=model.classifier.temperature,
        about={**said_of, **(about or {})},
        latency=measure_latency(model.predict_sync, timed) if timed else None,
        sizes=sizes_of(model, artifact),
        parity=parity_of(figures or {}),
        history=history,
    )
    report["curve"] = curve_of(model, dataset, whole=report["quality"]["accuracy"])
    return report


def curve_of(model: Model, dataset: Dataset, *, whole: float | None) -> list[CurvePoint]:
    """Return the learning curve of a model's encoder, up to ``whole``, the accuracy of the model itself."""
    learnt = dataset.train + dataset.validation
    if len(learnt) < LEAST_TRAINING or len(dataset.holdout) < LEAST_HOLDOUT:
        return []
    classifier = model.classifier
    regularisation = classifier.meta.get("inverse_regularisation", LinearConfig.inverse_regularisation)
    return learning_curve(
        learnt,
        model.service.encode_sync(learnt.texts),
        dataset.holdout,
        model.service.encode_sync(dataset.holdout.texts),
        whole=whole,
        config=LinearConfig(inverse_regularisation=regularisation, weights=classifier.weights),
    )


def measure_latency(predict: Predict, texts: Sequence[str], *, seconds: float = 1.5, calls: int = 300) -> Latency:
    """Return how long one text takes alone, and how many texts a second are answered together.

    Texts are asked one by one for at most ``seconds`` and at most ``calls`` times, and then up to 512 at once. The
    figures are of this machine and of what else it does meanwhile. Raises ``ValueError`` without texts.
    """
    if not texts:
        raise ValueError("Latency is measured on at least one text.")
    for text in texts[:3]:  # the first calls load weights and fill caches
        predict([text])
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < calls and (not took or time.perf_counter() < end):
        began = time.perf_counter()
        predict([texts[len(took) % len(texts)]])
        took.append((time.perf_counter() - began) * 1000)
    together = texts[:512]
    began = time.perf_counter()
    predict(together)
    rate = len(together) / max(time.perf_counter() - began, 1e-9)
    p50, p99 = np.percentile(took, [50, 99]).tolist()
    return Latency(p50_ms=round(p50, 3), p99_ms=round(p99, 3), texts_per_second=round(rate, 1), calls=len(took))


def sizes_of(model: Model, artifact: Path) -> Sizes:
    """Return how many bytes serving loads for a model: its classifier, and its encoder in the served precision.

    ``artifact`` is the classifier's folder. Raises the errors of ``artifacts``.
    """
    encoder = model.service.encoder
    stated = artifacts.peek(encoder.directory).files[MODEL_FILES[encoder.precision]]["bytes"]
    return Sizes(
        classifier_bytes=sum(int(file["bytes"]) for file in artifacts.peek(artifact).files.values()),
        encoder_bytes=int(stated),
        owns_encoder=model.owns_encoder,
    )


def parity_of(figures: Mapping[str, Any]) -> Parity | None:
    """Pick the figures of the exported model beside the trained one out of a training's; None where there are none."""
    known = {name: figures[name] for name in Parity.__annotations__ if figures.get(name) is not None}
    return cast(Parity, known) or None


def history_of(points: Sequence[Point]) -> list[HistoryPoint]:
    """Return a run's curves as a report holds them."""
    return [cast(HistoryPoint, asdict(point)) for point in points]


def headline(report: Report) -> dict[str, float | int | None]:
    """Return the figures that stand for the report in a row of a table: one flat level, None left in.

    They are the figures of ``quality`` without its rows, ``holdout_rows``, those of the texts of no label
    (``oos_auroc``, ``oos_recall``, ``oos_rows``), ``p50_ms``, ``p99_ms``, ``texts_per_second`` and ``bytes``.
    """
    quality = dict(report["quality"])
    found: dict[str, Any] = {"holdout_rows": quality.pop("rows"), **quality}
    scope, latency, sizes = report["scope"], report["latency"], report["sizes"]
    if scope is not None:
        found |= {"oos_rows": scope["rows"], "oos_auroc": scope["auroc"], "oos_recall": scope["recall"]}
    if latency is not None:
        found |= {name: value for name, value in latency.items() if name != "calls"}
    if sizes is not None:
        found["bytes"] = sizes["classifier_bytes"] + sizes["encoder_bytes"]
    return found


def save_report(report: Report, root: Path, *, card: str = "") -> Path:
    """Publish the report under ``root`` as JSON and as one page in the active language; return the artifact's folder.

    ``card`` is a model card in Markdown to lie beside them. Raises ``OSError`` with nothing published, and
    ``ValueError`` for figures that JSON cannot hold.
    """

    def write(folder: Path) -> None:
        text = json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1)
        (folder / REPORT_FILE).write_text(text, encoding="utf-8", errors="surrogatepass")
        (folder / PAGE_FILE).write_text(render(report), encoding="utf-8", errors="replace")
        if card:
            (folder / CARD_FILE).write_text(card, encoding="utf-8", errors="replace")

    return artifacts.publish(root, kind=KIND, format_version=FORMAT_VERSION, meta=headline(report), write=write)


def load_report(path: Path) -> Report:
    """Verify and read the report in the folder ``path``; raises the errors of ``artifacts``."""
    artifacts.load(path, kind=KIND, format_version=FORMAT_VERSION)
    try:
        raw = (path / REPORT_FILE).read_text(encoding="utf-8", errors="surrogatepass")
        return cast(Report, json.loads(raw))
    except (OSError, ValueError) as error:
        raise artifacts.ArtifactCorrupt(f"{path} holds no report that can be read: {error}") from error


@dataclass(frozen=True)
class _Answers:
    """What was said of some texts, one entry each: outcomes, confidences before scaling, and scope scores."""

    outcomes: list[Outcome]
    unscaled: list[float]
    scores: list[float]


def _ask(predict: Predict, texts: Sequence[str], truths: Sequence[str], temperature: float) -> _Answers:
    answers = _Answers([], [], [])
    for start in range(0, len(texts), _CHUNK_TEXTS):
        chunk = texts[start : start + _CHUNK_TEXTS]
        for text, truth, said in zip(chunk, truths[start : start + _CHUNK_TEXTS], predict(chunk), strict=True):
            answers.outcomes.append(outcome(text, truth, said))
            answers.unscaled.append(metrics.unscaled_confidence(said.probabilities, temperature))
            answers.scores.append(said.scope_score)
    return answers


def outcomes_of(predict: Predict, asked: Sequence[tuple[str, str]]) -> tuple[Outcome, ...]:
    """Return what ``predict`` says of texts, each with its label, or with "" where it has none."""
    return tuple(_ask(predict, [text for text, _ in asked], [truth for _, truth in asked], 1.0).outcomes)


def outcome(text: str, truth: str, said: Prediction) -> Outcome:
    """Return what one prediction says of a text; ``truth`` is empty for a text of no label."""
    at = said.labels.index(truth) if truth in said.labels else None
    return Outcome(
        digest=digest(text),
        truth=truth,
        said=said.labels[0],
        confidence=round(said.probabilities[0], 6),
        probability=round(said.probabilities[at], 6) if at is not None else 0.0,
        in_scope=said.in_scope,
    )


def _quality(
    inside: _Answers,
    truths: Sequence[str],
    answers: Sequence[str],
    confidences: NDArray[np.float64],
    right: NDArray[np.bool_],
) -> Quality:
    if not truths:
        nothing = dict.fromkeys(Quality.__annotations__)
        return cast(Quality, {**nothing, "rows": 0})
    low, high = metrics.wilson(int(right.sum()), len(truths))
    return Quality(
        rows=len(truths),
        accuracy=round(float(right.mean()), 6),
        accuracy_low=round(low, 6),
        accuracy_high=round(high, 6),
        macro_f1=round(metrics.macro_f1(truths, answers), 6),
        weighted_f1=round(metrics.weighted_f1(truths, answers), 6),
        ece=round(metrics.expected_calibration_error(confidences, right), 6),
        ece_unscaled=round(metrics.expected_calibration_error(np.array(inside.unscaled), right), 6),
        log_loss=round(metrics.log_loss([outcome["probability"] for outcome in inside.outcomes]), 6),
        in_scope_refused=round(float(np.mean([not outcome["in_scope"] for outcome in inside.outcomes])), 6),
    )


def _mistakes(texts: Sequence[str], outcomes: Sequence[Outcome]) -> list[Mistake]:
    """Return what was called something else, the surest first."""
    wrong = [
        Mistake(
            text=redact(text),
            truth=found["truth"],
            said=found["said"],
            confidence=found["confidence"],
            probability=found["probability"],
        )
        for text, found in zip(texts, outcomes, strict=True)
        if found["said"] != found["truth"]
    ]
    return sorted(wrong, key=lambda mistake: -mistake["confidence"])


def _scope(unknown: Sequence[str], inside: _Answers, outside: _Answers) -> ScopeFigures:
    accepted = [
        Accepted(text=redact(text), said=found["said"], confidence=found["confidence"])
        for text, found in zip(unknown, outside.outcomes, strict=True)
        if found["in_scope"]
    ]
    auroc = metrics.auroc(np.array(inside.scores), np.array(outside.scores)) if inside.scores else None
    return ScopeFigures(
        rows=len(unknown),
        auroc=round(auroc, 6) if auroc is not None else None,
        recall=round(1 - len(accepted) / len(unknown), 6),
        false_accepts=len(accepted),
        accepted=sorted(accepted, key=lambda found: -found["confidence"])[:MOST_ACCEPTED],
    )
