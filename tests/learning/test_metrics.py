from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from lepton_app.learning.calibration import softmax
from lepton_app.learning.metrics import (
    accuracy,
    auroc,
    bins_of,
    class_figures,
    confused_pairs,
    confusion,
    expected_calibration_error,
    log_loss,
    macro_f1,
    unscaled_confidence,
    weighted_f1,
    wilson,
)

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=60)
SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(PAIRS)
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    expected, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert accuracy(expected, predicted) == pytest.approx(accuracy_score(expected, predicted))
    reference = f1_score(expected, predicted, average="macro", zero_division=0)
    assert macro_f1(expected, predicted) == pytest.approx(reference)
    reference = f1_score(expected, predicted, average="weighted", zero_division=0)
    assert weighted_f1(expected, predicted) == pytest.approx(reference)


@given(PAIRS)
def test_confusion_pairs_and_label_figures_count_the_same_texts(pairs: list[tuple[str, str]]) -> None:
    expected, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    cells = confusion(expected, predicted)
    assert sum(cell["count"] for cell in cells) == len(pairs)
    assert all(cell["count"] > 0 for cell in cells)
    beside = sum(cell["count"] for cell in cells if cell["truth"] != cell["said"])
    confused = confused_pairs(expected, predicted)
    assert sum(pair["there"] + pair["back"] for pair in confused) == beside
    assert all(pair["there"] >= pair["back"] for pair in confused)
    sizes = [pair["there"] + pair["back"] for pair in confused]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(one["support"] for one in class_figures(expected, predicted)) == len(pairs)


@given(st.integers(1, 300).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_the_interval_of_a_share_is_wilsons(counts: tuple[int, int]) -> None:
    hits, rows = counts
    reference = binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits, rows) == pytest.approx((reference.low, reference.high), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40), st.integers(1, 20))
def test_bins_hold_every_row_once(rows: list[tuple[float, bool]], bins: int) -> None:
    confidences = np.array([row[0] for row in rows], dtype=np.float64)
    correct = np.array([row[1] for row in rows], dtype=bool)
    found = bins_of(confidences, correct, bins=bins)
    assert len(found) == bins
    assert sum(one["rows"] for one in found) == len(rows)
    assert sum(one["right"] for one in found) == int(correct.sum())
    for one in found:
        if one["confidence"] is not None:
            assert one["low"] - 1e-6 <= one["confidence"] <= one["high"] + 1e-6
        else:
            assert one["rows"] == 0


def test_the_confidence_before_the_temperature_is_found_again() -> None:
    logits = np.array([[2.0, 0.5, -1.0], [0.1, 0.0, 0.3]])
    plain = softmax(logits).max(axis=1)
    for temperature in (0.3, 1.0, 4.0):
        scaled = softmax(logits, temperature=temperature)
        found = [unscaled_confidence(row.tolist(), temperature) for row in scaled]
        assert found == pytest.approx(plain.tolist())
    assert unscaled_confidence([1.0, 0.0], 2.0) == pytest.approx(1.0)


def test_one_text_of_no_probability_does_not_make_the_loss_infinite() -> None:
    assert log_loss([0.0]) == pytest.approx(-np.log(1e-6))


@given(SCORES, SCORES)
def test_auroc_is_that_of_scikit_learn(inside: list[float], outside: list[float]) -> None:
    reference = roc_auc_score([1] * len(inside) + [0] * len(outside), inside + outside)
    assert auroc(np.array(inside), np.array(outside)) == pytest.approx(reference)


def test_calibration_error_with_numbers_worked_by_hand() -> None:
    confidences = np.array([1.0, 0.95, 0.35, 0.34, 0.02])
    correct = np.array([True, False, True, False, False])
    # 15 bins: {1.0, 0.95} in the last, {0.35, 0.34} in the sixth, {0.02} in the first
    by_hand = (2 / 5) * abs(0.975 - 0.5) + (2 / 5) * abs(0.345 - 0.5) + (1 / 5) * abs(0.02 - 0)
    assert expected_calibration_error(confidences, correct) == pytest.approx(by_hand)


def test_calibration_error_puts_a_bound_into_the_lower_bin() -> None:
    confidences, correct = np.array([0.5, 0.51]), np.array([True, False])
    assert expected_calibration_error(confidences, correct, bins=2) == pytest.approx(0.5 * 0.5 + 0.5 * 0.51)


def test_perfect_confidence_has_no_error() -> None:
    assert expected_calibration_error(np.ones(4), np.ones(4, dtype=bool)) == 0.0


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError):
        accuracy([], [])
    with pytest.raises(ValueError):
        macro_f1(["a"], [])
    with pytest.raises(ValueError):
        class_figures([], [])
    with pytest.raises(ValueError):
        log_loss([])
    with pytest.raises(ValueError):
        wilson(3, 2)
    with pytest.raises(ValueError):
        auroc(np.array([]), np.array([1.0]))
