"""Statistics of two models on the same texts: whether one is better than the other, and by how much. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

RESAMPLES = 1000
_SEED = 0  # the same evidence gives the same interval


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided probability that chance splits the texts that only one of the models has right like this.

    ``gained`` texts only the first has right, ``lost`` only the second. It is McNemar's test (1947) in its exact form,
    a binomial with even odds, for any number of texts: the chi-squared form approximates it.

    >>> mcnemar(0, 6), mcnemar(6, 0), mcnemar(3, 3), mcnemar(0, 0)
    (0.03125, 0.03125, 1.0, 1.0)
    """
    if min(gained, lost) < 0:
        raise ValueError(f"Numbers of texts are not negative; these are {gained} and {lost}.")
    return min(2 * float(bdtr(min(gained, lost), gained + lost, 0.5)), 1.0)


def better_than_share(hits: int, rows: int, share: float) -> float:
    """Return the probability of at least so many ``hits`` of ``rows`` where each is one with probability ``share``.

    >>> better_than_share(5, 5, 0.5)
    0.03125
    """
    if not 0 <= hits <= rows or not 0 <= share <= 1:
        raise ValueError(f"There are no {hits} hits of {rows} with a share of {share}.")
    return float(bdtrc(hits - 1, rows, share)) if hits else 1.0


def difference_interval(gained: int, lost: int, rows: int) -> tuple[float, float]:
    """Return the bounds, with 95 % confidence, of the first model's accuracy less the second's.

    They are the quantiles of resampled texts (paired bootstrap; Efron and Tibshirani 1993). Drawing texts with
    replacement is drawing how many of the three kinds there are: gained, lost, and all the others.

    >>> difference_interval(0, 0, 50)
    (0.0, 0.0)
    """
    if rows < 1 or gained + lost > rows or min(gained, lost) < 0:
        raise ValueError(f"{gained} gained and {lost} lost texts are not among {rows}.")
    shares = [gained / rows, lost / rows, (rows - gained - lost) / rows]
    drawn = np.random.default_rng(_SEED).multinomial(rows, shares, size=RESAMPLES)
    return _bounds((drawn[:, 0] - drawn[:, 1]) / rows)


def resampled_interval(
    difference: Callable[[NDArray[np.int64]], float], rows: int, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the bounds, with 95 % confidence, of a difference between two models that is no mean over texts.

    ``difference`` gets the places of resampled texts, ``(rows,) int64``, and returns the figure of the first model
    less that of the second on them.

    >>> resampled_interval(lambda places: 0.25, 10)
    (0.25, 0.25)
    """
    if rows < 1:
        raise ValueError("An interval needs at least one text.")
    generator = np.random.default_rng(_SEED)
    return _bounds(np.array([difference(generator.integers(0, rows, rows)) for _ in range(resamples)]))


def _bounds(differences: NDArray[np.floating[Any]]) -> tuple[float, float]:
    low, high = np.quantile(differences, [0.025, 0.975]).tolist()
    return low, high
