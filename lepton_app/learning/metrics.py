"""How good predictions are: accuracy, macro-F1, expected calibration error, and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15


def accuracy(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of labels that agree, from 0 to 1; raises ``ValueError`` for none or for unequal numbers.

    >>> accuracy(["a", "b", "b"], ["a", "b", "a"])
    0.6666666666666666
    """
    _check(expected, predicted)
    return sum(map(str.__eq__, expected, predicted)) / len(expected)


def macro_f1(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean over the labels that occur on either side of ``2 tp / (2 tp + fp + fn)``.

    >>> macro_f1(["a", "a", "b"], ["a", "b", "b"])
    0.6666666666666666
    """
    _check(expected, predicted)
    scores = []
    for label in sorted({*expected, *predicted}):
        hits = sum(e == label and p == label for e, p in zip(expected, predicted, strict=True))
        scores.append(2 * hits / (sum(e == label for e in expected) + sum(p == label for p in predicted)))
    return float(np.mean(scores))


def expected_calibration_error(
    confidences: NDArray[np.floating[Any]], correct: NDArray[np.bool_], *, bins: int = ECE_BINS
) -> float:
    """Return the mean distance of confidence and accuracy over bins of equal width, weighted by their rows.

    ``confidences`` is the probability of the predicted label, ``(n,)`` from 0 to 1; a bin holds what lies above its
    lower and up to its upper bound (Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3).

    >>> expected_calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([True, True, True, False]), bins=10)
    0.1
    """
    _check(confidences, correct)
    bin_of = np.clip(np.ceil(np.asarray(confidences, np.float64) * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=np.asarray(confidences, np.float64) - correct, minlength=bins)  # (bins,)
    return round(float(np.abs(gaps).sum() / len(confidences)), 12)


def auroc(inside: NDArray[np.floating[Any]], outside: NDArray[np.floating[Any]]) -> float:
    """Return the probability that a score drawn from ``inside`` is above one from ``outside``; ties count half.

    >>> auroc(np.array([3.0, 2.0]), np.array([2.0, 1.0]))
    0.875
    """
    if not len(inside) or not len(outside):
        raise ValueError("The area under the curve needs scores on both sides.")
    _, codes, counts = np.unique(np.concatenate([inside, outside]), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each distinct score, from 1
    total = float(ranks[codes[: len(inside)]].sum())
    return (total - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))


def _check(left: Sequence[Any] | NDArray[Any], right: Sequence[Any] | NDArray[Any]) -> None:
    if len(left) != len(right) or not len(left):
        raise ValueError(f"Metrics need as many predictions as expectations, at least one: {len(left)}, {len(right)}.")
