"""Rows of a frozen encoder, computed once per text and kept for every later run.

One folder an encoder version holds two files that only grow: ``keys.bin`` (the sha256 of each text, 32 bytes) and
``rows.bin`` (its row, float32). Rows are written before keys, under a lock between processes: a writer that is killed
leaves rows without keys, which the next one cuts off. A version's folder that outgrows ``MOST_BYTES`` begins anew.
The cache holds no texts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

KEY_BYTES = 32
MOST_BYTES = 1_000_000_000
_KEYS, _ROWS, _LOCK = "keys.bin", "rows.bin", "lock"


class RowCache:
    """The cached rows of one encoder version under ``root``; a version names exactly one set of weights."""

    def __init__(self, root: Path, version: str, *, dimension: int, most_bytes: int = MOST_BYTES) -> None:
        """Name the cache; ``dimension`` is the width of a row. Nothing is read or written yet."""
        self._folder = root / re.sub(r"[^\w.-]", "_", version)
        self._dimension, self._most_bytes = dimension, most_bytes

    def rows(self, texts: Sequence[str], encode: Callable[[list[str]], Rows]) -> Rows:
        """Return the row of each text, ``(n, d) float32``; ``encode`` is asked once, for the different texts not known.

        What cannot be written (a full disk) is not kept, and the rows are returned all the same.
        """
        keys = [_key(text) for text in texts]
        known = self._known()
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        fresh: dict[bytes, int] = {key: place for place, key in enumerate(missing)}
        made = encode(list(missing.values())) if missing else np.empty((0, self._dimension), dtype=np.float32)
        found = np.empty((len(texts), self._dimension), dtype=np.float32)
        stored = self._stored(len(known))
        for row, key in enumerate(keys):
            found[row] = made[fresh[key]] if key in fresh else stored[known[key]]
        if missing:
            with contextlib.suppress(OSError):
                self._append(list(missing), made)
        return found

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> dict[bytes, int]:
        try:
            raw = (self._folder / _KEYS).read_bytes()
            there = (self._folder / _ROWS).stat().st_size // (4 * self._dimension)
        except OSError:
            return {}
        number = min(len(raw) // KEY_BYTES, there)
        return {raw[place * KEY_BYTES : (place + 1) * KEY_BYTES]: place for place in range(number)}

    def _stored(self, number: int) -> Rows:
        if not number:
            return np.empty((0, self._dimension), dtype=np.float32)
        return np.memmap(self._folder / _ROWS, dtype=np.float32, mode="r", shape=(number, self._dimension))

    def _append(self, keys: list[bytes], rows: Rows) -> None:
        with self._locked():
            known = self._known()  # somebody else may have written meanwhile
            fresh = [place for place, key in enumerate(keys) if key not in known]
            size = (len(known) + len(fresh)) * 4 * self._dimension
            if size > self._most_bytes:
                (self._folder / _KEYS).unlink(missing_ok=True)
                (self._folder / _ROWS).unlink(missing_ok=True)  # a reader's mapping of it lives on
                known, fresh = {}, list(range(len(keys)))
            for name, width, data in (
                (_ROWS, 4 * self._dimension, np.ascontiguousarray(rows[fresh], dtype=np.float32).tobytes()),
                (_KEYS, KEY_BYTES, b"".join(keys[place] for place in fresh)),
            ):
                with (self._folder / name).open("ab") as file:
                    file.truncate(len(known) * width)
                    file.write(data)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def drop_others(root: Path, *, keep: set[str]) -> None:
    """Remove the caches of every version but those to ``keep``."""
    kept = {re.sub(r"[^\w.-]", "_", version) for version in keep}
    if not root.is_dir():
        return
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
