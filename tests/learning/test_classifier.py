from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lepton_app.learning.classifier import CLASSIFIER_FORMAT_VERSION, LinearClassifier
from lepton_app.learning.linear import fit_linear
from lepton_app.lib import artifacts
from lepton_app.lib.artifacts import ArtifactCorrupt, ArtifactIncompatible, ArtifactMissing
from tests.learning.test_linear import LABELS, TEXTS, embed


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


QUESTIONS = [*TEXTS[::7], "where is it", "我的卡 lost", "", "今天天气怎么样", "\x00", "余额?"]


@pytest.fixture(scope="module")
def classifier() -> LinearClassifier:
    return fit_linear(TEXTS, LABELS, embed(TEXTS), encoder_version="toy-1")


def test_a_loaded_classifier_says_bit_for_bit_the_same(classifier: LinearClassifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path)
    loaded = LinearClassifier.load(path)
    assert loaded.predict(QUESTIONS, embed(QUESTIONS)) == classifier.predict(QUESTIONS, embed(QUESTIONS))
    for question in QUESTIONS:
        row = embed([question])
        assert loaded.predict([question], row) == classifier.predict([question], row)
    assert loaded.version == path.name
    assert (loaded.labels, loaded.encoder_version, loaded.meta) == (classifier.labels, "toy-1", classifier.meta)
    again = LinearClassifier.load(loaded.save(tmp_path))
    assert again.predict(QUESTIONS, embed(QUESTIONS)) == classifier.predict(QUESTIONS, embed(QUESTIONS))


def test_one_text_and_many_agree(classifier: LinearClassifier) -> None:
    together = classifier.predict(QUESTIONS, embed(QUESTIONS))
    for question, expected in zip(QUESTIONS, together, strict=True):
        (alone,) = classifier.predict([question], embed([question]))
        assert alone.labels[0] == expected.labels[0]
        assert alone.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        assert alone.scope_score == pytest.approx(expected.scope_score, abs=1e-3)


def test_no_texts_give_no_predictions(classifier: LinearClassifier) -> None:
    assert classifier.predict([], np.empty((0, 32), dtype=np.float32)) == []


def test_embeddings_of_another_shape_are_refused(classifier: LinearClassifier) -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 32\)"):
        classifier.predict(["a"], np.zeros((1, 31), dtype=np.float32))
    with pytest.raises(ValueError):
        classifier.predict(["a"], np.zeros((2, 32), dtype=np.float32))


def test_a_damaged_artifact_is_refused(classifier: LinearClassifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path)
    content = bytearray((path / "arrays.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "arrays.safetensors").write_bytes(content)
    with pytest.raises(ArtifactCorrupt):
        LinearClassifier.load(path)
    (path / "vocabulary.txt").unlink()
    (path / "arrays.safetensors").unlink()
    with pytest.raises(ArtifactMissing):
        LinearClassifier.load(path)


def test_arrays_that_do_not_fit_the_labels_are_refused(classifier: LinearClassifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path / "good")
    manifest = artifacts.peek(path)
    arrays = load_file(path / "arrays.safetensors")
    arrays["bias"] = arrays["bias"][:-1]

    def write(directory: Path) -> None:
        save_file(arrays, directory / "arrays.safetensors")
        (directory / "vocabulary.txt").write_bytes((path / "vocabulary.txt").read_bytes())

    bad = artifacts.publish(
        tmp_path, kind="classifier", format_version=CLASSIFIER_FORMAT_VERSION, meta=manifest.meta, write=write
    )
    with pytest.raises(ArtifactCorrupt, match="other shapes"):
        LinearClassifier.load(bad)
    arrays = load_file(path / "arrays.safetensors")
    arrays["en.starts"] = arrays["en.starts"][:-1]
    bad = artifacts.publish(
        tmp_path, kind="classifier", format_version=CLASSIFIER_FORMAT_VERSION, meta=manifest.meta, write=write
    )
    with pytest.raises(ArtifactCorrupt, match="other labels"):
        LinearClassifier.load(bad)
    nameless = artifacts.publish(
        tmp_path, kind="classifier", format_version=CLASSIFIER_FORMAT_VERSION, meta={}, write=write
    )
    with pytest.raises(ArtifactCorrupt):
        LinearClassifier.load(nameless)


def test_an_artifact_of_an_earlier_format_is_refused(classifier: LinearClassifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path / "now")

    def write(directory: Path) -> None:
        for name in ("arrays.safetensors", "vocabulary.txt"):
            (directory / name).write_bytes((path / name).read_bytes())

    meta = artifacts.peek(path).meta
    old = artifacts.publish(tmp_path, kind="classifier", format_version=1, meta=meta, write=write)
    with pytest.raises(ArtifactIncompatible, match="make the artifact again"):
        LinearClassifier.load(old)


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = artifacts.publish(
        tmp_path,
        kind="encoder",
        format_version=1,
        meta={},
        write=lambda directory: _write(directory / "a", b"a"),
    )
    with pytest.raises(ArtifactIncompatible):
        LinearClassifier.load(path)


def test_serving_loads_neither_torch_nor_transformers_nor_sklearn(classifier: LinearClassifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path)
    program = f"""
import sys
from pathlib import Path
import numpy as np
import lepton_app.lib.text_runtime
from lepton_app.learning.classifier import CLASSIFIER_FORMAT_VERSION, LinearClassifier
loaded = LinearClassifier.load(Path({str(path)!r}))
rows = np.full((1, 32), 32 ** -0.5, dtype=np.float32)
assert loaded.predict(["i lost my card"], rows)[0].labels
heavy = {{"torch", "transformers", "sentence_transformers", "peft", "sklearn", "django"}}
print(sorted(heavy & {{name.split(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"
