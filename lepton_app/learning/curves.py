"""How the accuracy grows with the number of labelled texts: whether labelling more of them would help."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning.datasets import Part
from lepton_app.learning.features import Floats
from lepton_app.learning.figures import CurvePoint
from lepton_app.learning.linear import LinearConfig, fit_linear

SHARES = (0.1, 0.25, 0.5, 1.0)
DRAWS = 3
# Below this a tenth is a handful of texts, and the curve is noise.
LEAST_TRAINING, LEAST_HOLDOUT = 50, 20


def learning_curve(
    train: Part,
    train_rows: Floats,
    holdout: Part,
    holdout_rows: Floats,
    *,
    shares: Sequence[float] = SHARES,
    draws: int = DRAWS,
    whole: float | None = None,
    seed: int = 0,
    config: LinearConfig | None = None,
) -> list[CurvePoint]:
    """Return the accuracy on the hold-out after learning from shares of the training texts; rising shares.

    The linear head alone learns from fewer texts, on the rows ``(n, d) float32`` of one encoder: where that was tuned,
    it was tuned on all of the training texts, and the beginning of the curve is higher than it would have been. Each
    share is drawn ``draws`` times, stratified, every label keeping at least one text; the whole is one draw. Too few
    texts on either side give no curve. ``whole`` is the accuracy after learning from all of them, where it is known.
    """
    if len(train) != len(train_rows) or len(holdout) != len(holdout_rows):
        raise ValueError("A learning curve needs a row for each text.")
    if len(train) < LEAST_TRAINING or len(holdout) < LEAST_HOLDOUT or len(set(train.labels)) < 2:
        return []
    config = config or LinearConfig()
    # Neither temperature nor neighbours matter here: the least of both that a fit makes.
    cheap = LinearConfig(
        inverse_regularisation=config.inverse_regularisation,
        weights=config.weights,
        folds=2,
        cross_fit_rows=0,
        most_neighbour_rows=1,
        least_texts=3,
        tolerance=1e-3,
        iterations=60,
    )
    generator = np.random.default_rng(seed)
    points = []
    for share in sorted(shares):
        accuracies, rows = [], len(train)
        if share == 1 and whole is not None:
            points.append(CurvePoint(share=1.0, rows=rows, mean=whole, low=whole, high=whole, draws=[whole]))
            continue
        for _ in range(draws if share < 1 else 1):
            chosen = draw(train.labels, share, generator)
            rows = len(chosen)
            fitted = fit_linear(
                [train.texts[row] for row in chosen.tolist()],
                [train.labels[row] for row in chosen.tolist()],
                train_rows[chosen],
                encoder_version="curve",
                config=cheap,
            )
            said = fitted.probabilities(holdout.texts, holdout_rows).argmax(axis=1).tolist()
            right = [fitted.labels[at] == truth for at, truth in zip(said, holdout.labels, strict=True)]
            accuracies.append(round(float(np.mean(right)), 6))
        points.append(
            CurvePoint(
                share=share,
                rows=rows,
                mean=round(float(np.mean(accuracies)), 6),
                low=min(accuracies),
                high=max(accuracies),
                draws=accuracies,
            )
        )
    return points


def draw(labels: Sequence[str], share: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the places of about ``share`` of each label's texts, rising; at least one of each label.

    >>> draw(["a"] * 4 + ["b"], 0.5, np.random.default_rng(0)).tolist()
    [2, 3, 4]
    """
    if not 0 < share <= 1:
        raise ValueError(f"A share lies above 0 and up to 1; it is {share}.")
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows_of[label].append(row)
    chosen = [
        generator.choice(rows, max(1, round(share * len(rows))), replace=False) for _, rows in sorted(rows_of.items())
    ]
    return np.sort(np.concatenate(chosen))
