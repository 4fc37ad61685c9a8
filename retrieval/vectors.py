"""FAISS over passages: two unit rows for each, its text and its headings, and the larger similarity counts.

A question often repeats a heading ("How do I freeze my card?") and sometimes a sentence; one row that mixes both
answers neither as well (StackFAQ nDCG@10: .957 mixed, .980 the larger of two).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]  # (n, d) or (d,), each row of length 1
Keys = NDArray[np.int64]

# Passages of one section share their heading's row: a little of the text's own similarity orders them.
TEXT_SHARE = 0.05


class VectorIndex:
    """Exact inner-product search over passages; a FAISS id is ``2 * key`` (text) or ``2 * key + 1`` (heading)."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, keys: Keys, text_rows: Rows, heading_rows: Rows) -> VectorIndex:
        """Index ``(n,)`` distinct keys of at least 0 with their ``(n, d)`` unit rows.

        Raises ValueError when the shapes differ or a key stands twice.
        """
        if text_rows.shape != heading_rows.shape or len(keys) != len(text_rows):
            raise ValueError(f"{len(keys)} keys, texts {text_rows.shape}, headings {heading_rows.shape}: not alike")
        if len(np.unique(keys)) != len(keys):
            raise ValueError("A passage's key stands twice")
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(text_rows.shape[1]))
        if len(keys):
            index.add_with_ids(np.ascontiguousarray(text_rows, np.float32), 2 * keys)
            index.add_with_ids(np.ascontiguousarray(heading_rows, np.float32), 2 * keys + 1)
        return cls(index)

    @property
    def size(self) -> int:
        """How many passages are indexed."""
        return int(self._index.ntotal) // 2

    @property
    def dimension(self) -> int:
        """The number of columns of a row."""
        return int(self._index.d)

    def search(self, row: Rows, count: int, *, allowed: Keys | None = None) -> Keys:
        """Return at most ``count`` distinct keys nearest to the ``(d,)`` row, nearest first.

        With ``allowed``, only those keys are looked at, inside the search.
        """
        if count < 1 or self.size == 0 or (allowed is not None and len(allowed) == 0):
            return np.zeros(0, np.int64)
        parameters = None
        if allowed is not None:
            ids = np.concatenate((2 * allowed, 2 * allowed + 1))
            # faiss gives its classes keyword arguments at import, which its types do not show.
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(ids))  # type: ignore[call-arg]
        wanted = min(2 * count, int(self._index.ntotal))
        _, found = self._index.search(np.ascontiguousarray(row[None, :], np.float32), wanted, params=parameters)
        keys = found[0][found[0] >= 0] // 2
        _, first = np.unique(keys, return_index=True)
        return keys[np.sort(first)][:count]

    def similarities(self, row: Rows, keys: Keys) -> Rows:
        """Return for each key its similarity to the ``(d,)`` row, ``(len(keys),) float32`` in [-1, 1]."""
        if len(keys) == 0:
            return np.zeros(0, np.float32)
        rows = self._index.reconstruct_batch(np.concatenate((2 * keys, 2 * keys + 1)))
        both = (rows @ row.astype(np.float32)).reshape(2, len(keys))
        return np.clip((1 - TEXT_SHARE) * both.max(axis=0) + TEXT_SHARE * both[0], -1.0, 1.0).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the index into a file."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path) -> VectorIndex:
        """Open a saved index; its rows stay in the file and are mapped into memory.

        Raises RuntimeError when the file is no FAISS index (the artifact's checksum finds damage before that).
        """
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
