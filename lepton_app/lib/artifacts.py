"""Directories that are written once, published by rename, and verified by sha256 before use.

An artifact is a directory with any files and a ``manifest.json`` that states what it is (kind and format version), when
it was made, and the size and sha256 of each file. Publishing is all or nothing:

1. a hidden temporary directory is made beside the final place, so that the rename stays on one file system;
2. the caller writes the files into it;
3. each file is hashed, the manifest is written, and everything is flushed to the disk;
4. the directory is renamed to ``<kind>-<UTC stamp>-<first 8 hex digits of the manifest's sha256>``.

A process that dies before step 4 leaves only a hidden directory, which no reader looks at and which the next
``publish`` removes once it is a day old. Nothing is pickled: what the files hold is the caller's business, as long as
it can be read without running code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
_TEMPORARY = ".tmp-"
_STALE_SECONDS = 24 * 3600.0
_KIND = re.compile(r"[a-z][a-z0-9_]*\Z")
_CHUNK_BYTES = 1 << 20


class ArtifactError(Exception):
    """An artifact cannot be used; ``code`` is stable and the message says which one and why."""

    code = "artifact_error"


class ArtifactMissing(ArtifactError):
    """The directory, its manifest, or a file that the manifest names is not there."""

    code = "artifact_missing"


class ArtifactCorrupt(ArtifactError):
    """The manifest cannot be read, or a file has another size or sha256 than the manifest states."""

    code = "artifact_corrupt"


class ArtifactIncompatible(ArtifactError):
    """The artifact is of another kind, or of a format version that this code does not read."""

    code = "artifact_incompatible"


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    ``files`` maps a path relative to the artifact, with ``/`` between its parts, to ``{"sha256": str, "bytes": int}``;
    ``created_at`` is UTC in ISO 8601; ``meta`` is whatever JSON the publisher wants to read back.
    """

    kind: str
    format_version: int
    created_at: str
    files: Mapping[str, Mapping[str, Any]]
    meta: Mapping[str, Any]


def publish(
    root: Path,
    *,
    kind: str,
    format_version: int,
    meta: Mapping[str, Any],
    write: Callable[[Path], None],
) -> Path:
    """Let ``write`` fill a new directory and publish it under ``root``; return the published directory.

    ``kind`` is lower-case letters, digits and underscores; ``format_version`` counts from 1; ``meta`` must be JSON.
    Whatever ``write`` raises is raised again, and then nothing of the attempt is left. Raises ``ValueError`` for a bad
    kind, a bad version, a meta that is not JSON, or a ``write`` that wrote nothing or a link.
    """
    if not _KIND.match(kind):
        raise ValueError(f"An artifact's kind is lower-case letters, digits and underscores; it is {kind!r}.")
    if format_version < 1:
        raise ValueError(f"A format version counts from 1; it is {format_version}.")
    json.dumps(meta, allow_nan=False)  # before any work is done: TypeError or ValueError for what JSON cannot hold
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(root)
    temporary = root / f"{_TEMPORARY}{kind}-{uuid.uuid4().hex}"
    temporary.mkdir(mode=0o700)
    try:
        write(temporary)
        files = {name: {"sha256": _sha256(path), "bytes": path.stat().st_size} for name, path in _files(temporary)}
        if not files:
            raise ValueError(f"Nothing was written for the artifact of kind {kind!r}.")
        created = datetime.now(UTC)
        text = json.dumps(
            {
                "kind": kind,
                "format_version": format_version,
                "created_at": created.isoformat(timespec="microseconds"),
                "files": files,
                "meta": dict(meta),
            },
            ensure_ascii=False,
            allow_nan=False,
            indent=1,
            sort_keys=True,
        ).encode()
        (temporary / MANIFEST).write_bytes(text)
        for name in (*files, MANIFEST):
            _flush(temporary / name)
        for directory in sorted(path for path in temporary.rglob("*") if path.is_dir()):
            _flush(directory)
        _flush(temporary)
        stamp = created.strftime("%Y%m%dT%H%M%S.%fZ")
        final = root / f"{kind}-{stamp}-{hashlib.sha256(text).hexdigest()[:8]}"
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush(root)
    return final


def load(path: Path, *, kind: str, format_version: int) -> Manifest:
    """Read the manifest of the artifact at ``path`` and verify every file that it names.

    Older format versions than ``format_version`` are refused like newer ones: a reader that can upgrade passes the
    version that it found by ``peek``. Files that the manifest does not name are ignored. Raises ``ArtifactMissing``,
    ``ArtifactCorrupt`` or ``ArtifactIncompatible``.
    """
    manifest = peek(path)
    if manifest.kind != kind:
        raise ArtifactIncompatible(f"{path} is an artifact of kind {manifest.kind!r}, not {kind!r}.")
    if manifest.format_version != format_version:
        newer = manifest.format_version > format_version
        mend = "update this installation" if newer else "make the artifact again"
        raise ArtifactIncompatible(
            f"{path} has format version {manifest.format_version}, and version {format_version} is read here: {mend}."
        )
    for name, stated in manifest.files.items():
        file = path / name
        try:
            size = file.stat().st_size
            digest = _sha256(file) if size == stated["bytes"] else ""
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ArtifactMissing(f"{path} has no file {name!r}, which its manifest names.") from None
        if size != stated["bytes"]:
            raise ArtifactCorrupt(f"{file} has {size} bytes; its manifest states {stated['bytes']}.")
        if digest != stated["sha256"]:
            raise ArtifactCorrupt(f"{file} has another sha256 than its manifest states.")
    return manifest


def peek(path: Path) -> Manifest:
    """Read the manifest at ``path`` without verifying the files; raises ``ArtifactMissing`` or ``ArtifactCorrupt``."""
    try:
        raw = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactMissing(f"{path} has no {MANIFEST}: there is no artifact.") from None
    try:
        data = json.loads(raw)
        manifest = Manifest(
            kind=_typed(data["kind"], str),
            format_version=_typed(data["format_version"], int),
            created_at=_typed(data["created_at"], str),
            files=_typed(data["files"], dict),
            meta=_typed(data["meta"], dict),
        )
        for name, stated in manifest.files.items():
            _typed(stated["sha256"], str)
            _typed(stated["bytes"], int)
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(name)
    except (ValueError, KeyError, TypeError):
        raise ArtifactCorrupt(f"{path / MANIFEST} is not a manifest.") from None
    return manifest


def published(root: Path, *, kind: str) -> list[Path]:
    """Return the published artifacts of a kind, newest first; none of them has been verified."""
    if not root.is_dir():
        return []
    pattern = re.compile(rf"{re.escape(kind)}-\d{{8}}T\d{{6}}\.\d{{6}}Z-[0-9a-f]{{8}}\Z")
    found = [path for path in root.iterdir() if pattern.match(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"expected {kind.__name__}")
    return value


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"An artifact holds no links; {path.name!r} is one.")
        if path.is_file():
            name = path.relative_to(directory).as_posix()
            if name == MANIFEST:
                raise ValueError(f"{MANIFEST} is written by publish, not by the caller.")
            yield name, path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Ask the operating system to write a file or a directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(root: Path) -> None:
    """Remove what attempts that died left behind, once it is so old that nobody can still be writing to it."""
    oldest = time.time() - _STALE_SECONDS
    for path in root.glob(f"{_TEMPORARY}*"):
        try:
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:  # somebody else sweeps at the same time
            continue
