"""Whether a text is about anything that the classifier has learnt: five signs of it, weighed and added up.

The signs of a text, with s the similarity of embeddings and "its label" the label that the classifier gives it:

- how near the 5 nearest training rows of its label are, less how near the label's rows typically are to theirs (a
  boundary of each label's own, as wide as the label is);
- how near the 5 nearest training rows are, less how near these typically are to theirs (the local outlier factor of
  Breunig et al. 2000, as a difference);
- how much nearer the 5 nearest rows of its label are than the 5 nearest of all others;
- how much likelier its n-grams are among the texts of its label than among all (the evidence of naive Bayes, weighed
  by tf-idf): a word that none of them ever used speaks against it;
- the log odds of its label.

Each is brought to median 0 and spread 1 over genuine texts that the classifier had not learnt, and their weighted sum
is taken. The first two say how far away a text is and count without limit. The others tell a text near to one label
from one of that label; they only speak against a text, and by 2 spreads at most: that it is surely no other label is no
proof that it is this one. Weights and limits were chosen on a fifth of BANKING77's training texts, with some of the
labels left out of training, and on 200 questions of other domains; how the signs did alone is in ``docs/models.md``.

In English the similarity is the cosine of the embeddings; in Chinese, where the default encoder is nearly blind, 30 %
of that and 70 % of the cosine of the n-grams. Sums of two languages are not on one scale. So each language has its own:
0 is where the stated share of genuine texts would be refused, 1 is the median of genuine texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lepton_app.learning.texts import normalise
from lepton_app.lib.languages import LANGUAGES, Language, detect

Floats = NDArray[np.float32]
NGRAM_SHARE: dict[Language, float] = {"en": 0.0, "zh": 0.7}
THRESHOLD = 0.0
SIGNS = 5
# A sign that is the same in all genuine texts must not decide everything: nearness by hundredths, logarithms by tenths.
LEAST_SPREADS = (0.02, 0.02, 0.02, 0.5, 0.5)
WEIGHTS = (1.0, 1.5, 1.0, 0.5, 1.0)
UNLIMITED = 2  # so many signs, the first ones, count without limit
MOST_AGAINST = 2.0  # spreads
_CALIBRATION_ROWS = 2000  # the 5 % quantile of 2,000 rows is known to half a per cent
_CHUNK_ROWS = 500
_QUANTILES = 101
_NONE = np.float32(-2.0)  # below every similarity
_LEAST_TEXTS = 2
_PRIOR_TEXTS = 2.0  # a label's n-grams are smoothed by so many texts that are like all texts


@dataclass(frozen=True)
class Neighbours:
    """The training rows of one language, label after label, with what is typical of them and the scale of the sums.

    ``dense`` is ``(d, m) float32``, unit columns: one text against them is then one pass over memory, three times as
    fast as against rows. ``sparse`` is ``(m, v) float32``, unit rows, or None where n-grams do not count as similarity.
    The rows of label ``i`` are ``starts[i]`` to before ``starts[i + 1]``, ``(k + 1,) int64``. ``typical`` is the mean
    similarity of each row to its 5 nearest of other texts, ``(m,) float32``, and ``typical_label`` the mean of these
    over each label, ``(k,) float32``. ``counts`` says in how many texts of each label an n-gram occurs, ``(k, v)
    float32``, and ``totals`` in how many of all, ``(v,) float32``. ``centre`` and ``spread``, ``(5,) float64``, belong
    to the signs. ``genuine`` is ``(101,) float64``: the quantiles, from 0 to 1, of the sums of genuine texts. ``low``
    and ``middle`` are the sums that become 0 and 1.
    """

    dense: Floats
    sparse: sp.csr_matrix | None
    ngram_share: float
    starts: NDArray[np.int64]
    typical: Floats
    typical_label: Floats
    counts: sp.csr_matrix
    totals: Floats
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    genuine: NDArray[np.float64]
    low: float
    middle: float

    def similarities(self, dense: Floats, sparse: sp.csr_matrix) -> Floats:
        """Return the similarity of each text to each training row: ``(n, m) float32``."""
        similarity: Floats = dense @ self.dense
        if self.sparse is not None:
            similarity *= 1 - self.ngram_share
            similarity += self.ngram_share * (self.sparse @ sparse.T).T.toarray()
        return similarity

    def signs(
        self,
        similarity: Floats,
        sparse: sp.csr_matrix,
        logits: NDArray[np.floating[Any]],
        *,
        neighbours: int,
        counted: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the five signs of each text: ``(n, 5) float64``.

        ``similarity`` is ``(n, m)``, with values below -1 for rows that do not count; ``sparse`` is ``(n, v)`` and
        ``logits`` ``(n, k)``. ``counted`` is ``(n,)``, the label under which a text itself is among the counts, or -1.
        """
        nearest = _largest(similarity, neighbours)  # (n, 5), columns
        near = np.take_along_axis(similarity, nearest, axis=1)
        counts = near > -1
        typical = _mean(self.typical[nearest], counts)
        said = logits.argmax(axis=1)
        label_of_nearest = np.searchsorted(self.starts, similarity.argmax(axis=1), side="right") - 1
        own = np.where(self.starts[said + 1] > self.starts[said], said, label_of_nearest)
        near_own, gap, evidence = np.empty(len(own)), np.empty(len(own)), np.empty(len(own))
        for row, label in enumerate(own.tolist()):
            start, stop = int(self.starts[label]), int(self.starts[label + 1])
            near_own[row] = _top_mean(similarity[row, start:stop], neighbours)
            others = similarity[row].copy()
            others[start:stop] = _NONE
            gap[row] = near_own[row] - _top_mean(others, neighbours)
            itself = counted is not None and counted[row] == label
            grams = slice(int(sparse.indptr[row]), int(sparse.indptr[row + 1]))
            evidence[row] = self.evidence(sparse.indices[grams], sparse.data[grams], label, itself=itself)
        parts = (near_own - self.typical_label[own], _mean(near, counts) - typical, gap, evidence, log_odds(logits))
        # Where there is no row to compare with, nothing speaks for the text and nothing against it.
        return np.nan_to_num(np.stack(parts, axis=1), nan=0.0)

    def evidence(self, columns: NDArray[np.integer[Any]], values: Floats, label: int, *, itself: bool) -> float:
        """Return the sum of an n-gram's value times the log of its likelihood under a label over that in all texts.

        ``columns`` and ``values`` are the n-grams of one text; ``itself`` says that it is among the label's texts, and
        it is then left out. N-grams of fewer than two texts say nothing.
        """
        start, stop = int(self.counts.indptr[label]), int(self.counts.indptr[label + 1])
        known, number = self.counts.indices[start:stop], int(self.starts[label + 1] - self.starts[label])
        places = np.searchsorted(known, columns)
        found = places < len(known)
        found[found] = known[places[found]] == columns[found]
        times = np.zeros(len(columns))
        times[found] = self.counts.data[start:stop][places[found]]
        totals, all_texts = self.totals[columns].astype(np.float64), len(self.typical)
        if itself:
            times, totals, number, all_texts = np.maximum(times - 1, 0), totals - 1, number - 1, all_texts - 1
        shares = np.maximum(totals, 0) / max(all_texts, 1)
        says = totals >= _LEAST_TEXTS
        likelihood = (times[says] + _PRIOR_TEXTS * shares[says]) / (number + _PRIOR_TEXTS)
        return float(values[says] @ np.log(likelihood / shares[says]))

    def sums(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weighted sum of the signs in spreads: ``(n,) float64``."""
        spreads = (signs - self.centre) / self.spread
        spreads[:, UNLIMITED:] = np.clip(spreads[:, UNLIMITED:], -MOST_AGAINST, 0.0)
        total: NDArray[np.float64] = spreads @ np.array(WEIGHTS)
        return total

    def scaled(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums on the scale where 0 is the threshold and 1 the median of genuine texts."""
        return (sums - self.low) / (self.middle - self.low)


@dataclass(frozen=True)
class Scope:
    """The neighbours of each language that the training rows are in."""

    neighbours: int
    languages: dict[Language, Neighbours]

    def scores(
        self, texts: Sequence[str], dense: Floats, sparse: sp.csr_matrix, logits: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Return the scaled scores of texts: ``(n,) float64``, higher is more in scope, below 0 is refused.

        ``dense`` is ``(n, d) float32``, unit rows; ``sparse`` is ``(n, v) float32``, unit rows; ``logits`` is
        ``(n, k)``, before the temperature. A text in a language without training rows is compared with those of the
        other one.
        """
        scores = np.empty(len(texts), dtype=np.float64)
        spoken = [detect(text) for text in texts]
        for language in LANGUAGES:
            rows = [row for row, found in enumerate(spoken) if found == language]
            if not rows:
                continue
            known = self.languages.get(language) or next(iter(self.languages.values()))
            for start in range(0, len(rows), _CHUNK_ROWS):
                chunk = rows[start : start + _CHUNK_ROWS]
                grams = sparse if len(chunk) == len(texts) else sparse[chunk]
                similarity = known.similarities(dense[chunk], grams)
                signs = known.signs(similarity, grams, logits[chunk], neighbours=self.neighbours)
                scores[chunk] = known.scaled(known.sums(signs))
        return scores


def fit_scope(
    texts: Sequence[str],
    targets: NDArray[np.int64],
    dense: Floats,
    sparse: sp.csr_matrix,
    logits: NDArray[np.floating[Any]],
    *,
    judged: NDArray[np.bool_],
    false_refusals: float,
    neighbours: int,
    most_rows: int,
    seed: int,
) -> Scope:
    """Keep the rows of each language and find the scale of its scores.

    ``targets`` is ``(n,)``, the columns of the labels in ``logits`` ``(n, k)``. Where ``judged`` is True the logits
    are of a classifier that had not learnt the text: these texts stand for genuine ones to come, each compared with the
    rows of other texts. A language with none of them is scaled by its training texts themselves.

    ``false_refusals`` is the share of genuine texts that may be refused, from 0 to below 0.5. Of more than
    ``most_rows`` rows in a language a random choice is kept, which bounds memory and time when serving.
    """
    generator = np.random.default_rng(seed)
    spoken = np.array([detect(text) for text in texts])
    _, text_of = np.unique([normalise(text) for text in texts], return_inverse=True)
    languages: dict[Language, Neighbours] = {}
    for language in LANGUAGES:
        rows = np.flatnonzero(spoken == language)
        if not len(rows):
            continue
        kept = rows if len(rows) <= most_rows else generator.choice(rows, most_rows, replace=False)
        kept = kept[np.lexsort((kept, targets[kept]))]  # label after label
        share = NGRAM_SHARE[language]
        nothing = np.zeros(0, dtype=np.float32)
        occurs = sparse[kept].astype(bool).astype(np.float32)
        under = sp.csr_matrix((np.ones(len(kept), np.float32), (targets[kept], np.arange(len(kept)))))
        under.resize(logits.shape[1], len(kept))
        label_counts = sp.csr_matrix(under @ occurs)
        label_counts.sort_indices()
        known = Neighbours(
            dense=np.ascontiguousarray(dense[kept].T),
            sparse=sparse[kept] if share > 0 else None,
            ngram_share=share,
            starts=np.searchsorted(targets[kept], np.arange(logits.shape[1] + 1)).astype(np.int64),
            typical=nothing,
            typical_label=nothing,
            counts=label_counts,
            totals=np.asarray(occurs.sum(axis=0), dtype=np.float32).ravel(),
            centre=np.zeros(SIGNS),
            spread=np.ones(SIGNS),
            genuine=np.zeros(1),
            low=0.0,
            middle=1.0,
        )
        known = _with_typical(known, dense[kept], sparse[kept], text_of[kept], neighbours)
        sample = generator.permutation(rows[judged[rows]])[:_CALIBRATION_ROWS]
        alone = not len(sample)  # a text without others to be like: what is just like it is in scope
        if alone:
            sample = kept[:_CALIBRATION_ROWS]
        counted = np.full(len(texts), -1)
        counted[kept] = targets[kept]
        found = []
        for start in range(0, len(sample), _CHUNK_ROWS):
            chunk = sample[start : start + _CHUNK_ROWS]
            similarity = known.similarities(dense[chunk], sparse[chunk])
            if not alone:
                similarity[text_of[chunk][:, None] == text_of[kept][None, :]] = _NONE
            found.append(
                known.signs(
                    similarity,
                    sparse[chunk],
                    logits[chunk],
                    neighbours=neighbours,
                    counted=None if alone else counted[chunk],
                )
            )
        languages[language] = _with_scale(known, np.concatenate(found), false_refusals)
    return Scope(neighbours, languages)


def best_threshold(scope: Scope, outside: NDArray[np.float64]) -> float:
    """Return the scaled score at which the shares of refused genuine texts and of accepted others are least in sum.

    ``outside`` holds the scaled scores of texts that are known to be out of scope, ``(n,)``, at least one. Genuine
    texts are those that set the scale, each language counting for as many as it has rows.
    """
    if not len(outside):
        raise ValueError("A threshold needs texts that are out of scope.")
    genuine = np.concatenate([known.scaled(known.genuine) for known in scope.languages.values()])
    weights = np.concatenate([np.full(len(known.genuine), known.dense.shape[1]) for known in scope.languages.values()])
    weights = weights / weights.sum()
    places = np.unique(np.concatenate([genuine, outside]))
    # Between two places nothing changes sides; the middle keeps the same distance from both.
    candidates = np.concatenate([places[:1], (places[1:] + places[:-1]) / 2])
    costs = [float(weights[genuine < at].sum() + (outside >= at).mean()) for at in candidates]
    return float(candidates[int(np.argmin(costs))])


def log_odds(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the log odds of each row's largest logit, ``(n,) float64``; at least two columns.

    >>> log_odds(np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [2.0, 0.0]
    """
    ordered = np.sort(np.asarray(logits, dtype=np.float64), axis=1)
    rest, second = ordered[:, :-1], ordered[:, -2]
    odds: NDArray[np.float64] = ordered[:, -1] - second - np.log(np.exp(rest - second[:, None]).sum(axis=1))
    return odds


def _with_typical(
    known: Neighbours, dense: Floats, sparse: sp.csr_matrix, text_of: NDArray[np.int64], neighbours: int
) -> Neighbours:
    """Find how near each row is to its nearest of other texts, and the mean over each label."""
    typical = np.empty(len(dense), dtype=np.float32)
    for start in range(0, len(dense), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        similarity = known.similarities(dense[chunk], sparse[chunk])
        similarity[text_of[chunk][:, None] == text_of[None, :]] = _NONE
        near = np.take_along_axis(similarity, _largest(similarity, neighbours), axis=1)
        typical[chunk] = _mean(near, near > -1)
    whole = 1.0 if np.isnan(typical).all() else float(np.nanmean(typical))
    typical = np.nan_to_num(typical, nan=whole)
    labels = zip(known.starts[:-1].tolist(), known.starts[1:].tolist(), strict=True)
    means = [typical[start:stop].mean() if stop > start else whole for start, stop in labels]
    return replace(known, typical=typical, typical_label=np.array(means, dtype=np.float32))


def _with_scale(known: Neighbours, signs: NDArray[np.float64], false_refusals: float) -> Neighbours:
    """Set centre, spread and scale by the signs of genuine texts, ``(s, 5)``, at least one row."""
    centre = np.median(signs, axis=0)
    known = replace(known, centre=centre, spread=np.maximum(signs.std(axis=0), LEAST_SPREADS))
    sums = known.sums(signs)
    low, middle = np.quantile(sums, [false_refusals, 0.5]).tolist()
    # One text alone has no quantiles: what is a spread less typical than it is refused.
    low = min(low, middle - 1.0) if len(sums) < 2 else low
    genuine = np.quantile(sums, np.linspace(0, 1, _QUANTILES))
    return replace(known, genuine=genuine, low=low, middle=max(middle, low + 1e-3))


def _largest(values: Floats, number: int) -> NDArray[np.int64]:
    """Return the columns of the largest values of each row, ``(n, number)`` or as many columns as there are."""
    number = min(number, values.shape[1])
    columns: NDArray[np.int64] = np.argpartition(values, values.shape[1] - number, axis=1)[:, -number:]
    return np.sort(columns, axis=1)


def _top_mean(values: Floats, number: int) -> float:
    """Return the mean of the largest values that count, or nan where none does."""
    if len(values) > number:
        values = np.partition(values, len(values) - number)[-number:]
    counting = values[values > -1]
    return float(np.sort(counting).astype(np.float64).mean()) if len(counting) else float("nan")


def _mean(values: Floats, counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of the values that count in each row, nan where none does."""
    sums = np.where(counts, values, 0).sum(axis=1, dtype=np.float64)
    numbers = counts.sum(axis=1)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)
