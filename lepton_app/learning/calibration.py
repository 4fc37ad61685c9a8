"""Hold-outs that no text straddles, and the temperature that makes probabilities mean what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning.texts import normalise

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0


def stratified_folds(texts: Sequence[str], labels: Sequence[str], *, folds: int, seed: int) -> NDArray[np.int32]:
    """Return the fold of each row, ``(n,) int32`` from 0 to ``folds - 1``, or -1.

    All rows of one normalised text are in one fold, whatever their labels. The rows of a label are spread evenly over
    the folds; the only text of a label is in fold -1, which belongs to every training side and to no hold-out.

    >>> stratified_folds(["a", "b", "A ", "c"], ["x", "x", "x", "y"], folds=2, seed=1).tolist()
    [0, 1, 0, -1]
    """
    if folds < 2:
        raise ValueError(f"A split needs at least 2 folds; it has {folds}.")
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        rows_of[normalise(text)].append(row)
    texts_of: dict[str, list[list[int]]] = defaultdict(list)
    for rows in rows_of.values():
        texts_of[labels[rows[0]]].append(rows)
    generator = np.random.default_rng(seed)
    fold_of = np.full(len(texts), -1, dtype=np.int32)
    start = 0  # where the last label stopped: small labels do not all fill fold 0
    for label in sorted(texts_of):
        groups = texts_of[label]
        if len(groups) < 2:
            continue
        for place, group in enumerate(generator.permutation(len(groups)).tolist()):
            fold_of[groups[group]] = (start + place) % folds
        start += len(groups)
    return fold_of


def softmax(logits: NDArray[np.floating[Any]], *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities ``(n, k) float64`` of logits ``(n, k)``; rows sum to 1.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def fit_temperature(logits: NDArray[np.floating[Any]], targets: NDArray[np.integer[Any]]) -> float:
    """Return the temperature, from 0.05 to 20, under which the targets are most likely (Guo et al. 2017).

    ``logits`` is ``(n, k)`` from rows that the model was not fitted on, ``targets`` ``(n,)`` are columns. The negative
    log-likelihood is convex in the inverse temperature, so that a golden-section search finds its one minimum. Without
    rows the answer is 1.
    """
    if not len(targets):
        return 1.0
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(targets))

    def loss(logarithm: float) -> float:
        scaled = np.asarray(logits, dtype=np.float64) / np.exp(logarithm)
        top = scaled.max(axis=1)
        return float((np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - scaled[rows, targets]).mean())

    bounds = (np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x))
