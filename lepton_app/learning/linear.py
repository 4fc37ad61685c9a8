"""Fitting the linear classifier: multinomial logistic regression on embeddings joined with character n-grams.

The steps of ``fit_linear``:

1. collect the n-grams, make the rows;
2. fit on the training side of hold-outs, split by normalised text and stratified by label, and find the temperature
   under which the held-out labels are most likely;
3. fit on all rows, from nothing like each fit before: no fit knows of the rows that it is judged by;
4. keep the rows as neighbours for the out-of-scope score, and find its scale on the held-out texts; where texts that
   belong to no label are given, place the threshold between both.

A tuned encoder knows the texts that it was tuned on by heart: they are surer and lie closer together than any text to
come. ``unseen`` names those that it was not tuned on, and these alone are held out.

The embeddings must be of the precision that will be served: a head fitted on fp32 rows loses a point on int8 rows.
The optimiser is L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5) in float32. It is written out here
because a fit that keeps the dense part dense and the sparse part sparse takes a tenth of the time that scikit-learn's
takes on the joined sparse matrix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lepton_app.learning.calibration import fit_temperature, stratified_folds
from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.errors import NothingToLearn
from lepton_app.learning.features import Floats, Ngrams, Weights
from lepton_app.learning.scope import THRESHOLD, best_threshold, fit_scope
from lepton_app.learning.texts import normalise

Progress = Callable[[str], None]
_LEAST_GAIN = 1e-6  # of the loss
# Fewer unseen texts than this say too little about a temperature and a threshold.
LEAST_UNSEEN = 40
# Fewer texts than this that belong to no label do not move the threshold from the stated share of refusals.
LEAST_OUTSIDE = 20


@dataclass(frozen=True)
class LinearConfig:
    """How the classifier is fitted. The defaults were chosen by cross-validation within training data."""

    inverse_regularisation: float = 20.0
    """The C of logistic regression: larger fits the rows more closely. Above 0."""
    weights: Weights = field(default_factory=Weights)
    """How much embedding and n-grams count in each script."""
    least_texts: int = 2
    """N-grams of fewer texts than this are left out."""
    folds: int = 5
    """One of these parts of the rows is held out for the temperature; at least 2."""
    cross_fit_rows: int = 3000
    """Up to so many rows every part is held out in turn, because one part alone would be too few."""
    false_refusals: float = 0.05
    """The share of genuine texts that may be called out of scope, from 0 to below 0.5."""
    neighbours: int = 5
    """Training rows that make up the out-of-scope score."""
    most_neighbour_rows: int = 20_000
    """Training rows of each language that are kept as neighbours."""
    tolerance: float = 1e-4
    """The fit stops when no part of the gradient of the mean loss is larger than this. A smaller one costs accuracy as
    well as time: in five folds of BANKING77's training texts 1e-4 gave .926 and 3e-5 gave .925."""
    iterations: int = 300
    """The fit stops after so many steps at the latest."""
    seed: int = 0
    """Decides the split and which neighbours are kept."""

    def __post_init__(self) -> None:
        """Refuse values out of range with ``ValueError``."""
        if self.inverse_regularisation <= 0 or not 0 <= self.false_refusals < 0.5:
            raise ValueError("inverse_regularisation must be above 0, and false_refusals from 0 to below 0.5.")
        if min(self.least_texts, self.neighbours, self.most_neighbour_rows, self.iterations) < 1 or self.folds < 2:
            raise ValueError("least_texts, neighbours, most_neighbour_rows and iterations start at 1, folds at 2.")


def fit_linear(
    texts: Sequence[str],
    labels: Sequence[str],
    embeddings: Floats,
    *,
    encoder_version: str,
    config: LinearConfig | None = None,
    unseen: NDArray[np.bool_] | None = None,
    out_of_scope: tuple[Sequence[str], Floats] = ((), np.empty((0, 0), dtype=np.float32)),
    progress: Progress = lambda _: None,
) -> LinearClassifier:
    """Return a classifier fitted on labelled texts.

    ``embeddings`` is ``(n, d) float32``, the unit rows of the texts from the encoder named by ``encoder_version``
    (``TextEncoder.version``), in the precision that will be served. The same text may stand there several times, and
    under several labels: its probability is then shared among them.

    ``unseen`` is ``(n,)``, True for texts that the encoder was not tuned on; None says that it was tuned on none. With
    fewer than 40 of them the hold-outs are taken from all texts, and the classifier is surer of itself than it should
    be. ``out_of_scope`` holds texts that belong to no label with their rows; from 20 on they help to place the
    threshold. Raises ``NothingToLearn`` for no rows or a single label, and ``ValueError`` when the arguments do not
    belong together.
    """
    config = config or LinearConfig()
    if len(texts) != len(labels) or embeddings.ndim != 2 or len(embeddings) != len(texts):
        raise ValueError(f"{len(texts)} texts have {len(labels)} labels and embeddings {embeddings.shape}.")
    if len(out_of_scope[0]) != len(out_of_scope[1]) or (unseen is not None and unseen.shape != (len(texts),)):
        raise ValueError("Each text needs its mark in unseen, and each text out of scope its row.")
    names = sorted(set(labels))
    if len(names) < 2:
        what = f"all {len(labels)} texts have the label {names[0]!r}" if names else "there are no labelled texts"
        raise NothingToLearn(f"A classifier needs at least two labels: {what}. Label texts of another one.")
    column_of = {name: column for column, name in enumerate(names)}
    targets = np.array([column_of[label] for label in labels])
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    progress(f"collecting n-grams of {len(texts)} texts")
    ngrams = Ngrams.learn(texts, targets=targets, least_texts=config.least_texts)
    sparse = ngrams.matrix(texts)
    rows = _Rows.join(texts, embeddings, sparse, config.weights)

    judged = np.zeros(len(texts), dtype=bool)
    logits = np.zeros((len(texts), len(names)), dtype=np.float32)
    for number, held in enumerate(_hold_outs(texts, labels, unseen, config)):
        progress(f"fitting without hold-out {number + 1}")
        rest = np.setdiff1d(np.arange(len(texts)), held)
        held = held[np.isin(targets[held], targets[rest])]  # what was never learnt cannot be judged
        if len(held):
            logits[held] = rows.take(held).logits(_fit(rows.take(rest), targets[rest], len(names), config))
            judged[held] = True
    temperature = fit_temperature(logits[judged], targets[judged])
    progress(f"fitting on all {len(texts)} texts")
    parameters = _fit(rows, targets, len(names), config)
    logits[~judged] = rows.take(np.flatnonzero(~judged)).logits(parameters)
    progress("keeping neighbours for the out-of-scope score")
    scope = fit_scope(
        texts,
        targets,
        embeddings,
        sparse,
        logits,
        judged=judged,
        false_refusals=config.false_refusals,
        neighbours=config.neighbours,
        most_rows=config.most_neighbour_rows,
        seed=config.seed,
    )
    d = embeddings.shape[1]
    classifier = LinearClassifier(
        labels=tuple(names),
        ngrams=ngrams,
        weights=config.weights,
        dense_weights=parameters[:d].copy(),
        ngram_weights=parameters[d:-1].copy(),
        bias=parameters[-1].copy(),
        temperature=temperature,
        scope=scope,
        threshold=THRESHOLD,
        encoder_version=encoder_version,
        version="",
        meta={
            "texts": len(texts),
            "different_texts": len({normalise(text) for text in texts}),
            "contradictory_texts": _contradictory(texts, labels),
            "held_out": int(judged.sum()),
            "held_out_accuracy": float(np.mean(logits[judged].argmax(axis=1) == targets[judged]))
            if judged.any()
            else None,
            "false_refusals": config.false_refusals,
            "inverse_regularisation": config.inverse_regularisation,
            "out_of_scope_texts": len(out_of_scope[0]),
        },
    )
    if len(out_of_scope[0]) < LEAST_OUTSIDE:
        return classifier
    return replace(classifier, threshold=best_threshold(scope, classifier.scope_scores(*out_of_scope)))


def fit_dense(
    rows: Floats, targets: NDArray[np.int64], labels: int, *, config: LinearConfig | None = None
) -> tuple[Floats, Floats]:
    """Return weights ``(k, d)`` and bias ``(k,)`` of logistic regression on rows ``(n, d)`` alone, without n-grams.

    ``targets`` are columns from 0 to ``labels - 1``, one a row.
    """
    nothing = sp.csr_matrix((len(rows), 0), dtype=np.float32)
    parameters = _fit(_Rows(np.ascontiguousarray(rows), nothing), targets, labels, config or LinearConfig())
    return np.ascontiguousarray(parameters[:-1].T), parameters[-1].copy()


def _hold_outs(
    texts: Sequence[str], labels: Sequence[str], unseen: NDArray[np.bool_] | None, config: LinearConfig
) -> list[NDArray[np.int64]]:
    """Return the rows of each hold-out: the unseen ones, or parts of all, split by text."""
    if unseen is not None and int(unseen.sum()) >= LEAST_UNSEEN:
        learnt = {normalise(text) for text, new in zip(texts, unseen.tolist(), strict=True) if not new}
        return [np.array([row for row in np.flatnonzero(unseen).tolist() if normalise(texts[row]) not in learnt], int)]
    fold_of = stratified_folds(texts, labels, folds=config.folds, seed=config.seed)
    parts = range(config.folds if len(texts) <= config.cross_fit_rows else 1)
    return [np.flatnonzero(fold_of == part) for part in parts]


@dataclass(frozen=True)
class _Rows:
    """Weighted features, dense and sparse apart: ``(n, d)``, ``(n, v)``; the last parameter row is the bias."""

    dense: Floats
    sparse: sp.csr_matrix

    @classmethod
    def join(cls, texts: Sequence[str], embeddings: Floats, sparse: sp.csr_matrix, weights: Weights) -> _Rows:
        scale = np.array([weights.of(text) for text in texts], dtype=np.float32)  # (n, 2)
        return cls(embeddings * scale[:, :1], sp.diags_array(scale[:, 1]).dot(sparse).tocsr().astype(np.float32))

    @property
    def width(self) -> int:
        return int(self.dense.shape[1] + self.sparse.shape[1] + 1)

    def take(self, rows: NDArray[np.int64]) -> _Rows:
        return _Rows(self.dense[rows], self.sparse[rows])

    def logits(self, parameters: Floats) -> Floats:
        """Return ``(n, k) float32``."""
        d = self.dense.shape[1]
        logits: Floats = self.dense @ parameters[:d]
        logits += self.sparse @ parameters[d:-1]
        logits += parameters[-1]
        return logits

    def gradient(self, errors: Floats) -> Floats:
        """Return the parameters' gradient for errors ``(n, k)`` at the logits: ``(d + v + 1, k) float32``."""
        parts = (self.dense.T @ errors, self.sparse.T @ errors, errors.sum(axis=0, keepdims=True))
        return np.concatenate(parts, dtype=np.float32)


def _fit(rows: _Rows, targets: NDArray[np.int64], labels: int, config: LinearConfig) -> Floats:
    """Minimise the mean cross-entropy plus ``|W|^2 / (2 C n)``, the bias left free, as scikit-learn states it."""
    start = np.zeros((rows.width, labels), dtype=np.float32)
    number = len(targets)
    every = np.arange(number)
    penalty = np.float32(1 / (config.inverse_regularisation * number))

    def loss(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(start.shape)
        logits = rows.logits(parameters)
        logits -= logits.max(axis=1, keepdims=True)
        picked = logits[every, targets].sum(dtype=np.float64)
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1, keepdims=True)
        value = (float(np.log(sums).sum(dtype=np.float64)) - float(picked)) / number
        logits /= sums  # probabilities
        logits[every, targets] -= 1
        logits /= number  # the errors at the logits
        gradient = rows.gradient(logits)
        gradient[:-1] += penalty * parameters[:-1]
        squares = float(np.vdot(parameters[:-1], parameters[:-1]))
        return value + 0.5 * float(penalty) * squares, gradient.ravel()

    return minimise(loss, start.ravel(), tolerance=config.tolerance, iterations=config.iterations).reshape(start.shape)


def minimise(
    loss: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    *,
    tolerance: float,
    iterations: int,
    memory: int = 10,
) -> Floats:
    """Return the point where a smooth convex function is least, by L-BFGS with backtracking.

    ``loss`` returns the value and the gradient. Stops when the largest part of the gradient is at most ``tolerance``,
    after ``iterations`` steps, or when a step gains so little that float32 can hardly tell.
    """
    point = start.astype(np.float32)
    value, gradient = loss(point)
    history: deque[tuple[Floats, Floats, float]] = deque(maxlen=memory)
    for _ in range(iterations):
        if float(np.abs(gradient).max(initial=0.0)) <= tolerance:
            break
        direction = _direction(gradient, history)
        slope = float(np.vdot(gradient, direction))
        step = 1.0 if history else min(1.0, 1.0 / float(np.linalg.norm(gradient)))
        for _ in range(25):
            candidate = point + np.float32(step) * direction
            new_value, new_gradient = loss(candidate)
            if new_value <= value + 1e-4 * step * slope:
                break
            step *= 0.5
        else:
            break
        gain = value - new_value
        moved, change = candidate - point, new_gradient - gradient
        curvature = float(np.vdot(moved, change))
        if curvature > 1e-12:
            history.append((moved, change, 1 / curvature))
        point, value, gradient = candidate, new_value, new_gradient
        if gain <= _LEAST_GAIN * abs(value):
            break
    return point


def _direction(gradient: Floats, history: deque[tuple[Floats, Floats, float]]) -> Floats:
    """Return the descent direction of the two-loop recursion."""
    direction = -gradient
    alphas = []
    for moved, change, inverse in reversed(history):
        alpha = inverse * float(np.vdot(moved, direction))
        alphas.append(alpha)
        direction -= np.float32(alpha) * change
    if history:
        moved, change, inverse = history[-1]
        direction *= np.float32(1 / (inverse * float(np.vdot(change, change))))
    for (moved, change, inverse), alpha in zip(history, reversed(alphas), strict=True):
        beta = inverse * float(np.vdot(change, direction))
        direction += np.float32(alpha - beta) * moved
    return direction


def _contradictory(texts: Sequence[str], labels: Sequence[str]) -> int:
    """Count the different texts that stand under more than one label."""
    found: dict[str, set[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        found.setdefault(normalise(text), set()).add(label)
    return sum(len(names) > 1 for names in found.values())
