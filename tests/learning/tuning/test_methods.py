"""One contract over all methods that tune: each learns, exports what it learnt, and leaves a loadable adapter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_app.learning import training
from lepton_app.learning.config import TrainingConfig, configured
from lepton_app.learning.datasets import Dataset, Part
from lepton_app.learning.model import load_model
from lepton_app.learning.training import Trained, train
from lepton_app.lib import artifacts
from tests.learning.tuning.conftest import Listener, part_of

METHODS = ["contrastive", "lora", "adalora", "ia3", "prompt", "full"]
# A random encoder of 32 dimensions learns in larger steps than a real one.
FAST = {"epochs": 6, "batch_size": 16, "learning_rate": 0.01, "max_length": 48, "precision": "fp32", "ngram_weight": 0}


def config_of(method: str, encoder: Path, **changes: Any) -> TrainingConfig:
    return configured(method, {**FAST, "encoder": str(encoder), "rank": 4, "initial_rank": 6, **changes})


def trained_with(method: str, encoder: Path, dataset: Dataset, root: Path, **changes: Any) -> tuple[Trained, Listener]:
    listener = Listener()
    found = train(
        dataset,
        config_of(method, encoder, **changes),
        root=root / "artifacts",
        reporter=listener,
        workspace=root / "workspace",
    )
    return found, listener


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_exports_what_it_learnt(
    method: str, tiny_encoder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    found, listener = trained_with(method, tiny_encoder, dataset, tmp_path)
    assert found.classifier is not None
    assert found.encoder is not None
    root = tmp_path / "artifacts"
    model = load_model(root, found.classifier.name, found.encoder.name)
    try:
        unseen = part_of("card", "money", "login", number=10, start=2)
        said = [prediction.labels[0] for prediction in model.predict_sync(unseen.texts)]
    finally:
        model.close()
    assert np.mean([one == other for one, other in zip(said, unseen.labels, strict=True)]) > 0.9

    figures = found.figures
    assert 0 < figures["trainable_parameters"] <= figures["total_parameters"]
    assert (figures["trainable_parameters"] < 0.5 * figures["total_parameters"]) == (method != "full")
    assert figures["samples_per_second"] > 0
    assert figures["served_precision"] in ("int8", "fp32")
    assert (figures["int8_accuracy"] >= figures["fp32_accuracy"] - 0.003) == (figures["served_precision"] == "int8")
    assert figures["torch_agreement"] >= 0.9
    assert 0 <= figures["torch_shift"] < 0.2
    card = (found.encoder / "adapter" / "README.md").read_text()
    assert "library_name: peft" in card or method in ("prompt", "full")
    assert not any(text in card for text in dataset.train.texts if " " in text)
    meta = artifacts.peek(found.encoder).meta
    assert meta["served_precision"] == figures["served_precision"]
    assert meta["parity"]["min_cosine_fp32"] > 0.9999
    done, total = listener.heard[-1]
    assert done == total
    losses = [point.loss for point in listener.points if point.loss == point.loss]
    assert losses[-1] < losses[0]
    assert any(point.accuracy is not None for point in listener.points)


# PEFT warns of the keys of the rank pattern that it wrote itself, and asks transformers by an old name.
@pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
@pytest.mark.parametrize("method", ["lora", "adalora", "ia3"])
def test_the_adapter_is_one_that_peft_loads_by_itself(
    method: str, tiny_encoder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    import peft
    import torch
    from transformers import AutoModel

    from lepton_app.learning.tuning.encoders import TorchEncoder, load_encoder
    from lepton_app.lib.text_runtime import TextEncoder

    found, _ = trained_with(method, tiny_encoder, dataset, tmp_path, epochs=2)
    assert found.encoder is not None
    model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_encoder), str(found.encoder / "adapter"))
    assert model.peft_config["default"].peft_type == method.upper()
    plain = load_encoder(tiny_encoder, max_length=48)
    alone = TorchEncoder(tiny_encoder, plain.tokeniser, model, "mean", 48)
    texts = list(dataset.validation.texts[:20])
    with torch.inference_mode():
        rows = alone.rows(plain.tokenise(texts))
    served = TextEncoder(found.encoder, precision="fp32").encode(texts)
    np.testing.assert_allclose(rows, served, atol=2e-4)
    untouched = plain.rows(plain.tokenise(texts))
    assert np.abs(untouched - served).max() > 20 * np.abs(rows - served).max(), "as good without the adapter"


def test_adalora_ends_at_its_budget_with_ranks_that_differ(
    tiny_encoder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    found, _ = trained_with("adalora", tiny_encoder, dataset, tmp_path, epochs=12)
    ranks = found.figures["ranks"]
    assert len(ranks) == 12  # six linear layers in each of two
    assert sum(ranks.values()) == 4 * 12
    assert len(set(ranks.values())) > 1
    assert max(ranks.values()) <= 6
    assert found.encoder is not None
    about = json.loads((found.encoder / "adapter" / "adapter_config.json").read_text())
    kept = {name: sum(map(bool, mask)) for name, mask in about["rank_pattern"].items()}
    assert sum(kept.values()) == 48


def test_a_soft_prompt_changes_what_the_exported_encoder_says(
    tiny_encoder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    from lepton_app.learning.tuning.encoders import load_encoder
    from lepton_app.lib.text_runtime import TextEncoder

    found, _ = trained_with("prompt", tiny_encoder, dataset, tmp_path, prompt_tokens=4)
    assert found.encoder is not None
    plain = load_encoder(tiny_encoder, max_length=48)
    texts = list(dataset.validation.texts[:5])
    served = TextEncoder(found.encoder, precision="fp32").encode(texts)
    assert np.abs(plain.rows(plain.tokenise(texts)) - served).max() > 0.01


def test_layers_can_be_dropped(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    whole, _ = trained_with("lora", tiny_encoder, dataset, tmp_path / "whole")
    half, _ = trained_with("lora", tiny_encoder, dataset, tmp_path / "half", layers=1, distil_epochs=6)
    assert whole.encoder is not None
    assert half.encoder is not None
    sizes = [artifacts.peek(path).files["model.onnx"]["bytes"] for path in (whole.encoder, half.encoder)]
    assert sizes[1] < 0.8 * sizes[0]
    assert half.figures["fp32_accuracy"] > 0.9


@pytest.mark.parametrize(("rows", "tried"), [(120, [20.0, 5.0, 1.0]), (99, [20.0])])
def test_the_heads_regularisation_is_chosen_on_validation_texts(
    rows: int, tried: list[float], tiny_encoder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = part_of("card", "money", "login", number=40, start=1)
    chosen = replace(dataset, validation=Part(validation.texts[:rows], validation.labels[:rows]))
    asked: list[float] = []
    real = training.fit_linear

    def fit(*args: Any, **kwargs: Any) -> Any:
        fitted = real(*args, **kwargs)
        if kwargs["encoder_version"] == "draft":  # fitted to compare precisions
            return fitted
        asked.append(kwargs["config"].inverse_regularisation)
        accuracy = {20.0: 0.8, 5.0: 0.9, 1.0: 0.9}[asked[-1]]
        return replace(fitted, meta={**fitted.meta, "held_out_accuracy": accuracy})

    monkeypatch.setattr(training, "fit_linear", fit)
    found, _ = trained_with("lora", tiny_encoder, chosen, tmp_path, epochs=1)
    assert asked == tried
    assert found.figures["inverse_regularisation"] == tried[min(1, len(tried) - 1)]
    with_its_own, _ = trained_with("lora", tiny_encoder, chosen, tmp_path / "own", epochs=1, inverse_regularisation=5)
    assert with_its_own.figures["inverse_regularisation"] == 5
