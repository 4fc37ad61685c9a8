"""Runs that start from earlier runs: the adapter and the head go on, labels come and go, pre-training is a base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lepton_app.learning import training
from lepton_app.learning.datasets import Dataset, Part
from lepton_app.learning.errors import BaseUnusable, NothingToLearn
from lepton_app.learning.training import Base, train
from lepton_app.learning.tuning.encoders import load_encoder
from lepton_app.lib.text_runtime import TextEncoder
from tests.learning.tuning.conftest import Listener, part_of
from tests.learning.tuning.test_methods import config_of, trained_with


def test_a_warm_start_goes_on_from_adapter_and_head(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    smaller = Dataset(part_of("card", "money", number=24), part_of("card", "money", number=5, start=1))
    first, _ = trained_with("lora", tiny_encoder, smaller, tmp_path / "first")
    assert first.encoder is not None
    kept = training._kept_head(first.encoder / "adapter")
    assert kept is not None
    assert kept.labels == ("card", "money")

    # "login" is new and "card" has gone.
    grown = Dataset(part_of("login", "money", number=24), part_of("login", "money", number=5, start=1))
    second = train(
        grown,
        config_of("lora", tiny_encoder, epochs=1, learning_rate=1e-12, head_learning_rate=1e-12),
        root=tmp_path / "artifacts",
        reporter=Listener(),
        workspace=tmp_path / "w",
        base=Base(warm=first.encoder, learnt=frozenset(smaller.train.texts)),
    )
    assert second.encoder is not None
    other = training._kept_head(second.encoder / "adapter")
    assert other is not None
    assert other.labels == ("login", "money")
    np.testing.assert_allclose(other.weight[1], kept.weight[1], atol=1e-6)
    texts = list(dataset.validation.texts[:10])
    rows = [TextEncoder(found.encoder, precision="fp32").encode(texts) for found in (first, second) if found.encoder]
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-4)
    plain = load_encoder(tiny_encoder, max_length=48)
    assert np.abs(plain.rows(plain.tokenise(texts)) - rows[0]).max() > 0.02


def test_a_warm_start_of_another_shape_is_refused(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    first, _ = trained_with("lora", tiny_encoder, dataset, tmp_path / "first", epochs=1)
    before = set((tmp_path / "first" / "artifacts").iterdir())
    for method, changes in (("lora", {"rank": 3}), ("ia3", {}), ("full", {})):
        with pytest.raises(BaseUnusable, match="use its method, rank and targets"):
            train(
                dataset,
                config_of(method, tiny_encoder, **changes),
                root=tmp_path / "first" / "artifacts",
                reporter=Listener(),
                workspace=tmp_path / method,
                base=Base(warm=first.encoder),
            )
    assert set((tmp_path / "first" / "artifacts").iterdir()) == before


def test_the_replay_leaves_out_old_texts_only(tiny_encoder: Path) -> None:
    old = [f"old {n}" for n in range(200)]
    part = Part((*old, "new 1", "new 2"), (*["a"] * 199, "b", "a", "c"))
    base = Base(warm=Path("somewhere"), learnt=frozenset(old))
    found = training._replayed(part, base, config_of("lora", tiny_encoder, replay=0.25))
    assert {"new 1", "new 2"} <= set(found.texts)
    assert 25 < len(found) < 80
    assert set(found.labels) == {"a", "b", "c"}, "a label must not vanish"
    assert training._replayed(part, base, config_of("lora", tiny_encoder)) == part


def test_pre_training_lowers_its_loss_and_is_a_base(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    found, listener = trained_with("pretrain", tiny_encoder, dataset, tmp_path, epochs=25, head_learning_rate=0.05)
    assert found.classifier is None
    assert found.encoder is not None
    assert found.figures["last_loss"] < 0.9 * found.figures["first_loss"]
    assert listener.heard[-1][0] == listener.heard[-1][1]
    merged = load_encoder(tiny_encoder, max_length=48, lineage=[found.encoder / "adapter"])
    texts = list(dataset.validation.texts[:10])
    served = TextEncoder(found.encoder, precision="fp32").encode(texts)
    np.testing.assert_allclose(merged.rows(merged.tokenise(texts)), served, atol=2e-4)

    after = train(
        dataset,
        config_of("lora", tiny_encoder, epochs=2),
        root=tmp_path / "artifacts",
        reporter=Listener(),
        workspace=tmp_path / "after",
        base=Base(lineage=(found.encoder,)),
    )
    assert after.encoder is not None
    # What builds on it later finds the whole line in this one artifact.
    assert [path.name for path in training._adapters_of([after.encoder])] == ["0", "adapter"]
    rebuilt = load_encoder(tiny_encoder, max_length=48, lineage=training._adapters_of([after.encoder]))
    served = TextEncoder(after.encoder, precision="fp32").encode(texts)
    np.testing.assert_allclose(rebuilt.rows(rebuilt.tokenise(texts)), served, atol=2e-4)


def test_pre_training_needs_texts(tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToLearn, match="at least 20 texts; there are 4"):
        trained_with("pretrain", tiny_encoder, Dataset(Part(("a b", "c", "d", "e"), ("x",) * 4)), tmp_path)
    assert not (tmp_path / "artifacts").exists()


def test_a_soft_prompt_is_no_base(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    found, _ = trained_with("prompt", tiny_encoder, dataset, tmp_path, epochs=1)
    assert found.encoder is not None
    with pytest.raises(BaseUnusable, match="soft prompt cannot be merged"):
        load_encoder(tiny_encoder, max_length=48, lineage=[found.encoder / "adapter"])
