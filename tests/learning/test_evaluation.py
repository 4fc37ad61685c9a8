from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from lepton_app.learning import evaluation
from lepton_app.learning.classifier import LinearClassifier, Prediction
from lepton_app.learning.curves import draw, learning_curve
from lepton_app.learning.datasets import Dataset, Part, Point
from lepton_app.learning.evaluation import evaluate, headline, history_of, load_report, measure, save_report
from lepton_app.learning.figures import Report
from lepton_app.learning.linear import fit_linear
from lepton_app.learning.model import load_model
from lepton_app.lib import artifacts
from tests.learning.test_linear import LABELS, TEXTS, embed
from tests.learning.toys import TEXTS as TOY_TEXTS
from tests.learning.toys import damage, installation, publish_classifier


@pytest.fixture(scope="module")
def classifier() -> LinearClassifier:
    return fit_linear(TEXTS[::2], LABELS[::2], embed(TEXTS[::2]), encoder_version="toy-1")


_NAMES = sorted(set(LABELS))
# Some are labelled wrongly: a classifier that makes no mistakes would show nothing.
HOLDOUT = Part(
    tuple(TEXTS[1::2]),
    tuple(
        _NAMES[(_NAMES.index(label) + 1 + at % 2) % len(_NAMES)] if at % 5 == 0 else label
        for at, label in enumerate(LABELS[1::2])
    ),
)
UNKNOWN = ("what is the weather in Paris", "play some jazz", "a dozen eggs")


def report_of(classifier: LinearClassifier, part: Part = HOLDOUT, **known: Any) -> Report:
    return evaluate(
        lambda texts: classifier.predict(texts, embed(list(texts))),
        part,
        labels=classifier.labels,
        temperature=classifier.temperature,
        **known,
    )


def said(label: str, *, confidence: float = 0.8, in_scope: bool = True, score: float = 1.0) -> Prediction:
    other = "b" if label == "a" else "a"
    return Prediction((label, other), (confidence, 1 - confidence), score, in_scope)


def test_a_report_agrees_with_scikit_learn(classifier: LinearClassifier) -> None:
    report = report_of(classifier)
    predicted = [one.labels[0] for one in classifier.predict(HOLDOUT.texts, embed(list(HOLDOUT.texts)))]
    probabilities = classifier.probabilities(HOLDOUT.texts, embed(list(HOLDOUT.texts)))
    names = sorted({*HOLDOUT.labels, *predicted})
    precision, recall, f1, support = precision_recall_fscore_support(
        HOLDOUT.labels, predicted, labels=names, zero_division=0
    )
    assert [one["label"] for one in report["classes"]] == names
    for key, values in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        assert [one[key] for one in report["classes"]] == pytest.approx(list(values)), key  # type: ignore[literal-required]
    quality = report["quality"]
    assert quality["macro_f1"] == pytest.approx(float(np.mean(f1)), abs=1e-6)
    assert quality["weighted_f1"] == pytest.approx(float(np.average(f1, weights=support)), abs=1e-6)
    of_truth = [row[classifier.labels.index(label)] for row, label in zip(probabilities, HOLDOUT.labels, strict=True)]
    assert quality["log_loss"] == pytest.approx(-np.log(np.maximum(of_truth, 1e-6)).mean(), abs=1e-4)
    matrix = np.zeros((len(names), len(names)), dtype=int)
    for cell in report["confusion"]:
        matrix[names.index(cell["truth"]), names.index(cell["said"])] = cell["count"]
    assert matrix.tolist() == confusion_matrix(HOLDOUT.labels, predicted, labels=names).tolist()


def test_the_parts_of_a_report_agree_with_each_other(classifier: LinearClassifier) -> None:
    report = report_of(classifier, unknown=UNKNOWN)
    quality = report["quality"]
    rows = quality["rows"]
    assert rows == len(HOLDOUT) == sum(cell["count"] for cell in report["confusion"])
    assert rows == sum(one["rows"] for one in report["histogram"]) == sum(one["rows"] for one in report["reliability"])
    wrong = sum(cell["count"] for cell in report["confusion"] if cell["truth"] != cell["said"])
    assert quality["accuracy"] == pytest.approx(1 - wrong / rows, abs=1e-6)
    low, middle, high = quality["accuracy_low"], quality["accuracy"], quality["accuracy_high"]
    assert low is not None
    assert middle is not None
    assert high is not None
    assert low < middle < high
    assert wrong > 3
    assert report["mistakes_in_all"] == wrong == sum(pair["there"] + pair["back"] for pair in report["pairs"])
    gaps = [abs(one["confidence"] * one["rows"] - one["right"]) for one in report["reliability"] if one["confidence"]]
    assert quality["ece"] == pytest.approx(sum(gaps) / rows, abs=1e-5)
    assert [one["truth"] for one in report["outcomes"]] == [*HOLDOUT.labels, *[""] * len(UNKNOWN)]
    assert report["outcomes"][0]["digest"] == evaluation.digest(HOLDOUT.texts[0])
    json.dumps(report, allow_nan=False)


def test_figures_worked_by_hand() -> None:
    answers = {"one": said("a", confidence=0.9), "two": said("b", confidence=0.7), "three": said("a", confidence=0.6)}
    part = Part(("one", "two", "three"), ("a", "a", "b"))
    report = evaluate(lambda texts: [answers[text] for text in texts], part)
    quality = report["quality"]
    assert quality["accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    assert quality["log_loss"] == pytest.approx(-np.log([0.9, 0.3, 0.4]).mean(), abs=1e-6)
    assert quality["ece"] == pytest.approx((0.1 + 0.7 + 0.6) / 3, abs=1e-6)
    assert [mistake["text"] for mistake in report["mistakes"]] == ["two", "three"]  # the surest first
    assert report["mistakes"][0]["probability"] == pytest.approx(0.3)
    assert report["pairs"] == [{"first": "a", "second": "b", "there": 1, "back": 1}]
    assert report["scope"] is None


def test_texts_of_no_label_are_measured_apart() -> None:
    answers = {
        "in": said("a", score=2.0),
        "in refused": said("a", in_scope=False, score=0.5),
        "out": said("b", in_scope=False, score=-1.0),
        "out answered": said("b", score=1.0, confidence=0.99),
    }
    report = evaluate(
        lambda texts: [answers[text] for text in texts],
        Part(("in", "in refused"), ("a", "a")),
        unknown=("out", "out answered"),
    )
    assert report["quality"]["in_scope_refused"] == 0.5
    assert report["quality"]["rows"] == 2
    scope = report["scope"]
    assert scope is not None
    assert (scope["rows"], scope["recall"], scope["false_accepts"], scope["auroc"]) == (2, 0.5, 1, 0.75)
    assert scope["accepted"] == [{"text": "out answered", "said": "b", "confidence": 0.99}]


def test_a_label_that_the_model_does_not_know_is_always_wrong() -> None:
    report = evaluate(lambda texts: [said("a") for _ in texts], Part(("x", "y"), ("a", "new")), labels=("a", "b"))
    assert report["quality"]["accuracy"] == 0.5
    assert report["labels"] == ["a", "b", "new"]
    assert report["outcomes"][1]["probability"] == 0.0


def test_calibration_is_told_before_and_after_the_temperature(classifier: LinearClassifier) -> None:
    hot = replace(classifier, temperature=classifier.temperature * 4)
    plain = replace(classifier, temperature=1.0)
    assert report_of(hot)["quality"]["ece_unscaled"] == report_of(plain)["quality"]["ece"]
    assert report_of(hot)["quality"]["ece"] != report_of(plain)["quality"]["ece"]


def test_personal_data_never_stand_in_a_report() -> None:
    text = "my card 4111 1111 1111 1111 was charged, write to li.wei@example.com"
    report = evaluate(lambda texts: [said("b") for _ in texts], Part((text,), ("a",)), unknown=(text,))
    assert report["mistakes"][0]["text"] == "my card [card] was charged, write to [email]"
    assert "4111" not in json.dumps(report)
    assert "li.wei" not in json.dumps(report)


def test_an_empty_hold_out_gives_no_figures() -> None:
    report = evaluate(lambda texts: [said("a") for _ in texts], Part(), labels=("a", "b"))
    quality = dict(report["quality"])
    assert quality.pop("rows") == 0
    assert set(quality.values()) == {None}
    assert (report["classes"], report["confusion"], report["mistakes"]) == ([], [], [])
    assert headline(report)["accuracy"] is None


def test_mistakes_are_limited_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MOST_MISTAKES", 3)
    part = Part(tuple(f"text {number}" for number in range(10)), ("a",) * 10)
    report = evaluate(lambda texts: [said("b") for _ in texts], part)
    assert (len(report["mistakes"]), report["mistakes_in_all"]) == (3, 10)


def test_many_labels_and_texts_are_measured_in_little_time() -> None:
    labels = tuple(f"label_{number:03}" for number in range(200))
    truths = tuple(labels[number % 200] for number in range(6000))
    texts = tuple(f"text {number}" for number in range(6000))
    flat = tuple(np.full(200, 1 / 200).tolist())

    def predict(asked: Sequence[str]) -> list[Prediction]:
        assert len(asked) <= 1000
        return [Prediction(labels, flat, 1.0, in_scope=True) for _ in asked]

    report = evaluate(predict, Part(texts, truths))
    assert report["quality"]["accuracy"] == 30 / 6000
    assert len(report["confusion"]) == 200  # of 40,000 cells, those that are not empty


def test_a_report_is_published_and_read_again(classifier: LinearClassifier, tmp_path: Path) -> None:
    report = report_of(classifier, unknown=UNKNOWN, about={"task": "intent", "run": 3})
    path = save_report(report, tmp_path, card="# A card\n")
    assert load_report(path) == report
    assert artifacts.load(path, kind="report", format_version=1).meta["accuracy"] == report["quality"]["accuracy"]
    assert "<!DOCTYPE html>" in (path / evaluation.PAGE_FILE).read_text(encoding="utf-8")
    assert (path / evaluation.CARD_FILE).read_text() == "# A card\n"
    damage(path / evaluation.REPORT_FILE)
    with pytest.raises(artifacts.ArtifactCorrupt):
        load_report(path)


def test_a_report_that_cannot_be_written_leaves_nothing(
    classifier: LinearClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        raise OSError(28, "No space left on device")

    report = report_of(classifier)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        save_report(report, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_latency_is_of_single_texts_and_of_many() -> None:
    asked: list[int] = []

    def predict(texts: Sequence[str]) -> list[Prediction]:
        asked.append(len(texts))
        return [said("a") for _ in texts]

    latency = evaluation.measure_latency(predict, [f"text {number}" for number in range(600)], calls=20)
    assert latency["calls"] == 20
    assert asked == [1] * 23 + [512]
    assert 0 <= latency["p50_ms"] <= latency["p99_ms"]
    with pytest.raises(ValueError, match="at least one text"):
        evaluation.measure_latency(predict, [])


def test_a_loaded_model_is_measured_with_its_costs(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root in installation(tmp_path, settings, monkeypatch):
        artifact = publish_classifier(root, next(root.glob("encoder-*")))
        model = load_model(root, artifact.name)
        texts = tuple(f"{text} {number}" for group in TOY_TEXTS.values() for text in group for number in range(12))
        labels = tuple(label for label, group in TOY_TEXTS.items() for _ in group for _ in range(12))
        dataset = Dataset(
            train=Part(texts[::2], labels[::2]), holdout=Part(texts[1::2], labels[1::2]), unknown_holdout=("fee fee",)
        )
        report = measure(
            model,
            dataset,
            artifact=artifact,
            figures={"int8_accuracy": 0.9, "fp32_accuracy": 0.91, "served_precision": "int8", "fit_seconds": 3.5},
            history=history_of([Point(1, 0.1, 2.0, 1e-4), Point(2, 0.2, 1.5, 1e-4, 1.4, 0.8)]),
            about={"run": 4},
        )
        assert report["about"]["run"] == 4
        assert report["about"]["training_rows"] == 60
        assert report["about"]["fit_seconds"] == 3.5
        assert report["parity"] == {"served_precision": "int8", "fp32_accuracy": 0.91, "int8_accuracy": 0.9}
        assert report["sizes"] is not None
        on_disk = sum(file.stat().st_size for file in artifact.iterdir() if file.name != "manifest.json")
        assert report["sizes"]["classifier_bytes"] == on_disk
        assert report["sizes"]["owns_encoder"] is False
        assert [point["share"] for point in report["curve"]] == [0.1, 0.25, 0.5, 1.0]
        assert report["curve"][-1]["mean"] == report["quality"]["accuracy"]
        assert report["history"][1]["accuracy"] == 0.8
        flat = headline(report)
        assert flat["holdout_rows"] == 60
        assert flat["oos_rows"] == 1
        assert flat["bytes"] == on_disk + report["sizes"]["encoder_bytes"]
        model.close()


def test_more_texts_make_a_better_head() -> None:
    train, held = slice(0, None, 2), slice(1, None, 2)
    texts, labels = tuple(TEXTS), tuple(LABELS)
    points = learning_curve(
        Part(texts[train], labels[train]),
        embed(list(texts[train])),
        Part(texts[held], labels[held]),
        embed(list(texts[held])),
        shares=(0.1, 1.0),
    )
    assert [point["rows"] for point in points] == sorted(point["rows"] for point in points)
    assert [len(point["draws"]) for point in points] == [3, 1]
    for point in points:
        assert point["low"] <= point["mean"] <= point["high"]
        assert point["mean"] == pytest.approx(np.mean(point["draws"]), abs=1e-5)
    assert points[0]["mean"] < points[1]["mean"]


def test_a_curve_of_too_few_texts_is_none() -> None:
    few = Part(tuple("abcdef"), tuple("xyxyxy"))
    assert learning_curve(few, np.zeros((6, 4), np.float32), few, np.zeros((6, 4), np.float32)) == []
    with pytest.raises(ValueError, match="a row for each text"):
        learning_curve(few, np.zeros((5, 4), np.float32), few, np.zeros((6, 4), np.float32))


def test_a_draw_keeps_every_label_and_its_share() -> None:
    labels = ["a"] * 100 + ["b"] * 40 + ["c"]
    chosen = draw(labels, 0.25, np.random.default_rng(3)).tolist()
    assert [sum(labels[at] == label for at in chosen) for label in "abc"] == [25, 10, 1]
    assert len(set(chosen)) == len(chosen)
    with pytest.raises(ValueError, match="above 0"):
        draw(labels, 0.0, np.random.default_rng(3))
