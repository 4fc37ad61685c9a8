"""What the linear classifier sees of a text: its embedding and its character n-grams, weighed by its script.

A row is ``[a * embedding, b * n-grams]``: the embedding is a unit row, the n-grams are a unit row of tf-idf values
(sublinear term frequency, smoothed document frequency; Manning et al., Introduction to Information Retrieval, 6.4).
The weights ``a`` and ``b`` slide with the share of Chinese in the text, because the default encoder is English and
nearly blind to Chinese: there the n-grams carry the meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lepton_app.lib.languages import cjk_share
from lepton_app.lib.ngrams import ngrams

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """How much the embedding and the n-grams count, in a text without Chinese and in one of Chinese alone."""

    dense: float = 1.0
    ngrams: float = 0.6
    dense_zh: float = 0.3
    ngrams_zh: float = 1.0

    def of(self, text: str) -> tuple[float, float]:
        """Return the weights of the embedding and of the n-grams of one text.

        >>> Weights(dense_zh=0.2).of("hello"), Weights(dense_zh=0.2).of("你好")
        ((1.0, 0.6), (0.2, 1.0))
        """
        share = cjk_share(text)
        return (
            (1 - share) * self.dense + share * self.dense_zh,
            (1 - share) * self.ngrams + share * self.ngrams_zh,
        )


class Ngrams:
    """A vocabulary of n-grams with their inverse document frequencies: texts -> sparse unit rows."""

    def __init__(self, vocabulary: Sequence[str], idf: Floats) -> None:
        """Take the n-grams in the order of their columns and ``idf`` of shape ``(v,) float32``."""
        if len(vocabulary) != len(idf):
            raise ValueError(f"{len(vocabulary)} n-grams have {len(idf)} document frequencies.")
        self.vocabulary = list(vocabulary)
        self.idf = idf.astype(np.float32)
        self._columns = {gram: column for column, gram in enumerate(self.vocabulary)}

    def __len__(self) -> int:
        return len(self.vocabulary)

    @classmethod
    def learn(cls, texts: Iterable[str], *, least_texts: int = 1) -> Ngrams:
        """Collect the n-grams that occur in at least ``least_texts`` texts, sorted; idf is ``ln((1+n)/(1+df)) + 1``."""
        counts: Counter[str] = Counter()
        number = 0
        for text in texts:
            counts.update(set(ngrams(text)))
            number += 1
        vocabulary = sorted(gram for gram, count in counts.items() if count >= least_texts)
        frequencies = np.array([counts[gram] for gram in vocabulary], dtype=np.float64)
        return cls(vocabulary, (np.log((1 + number) / (1 + frequencies)) + 1).astype(np.float32))

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
        values = (1 + np.log(times)) * self.idf[columns]
        norm = np.sqrt(np.square(values).sum())
        return columns, values / norm if norm > 0 else values

    def matrix(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return the rows of many texts: ``(n, v) float32``, unit rows, or zero rows where nothing is known."""
        rows = [self.row(text) for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows])]).astype(np.int32)
        columns = np.concatenate([columns for columns, _ in rows]) if rows else np.empty(0, np.int32)
        values = np.concatenate([values for _, values in rows]) if rows else np.empty(0, np.float32)
        return sp.csr_matrix((values, columns, starts), shape=(len(rows), len(self)), dtype=np.float32)
