"""A text is encoded once, whoever asks and however often the writer is killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lepton_app.learning.row_cache import RowCache, Rows, drop_others


class Encoder:
    """Gives a text a row that follows from its letters, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[str]) -> Rows:
        self.asked += texts
        return np.array([[len(text), sum(map(ord, text)), 1.0] for text in texts], dtype=np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> RowCache:
    return RowCache(tmp_path, "mini-int8-abc/1", dimension=3)


def test_a_text_is_encoded_once(cache: RowCache, tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    rows = cache.rows(["one", "two", "one"], first)
    assert first.asked == ["one", "two"]
    np.testing.assert_array_equal(rows, Encoder()(["one", "two", "one"]))
    again = RowCache(tmp_path, "mini-int8-abc/1", dimension=3).rows(["two", "three", "one"], second)
    assert second.asked == ["three"]
    np.testing.assert_array_equal(again, Encoder()(["two", "three", "one"]))
    assert len(cache) == 3


def test_another_version_shares_nothing(cache: RowCache, tmp_path: Path) -> None:
    cache.rows(["one"], Encoder())
    other = Encoder()
    RowCache(tmp_path, "mini-fp32-abc/1", dimension=3).rows(["one"], other)
    assert other.asked == ["one"]


@pytest.mark.parametrize(("name", "cut"), [("keys.bin", 7), ("rows.bin", 5), ("keys.bin", 32), ("rows.bin", 12)])
def test_a_writer_that_was_killed_leaves_nothing_wrong(cache: RowCache, tmp_path: Path, name: str, cut: int) -> None:
    cache.rows(["one", "two"], Encoder())
    path = next(tmp_path.rglob(name))
    path.write_bytes(path.read_bytes()[:-cut])
    encoder = Encoder()
    rows = cache.rows(["one", "two", "three"], encoder)
    assert encoder.asked == ["two", "three"]
    np.testing.assert_array_equal(rows, Encoder()(["one", "two", "three"]))
    np.testing.assert_array_equal(cache.rows(["three", "two"], Encoder()), Encoder()(["three", "two"]))


def test_several_writers_at_once(cache: RowCache) -> None:
    texts = [f"text {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda start: cache.rows(texts[start:] + texts[:start], Encoder()), range(16)))
    for start, rows in enumerate(answers):
        np.testing.assert_array_equal(rows, Encoder()(texts[start:] + texts[:start]))
    assert len(cache) == 40


def test_it_begins_anew_where_it_would_grow_too_large(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, "mini", dimension=3, most_bytes=5 * 12)
    cache.rows(["a", "b", "c", "d"], Encoder())
    np.testing.assert_array_equal(cache.rows(["e", "f"], Encoder()), Encoder()(["e", "f"]))
    assert len(cache) == 2


def test_a_disk_that_takes_nothing_costs_only_the_keeping(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    np.testing.assert_array_equal(cache.rows(["one"], Encoder()), Encoder()(["one"]))
    assert len(cache) == 0


def test_old_versions_are_dropped(cache: RowCache, tmp_path: Path) -> None:
    cache.rows(["one"], Encoder())
    RowCache(tmp_path, "old", dimension=3).rows(["one"], Encoder())
    drop_others(tmp_path, keep={"mini-int8-abc/1"})
    assert [folder.name for folder in tmp_path.iterdir()] == ["mini-int8-abc_1"]
    drop_others(tmp_path / "nowhere", keep=set())
