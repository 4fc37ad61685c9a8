"""How good predictions are: accuracy with its interval, F1 per label, confusion, calibration, the ROC curve's area."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning.figures import Bin, Cell, ClassFigures, Pair

ECE_BINS = 15
# The standard normal's quantile for an interval of 95 %.
_Z_95 = 1.959963984540054
# Probabilities below this count as this: one text must not make the mean infinite.
_LEAST_PROBABILITY = 1e-6


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
    return float(np.mean([figures["f1"] for figures in class_figures(expected, predicted)]))


def weighted_f1(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean F1 over the labels, each weighted by its expected rows.

    >>> weighted_f1(["a", "a", "a", "b"], ["a", "a", "b", "b"])
    0.7666666666666667
    """
    figures = class_figures(expected, predicted)
    return sum(one["f1"] * one["support"] for one in figures) / len(expected)


def class_figures(expected: Sequence[str], predicted: Sequence[str]) -> list[ClassFigures]:
    """Return precision, recall, F1 and support of each label that occurs on either side, by name.

    A share of nothing is 0. Raises ``ValueError`` for no rows or for unequal numbers.

    >>> class_figures(["a", "a", "b"], ["a", "b", "b"])[0]
    {'label': 'a', 'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666, 'support': 2}
    """
    _check(expected, predicted)
    support, given = Counter(expected), Counter(predicted)
    hits = Counter(label for label, said in zip(expected, predicted, strict=True) if label == said)
    return [
        ClassFigures(
            label=label,
            precision=hits[label] / given[label] if given[label] else 0.0,
            recall=hits[label] / support[label] if support[label] else 0.0,
            f1=2 * hits[label] / (support[label] + given[label]),
            support=support[label],
        )
        for label in sorted(support | given)
    ]


def confusion(expected: Sequence[str], predicted: Sequence[str]) -> list[Cell]:
    """Return the cells of the confusion matrix that are not empty, by truth and then by what was said.

    >>> confusion(["a", "a", "b"], ["a", "b", "b"])[1]
    {'truth': 'a', 'said': 'b', 'count': 1}
    """
    counts = Counter(zip(expected, predicted, strict=True))
    return [Cell(truth=truth, said=said, count=counts[truth, said]) for truth, said in sorted(counts)]


def confused_pairs(expected: Sequence[str], predicted: Sequence[str]) -> list[Pair]:
    """Return the pairs of labels that are taken for each other, most often first.

    The first label of a pair is the one that loses more texts.

    >>> confused_pairs(["a", "b", "b", "c"], ["b", "a", "a", "c"])
    [{'first': 'b', 'second': 'a', 'there': 2, 'back': 1}]
    """
    counts = Counter(pair for pair in zip(expected, predicted, strict=True) if pair[0] != pair[1])
    pairs = []
    for first, second in sorted({(min(pair), max(pair)) for pair in counts}):
        there, back = counts[first, second], counts[second, first]
        if there >= back:
            pairs.append(Pair(first=first, second=second, there=there, back=back))
        else:
            pairs.append(Pair(first=second, second=first, there=back, back=there))
    return sorted(pairs, key=lambda pair: (-pair["there"] - pair["back"], pair["first"], pair["second"]))


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """Return the bounds of a share of ``hits`` among ``rows`` with 95 % confidence (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson(93, 100)]
    [0.863, 0.966]
    """
    if not 0 <= hits <= rows or rows < 1:
        raise ValueError(f"A share needs rows, and no more hits than rows; these are {hits} of {rows}.")
    share, square = hits / rows, _Z_95**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = _Z_95 / (1 + square / rows) * (share * (1 - share) / rows + square / (4 * rows**2)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)


def log_loss(probabilities: Sequence[float]) -> float:
    """Return the mean negative logarithm of the truth's probabilities, in nats; each counts as at least 1e-6.

    >>> log_loss([1.0, 1.0])
    0.0
    """
    if not len(probabilities):
        raise ValueError("The log loss needs at least one probability.")
    return abs(float(-np.log(np.maximum(probabilities, _LEAST_PROBABILITY)).mean()))


def unscaled_confidence(probabilities: Sequence[float], temperature: float) -> float:
    """Return the largest probability as it was before the logits were divided by ``temperature``.

    >>> round(unscaled_confidence([0.6, 0.4], 2.0), 4)
    0.6923
    """
    logarithms = temperature * np.log(np.maximum(probabilities, 1e-300))
    return float(1 / np.exp(logarithms - logarithms.max()).sum())


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
    found = np.asarray(confidences, np.float64)
    gaps = np.bincount(_bin_of(found, bins), weights=found - correct, minlength=bins)  # (bins,)
    return round(float(np.abs(gaps).sum() / len(confidences)), 12)


def bins_of(confidences: NDArray[np.floating[Any]], correct: NDArray[np.bool_], *, bins: int) -> list[Bin]:
    """Return the rows, those that are right and the mean confidence of each of ``bins`` bins of equal width.

    Bins without rows stand there as well. ``confidences`` and ``correct`` are ``(n,)``; n may be 0.

    >>> bins_of(np.array([0.9, 0.8]), np.array([True, False]), bins=2)[1]
    {'low': 0.5, 'high': 1.0, 'rows': 2, 'right': 1, 'confidence': 0.85}
    """
    place = _bin_of(np.asarray(confidences, np.float64), bins)
    rows = np.bincount(place, minlength=bins)
    right = np.bincount(place, weights=correct, minlength=bins)
    sums = np.bincount(place, weights=confidences, minlength=bins)
    return [
        Bin(
            low=round(at / bins, 6),
            high=round((at + 1) / bins, 6),
            rows=int(rows[at]),
            right=int(right[at]),
            confidence=round(float(sums[at] / rows[at]), 6) if rows[at] else None,
        )
        for at in range(bins)
    ]


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


def _bin_of(confidences: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Return the bin of each confidence: a bin holds what lies above its lower and up to its upper bound."""
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)


def _check(left: Sequence[Any] | NDArray[Any], right: Sequence[Any] | NDArray[Any]) -> None:
    if len(left) != len(right) or not len(left):
        raise ValueError(f"Metrics need as many predictions as expectations, at least one: {len(left)}, {len(right)}.")
