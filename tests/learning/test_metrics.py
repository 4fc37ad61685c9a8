from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from lepton_app.learning.metrics import accuracy, auroc, expected_calibration_error, macro_f1

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=60)
SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(PAIRS)
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    expected, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert accuracy(expected, predicted) == pytest.approx(accuracy_score(expected, predicted))
    reference = f1_score(expected, predicted, average="macro", zero_division=0)
    assert macro_f1(expected, predicted) == pytest.approx(reference)


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
        auroc(np.array([]), np.array([1.0]))
