"""Join the dense and the lexical score of a passage into one that is no worse than the better of them.

Two things decide how much each counts:

- **The query.** The lexical score is taken as a share of the highest that this query could reach: a passage that
  holds all of the question's rare words gets close to 1, and one that shares a common word gets next to nothing. So
  where words decide, lexical search moves much, and where the question is paraphrased, it moves little. Reciprocal
  ranks or a division by the best score found would promote the best of a bad lot.
- **The language.** Whether the encoder reads a language at all is measured on the indexed passages themselves, when
  the index is built: sentences taken from the passages are searched for by either arm (`lexical_weight`). An English
  encoder finds few Chinese passages again, and then the lexical side alone decides; for a language that the encoder
  reads, the lexical weight is a fixed prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

# Lexical weight in a language that the encoder reads: between the .2 that served StackFAQ best and the .3 that served
# BankFAQ best, so that figures on these two sets are no independent proof of it.
PRIOR_LEXICAL_WEIGHT = 0.25
# Share of the lexical arm's own mean reciprocal rank that an encoder must reach to count as a reader, and below which
# it counts as blind. Measured: MiniLM about 1.0 on English, .3 on Chinese.
READS_FROM = 0.8
BLIND_BELOW = 0.6


@dataclass(frozen=True, slots=True)
class Trust:
    """What each arm is worth in one language; mean reciprocal ranks in [0, 1], measured on ``queries`` probes."""

    lexical_weight: float
    dense_mrr: float
    lexical_mrr: float
    queries: int

    @property
    def reads(self) -> bool:
        """Whether the encoder can be relied on in this language."""
        return self.lexical_weight < 1.0


def lexical_weight(dense_mrr: float, lexical_mrr: float) -> float:
    """Return the weight in [0, 1] of the lexical arm from how well each arm finds the probes' passages again.

    >>> lexical_weight(0.95, 0.99), lexical_weight(0.3, 0.99)
    (0.25, 1.0)
    >>> lexical_weight(0.7, 1.0)
    0.625
    >>> lexical_weight(0.0, 0.0)
    0.25
    """
    if lexical_mrr <= 0.0:
        return PRIOR_LEXICAL_WEIGHT
    share = dense_mrr / lexical_mrr
    blind = min(max((READS_FROM - share) / (READS_FROM - BLIND_BELOW), 0.0), 1.0)
    return round(PRIOR_LEXICAL_WEIGHT + blind * (1.0 - PRIOR_LEXICAL_WEIGHT), 6)


def lexical_share(scores: Scores, highest_possible: float) -> Scores:
    """Return BM25 scores as a share in [0, 1] of what the query could reach.

    >>> lexical_share(np.array([0.0, 3.0, 9.0], np.float32), 6.0).tolist()
    [0.0, 0.5, 1.0]
    """
    if highest_possible <= 0.0:
        return np.zeros_like(scores)
    return np.minimum(scores / np.float32(highest_possible), np.float32(1.0))


def fuse(dense: Scores, share: Scores, weight: float) -> Scores:
    """Return the weighted mean of similarity and lexical share, ``(n,) float32`` in [-1, 1].

    >>> fuse(np.array([0.8], np.float32), np.array([0.4], np.float32), 0.25).round(6).tolist()
    [0.699999988079071]
    """
    return ((1.0 - weight) * dense + weight * share).astype(np.float32)


def mean_reciprocal_rank(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the mean of 1 / rank of each row's target column; equal scores share the worse rank.

    >>> mean_reciprocal_rank(np.array([[0.9, 0.1], [0.9, 0.1]], np.float32), np.array([0, 1]))
    0.75
    """
    if len(targets) == 0:
        return 0.0
    own = scores[np.arange(len(targets)), targets][:, None]
    return float(np.mean(1.0 / (scores >= own).sum(axis=1)))
