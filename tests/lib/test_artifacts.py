from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lepton_app.lib import artifacts
from lepton_app.lib.artifacts import ArtifactCorrupt, ArtifactIncompatible, ArtifactMissing


def publish(root: Path, **changes: Any) -> Path:
    def write(directory: Path) -> None:
        (directory / "a.bin").write_bytes(b"alpha")
        (directory / "sub").mkdir()
        (directory / "sub" / "b.bin").write_bytes(b"beta!!")

    arguments: dict[str, Any] = {"kind": "toy", "format_version": 2, "meta": {"n": 3}, "write": write}
    return artifacts.publish(root, **(arguments | changes))


def load(path: Path) -> artifacts.Manifest:
    return artifacts.load(path, kind="toy", format_version=2)


def test_a_published_artifact_states_its_files_and_is_verified(tmp_path: Path) -> None:
    path = publish(tmp_path)
    manifest = load(path)
    assert path.parent == tmp_path
    assert path.name.startswith("toy-")
    assert (manifest.kind, manifest.format_version, dict(manifest.meta)) == ("toy", 2, {"n": 3})
    assert manifest.created_at.endswith("+00:00")
    assert {name: stated["bytes"] for name, stated in manifest.files.items()} == {"a.bin": 5, "sub/b.bin": 6}
    assert manifest.files["a.bin"]["sha256"] == "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"


def test_the_name_ends_with_the_hash_of_the_manifest(tmp_path: Path) -> None:
    import hashlib

    path = publish(tmp_path)
    assert path.name.rsplit("-", 1)[1] == hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()[:8]


def test_published_lists_the_newest_first_and_one_kind_only(tmp_path: Path) -> None:
    first = publish(tmp_path)
    second = publish(tmp_path)
    publish(tmp_path, kind="toy_other")
    (tmp_path / "toy-by-hand").mkdir()
    assert artifacts.published(tmp_path, kind="toy") == [second, first]
    assert artifacts.published(tmp_path / "nowhere", kind="toy") == []


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = publish(tmp_path)
    (path / "a.bin").write_bytes(b"alphA")
    with pytest.raises(ArtifactCorrupt, match="sha256"):
        load(path)


def test_a_file_that_was_cut_is_found(tmp_path: Path) -> None:
    path = publish(tmp_path)
    (path / "sub" / "b.bin").write_bytes(b"beta")
    with pytest.raises(ArtifactCorrupt, match="4 bytes; its manifest states 6"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = publish(tmp_path)
    (path / "a.bin").unlink()
    with pytest.raises(ArtifactMissing, match=r"a\.bin"):
        load(path)


def test_a_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing) as caught:
        load(tmp_path)
    assert caught.value.code == "artifact_missing"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"kind": "toy"}',
        b'{"kind": "toy", "format_version": true, "created_at": "", "files": {}, "meta": {}}',
        b'{"kind": "toy", "format_version": 2, "created_at": "", "files": {"a": 1}, "meta": {}}',
        b'{"kind": "toy", "format_version": 2, "created_at": "", "files": {"../x": {"sha256": "", "bytes": 0}}}',
    ],
)
def test_a_manifest_that_is_none_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactCorrupt) as caught:
        load(tmp_path)
    assert caught.value.code == "artifact_corrupt"


def test_another_kind_is_refused(tmp_path: Path) -> None:
    path = publish(tmp_path, kind="other")
    with pytest.raises(ArtifactIncompatible, match="kind 'other', not 'toy'"):
        load(path)


@pytest.mark.parametrize(("version", "mend"), [(3, "update this installation"), (1, "make the artifact again")])
def test_another_format_version_is_refused_with_the_remedy(tmp_path: Path, version: int, mend: str) -> None:
    path = publish(tmp_path, format_version=version)
    with pytest.raises(ArtifactIncompatible, match=mend) as caught:
        load(path)
    assert caught.value.code == "artifact_incompatible"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "half").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(tmp_path, write=write)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_before_the_rename_leaves_nothing_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = os.fork()
    if process == 0:  # a child that dies at the rename, without any clean-up
        monkeypatch.setattr(Path, "rename", lambda *_: os._exit(9))
        publish(tmp_path)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".tmp-toy-")
    assert artifacts.published(tmp_path, kind="toy") == []

    later = publish(tmp_path)  # a young directory may belong to somebody who is still writing
    assert left.exists()
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    latest = publish(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([later, latest])


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Toy-1"},
        {"kind": ""},
        {"format_version": 0},
        {"meta": {"x": float("nan")}},
        {"write": lambda directory: None},
        {"write": lambda directory: (directory / "manifest.json").write_text("{}")},
        {"write": lambda directory: (directory / "link").symlink_to("/etc/hostname")},
    ],
)
def test_what_cannot_be_published_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        publish(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_extra_file_does_not_matter(tmp_path: Path) -> None:
    path = publish(tmp_path)
    (path / "notes.txt").write_text("seen")
    assert load(path).meta == {"n": 3}


def test_meta_may_hold_any_language(tmp_path: Path) -> None:
    path = publish(tmp_path, meta={"labels": ["余额", "balance"]})
    assert load(path).meta["labels"] == ["余额", "balance"]
    assert "余额" in (path / "manifest.json").read_text(encoding="utf-8")
    assert json.loads((path / "manifest.json").read_text(encoding="utf-8"))["kind"] == "toy"
