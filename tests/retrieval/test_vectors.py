"""FAISS over two rows for each passage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.vectors import TEXT_SHARE, VectorIndex

E = np.eye(4, dtype=np.float32)
KEYS = np.array([7, 3, 20], np.int64)


@pytest.fixture
def index() -> VectorIndex:
    return VectorIndex.build(KEYS, text_rows=E[[0, 1, 2]], heading_rows=E[[3, 1, 1]])


def test_text_or_heading_finds_a_passage_once(index: VectorIndex) -> None:
    assert index.search(E[3], 1).tolist() == [7]
    assert index.search(E[0], 1).tolist() == [7]
    assert index.search(E[1], 3).tolist()[0] in (3, 20)
    assert sorted(index.search(E[1], 10).tolist()) == [3, 7, 20]
    assert (index.size, index.dimension) == (3, 4)


def test_the_larger_similarity_counts_and_the_text_orders_equals(index: VectorIndex) -> None:
    assert index.similarities(E[1], np.array([3, 20, 7])).tolist() == pytest.approx([1.0, 1.0 - TEXT_SHARE, 0.0])


def test_only_what_is_allowed_is_looked_at(index: VectorIndex) -> None:
    assert index.search(E[0], 3, allowed=np.array([20, 3])).tolist() in ([20, 3], [3, 20])
    assert index.search(E[0], 3, allowed=np.zeros(0, np.int64)).tolist() == []
    assert index.search(E[0], 0).tolist() == []


def test_saved_and_opened_it_is_the_same(index: VectorIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "v.faiss")
    opened = VectorIndex.load(tmp_path / "v.faiss")
    assert opened.search(E[2], 1).tolist() == [20]
    assert opened.similarities(E[2], KEYS).tolist() == index.similarities(E[2], KEYS).tolist()


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    none = np.zeros((0, 4), np.float32)
    index = VectorIndex.build(np.zeros(0, np.int64), none, none)
    index.save(tmp_path / "v.faiss")
    assert VectorIndex.load(tmp_path / "v.faiss").search(E[0], 5).tolist() == []


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="not alike"):
        VectorIndex.build(KEYS, E[[0, 1]], E[[0, 1]])
    with pytest.raises(ValueError, match="twice"):
        VectorIndex.build(np.array([1, 1]), E[[0, 1]], E[[0, 1]])


def test_a_file_that_is_no_index_raises(tmp_path: Path) -> None:
    (tmp_path / "v.faiss").write_bytes(b"no index at all")
    with pytest.raises(RuntimeError):
        VectorIndex.load(tmp_path / "v.faiss")
