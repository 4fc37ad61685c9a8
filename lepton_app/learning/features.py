"""What the linear classifier sees of a text: its embedding and its character n-grams, weighed by its script.

A row is ``[a * embedding, b * n-grams]``: the embedding is a unit row, the n-grams are a unit row of tf-idf values
(sublinear term frequency, smoothed document frequency; Manning et al., Introduction to Information Retrieval, 6.4).
Where labels are known, an n-gram with Chinese in it also counts by how much it tells about them, which is the square
root of the divergence of its texts' labels from those of all texts: "的" stands under all labels and says little,
"余额" says much. (Cross-validated: in Chinese .913 without and .915 with it, in English no difference.)
The weights ``a`` and ``b`` slide with the share of Chinese in the text, because the default encoder is English and
nearly blind to Chinese: there the n-grams carry the meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lepton_app.lib.languages import cjk_share, has_cjk
from lepton_app.lib.ngrams import ngrams

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """How much the embedding and the n-grams count, in a text without Chinese and in one of Chinese alone."""

    dense: float = 1.0
    ngrams: float = 0.6
    dense_zh: float = 0.5
    ngrams_zh: float = 1.7

    def of(self, text: str) -> tuple[float, float]:
        """Return the weights of the embedding and of the n-grams of one text.

        >>> Weights().of("hello"), Weights().of("你好")
        ((1.0, 0.6), (0.5, 1.7))
        """
        share = cjk_share(text)
        return (
            (1 - share) * self.dense + share * self.dense_zh,
            (1 - share) * self.ngrams + share * self.ngrams_zh,
        )


class Ngrams:
    """A vocabulary of n-grams with what each counts: texts -> sparse unit rows."""

    def __init__(self, vocabulary: Sequence[str], counts_for: Floats) -> None:
        """Take the n-grams in the order of their columns and their factors, ``(v,) float32``."""
        if len(vocabulary) != len(counts_for):
            raise ValueError(f"{len(vocabulary)} n-grams have {len(counts_for)} factors.")
        self.vocabulary = list(vocabulary)
        self.counts_for = counts_for.astype(np.float32)
        self._columns = {gram: column for column, gram in enumerate(self.vocabulary)}

    def __len__(self) -> int:
        return len(self.vocabulary)

    @classmethod
    def learn(cls, texts: Sequence[str], *, targets: NDArray[np.int64] | None = None, least_texts: int = 1) -> Ngrams:
        """Collect the n-grams that occur in at least ``least_texts`` texts, sorted.

        An n-gram's factor is ``ln((1 + n) / (1 + df)) + 1``, times the square root of its divergence where it has
        Chinese in it and ``targets`` gives the label of each text as ``(n,)`` whole numbers from 0.
        """
        found = [set(ngrams(text)) for text in texts]
        counts = Counter(gram for grams in found for gram in grams)
        vocabulary = sorted(gram for gram, count in counts.items() if count >= least_texts)
        frequencies = np.array([counts[gram] for gram in vocabulary], dtype=np.float64)
        factors = np.log((1 + len(found)) / (1 + frequencies)) + 1
        if targets is not None:
            chinese = [column for column, gram in enumerate(vocabulary) if has_cjk(gram)]
            factors[chinese] *= np.sqrt(_divergence([vocabulary[column] for column in chinese], found, targets))
        return cls(vocabulary, factors.astype(np.float32))

    def row(self, text: str) -> tuple[NDArray[np.int32], Floats]:
        """Return the columns, rising, and the values of one text: a unit row, or two empty arrays.

        >>> model = Ngrams.learn(["ab"])
        >>> [model.vocabulary[column] for column in model.row("ab ab")[0]]
        [' a', ' ab', ' ab ', 'ab', 'ab ', 'b ']
        >>> float(np.square(model.row("ab ab")[1]).sum().round(6))
        1.0
        """
        known = self._columns
        counts = Counter(column for gram in ngrams(text) if (column := known.get(gram)) is not None)
        columns = np.array(sorted(counts), dtype=np.int32)
        times = np.array([counts[column] for column in columns.tolist()], dtype=np.float32)
        values = (1 + np.log(times)) * self.counts_for[columns]
        norm = np.sqrt(np.square(values).sum())
        return columns, values / norm if norm > 0 else values

    def matrix(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return the rows of many texts: ``(n, v) float32``, unit rows, or zero rows where nothing is known."""
        rows = [self.row(text) for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows])]).astype(np.int32)
        columns = np.concatenate([columns for columns, _ in rows]) if rows else np.empty(0, np.int32)
        values = np.concatenate([values for _, values in rows]) if rows else np.empty(0, np.float32)
        return sp.csr_matrix((values, columns, starts), shape=(len(rows), len(self)), dtype=np.float32)


def _divergence(
    vocabulary: Sequence[str], found: Sequence[AbstractSet[str]], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the divergence of the labels of each n-gram's texts from those of all texts: ``(v,)``, in nats, above 0.

    The labels of an n-gram's texts are smoothed by one text that is labelled like all texts together (Kullback and
    Leibler 1951): an n-gram of a single text is not taken for a certain sign.
    """
    column_of = {gram: column for column, gram in enumerate(vocabulary)}
    pairs = [
        (column, target)
        for grams, target in zip(found, targets.tolist(), strict=True)
        for gram in grams
        if (column := column_of.get(gram)) is not None
    ]
    columns, labels = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    together = np.zeros((len(vocabulary), int(targets.max(initial=0)) + 1))  # (v, k)
    np.add.at(together, (columns, labels), 1)
    overall = np.bincount(targets, minlength=together.shape[1]) / len(targets)
    shares = (together + overall) / (together.sum(axis=1, keepdims=True) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a label without texts is nobody's
        terms = np.where(shares > 0, shares * np.log(shares / overall), 0)
    return np.maximum(terms.sum(axis=1), 1e-6)
