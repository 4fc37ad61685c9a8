"""A model that comes with the project: packed small, read with care, installed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lepton_app.learning import shipped
from lepton_app.learning.shipped import Head, ShippedUnreadable

D, HIDDEN = 16, 24


def lora(rank: int, *, seed: int = 0) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    draw = np.random.default_rng(seed)
    found = {}
    for name, (wide, deep) in {"query": (D, D), "dense": (D, HIDDEN)}.items():
        found[f"base_model.model.{name}.lora_A.weight"] = draw.standard_normal((rank, wide)).astype(np.float32)
        found[f"base_model.model.{name}.lora_B.weight"] = draw.standard_normal((deep, rank)).astype(np.float32)
    return found


def product(weights: dict[str, Any], name: str) -> Any:
    stem = f"base_model.model.{name}"
    return weights[f"{stem}.lora_B.weight"].astype(np.float64) @ weights[f"{stem}.lora_A.weight"].astype(np.float64)


def head() -> Head:
    draw = np.random.default_rng(1)
    weight = draw.standard_normal((3, D)).astype(np.float32)
    rows = draw.standard_normal((30, D)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    targets = (rows @ weight.T).argmax(axis=1)
    return Head(("negative", "neutral", "positive"), weight, np.zeros(3, dtype=np.float32), 1.5, rows, targets)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file(lora(4), adapter / shipped.ADAPTER_WEIGHTS)
    about = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "/home/somebody/model"}
    (adapter / shipped.ADAPTER_CONFIG).write_text(json.dumps(about))
    shipped.pack(
        adapter,
        tmp_path / "model",
        head=head(),
        rank=2,
        options={"epochs": 3, "rank": 2, "alpha": 4},
        max_length=64,
        precision="int8",
        figures={"accuracy": 0.9},
        card="# Card\n",
    )
    return tmp_path / "model"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_kept_is_the_nearest_of_its_rank(rank: int) -> None:
    whole, kept = lora(4), shipped.truncated(lora(4), rank=rank)
    for name in ("query", "dense"):
        u, values, v = np.linalg.svd(product(whole, name), full_matrices=False)
        nearest = (u[:, :rank] * values[:rank]) @ v[:rank]
        assert product(kept, name) == pytest.approx(nearest, abs=1e-4)
        assert kept[f"base_model.model.{name}.lora_A.weight"].shape == (rank, D)


def test_at_full_rank_nothing_is_lost() -> None:
    kept = shipped.truncated(lora(4), rank=4)
    assert product(kept, "dense") == pytest.approx(product(lora(4), "dense"), abs=1e-4)


def test_other_adapters_than_lora_are_refused() -> None:
    with pytest.raises(ShippedUnreadable, match="only method lora"):
        shipped.truncated({**lora(2), "base_model.model.query.lora_E": np.zeros(2, dtype=np.float32)}, rank=1)


def test_a_pack_is_small_keeps_its_scale_and_names_no_machine(packed: Path) -> None:
    about = json.loads((packed / shipped.ADAPTER_CONFIG).read_text())
    assert (about["r"], about["lora_alpha"]) == (2, 4)
    assert about["base_model_name_or_path"] == shipped.BASE_NAME
    weights = load_file(packed / shipped.ADAPTER_WEIGHTS)
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float16)}
    assert "somebody" not in "".join(path.read_text("latin-1") for path in packed.iterdir())


def test_what_was_packed_is_read(packed: Path) -> None:
    found, wanted = shipped.read(packed), head()
    assert (found.head.labels, found.head.temperature, found.precision) == (wanted.labels, 1.5, "int8")
    assert np.array_equal(found.head.weight, wanted.weight)
    assert np.allclose(found.head.rows, wanted.rows, atol=1e-3)
    assert (found.method, found.max_length, found.figures) == ("lora", 64, {"accuracy": 0.9})
    assert found.source == f"shipped:{found.sha256[:16]}"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("shipped.json", "{", "Expecting property name"),
        ("shipped.json", '{"format_version": 9}', "its format version is 9, and 1 is read here"),
        ("head.safetensors", "no tensors", "holds no model that comes with the project"),
        ("adapter_model.safetensors", None, "adapter_model"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be_is_told(
    packed: Path, name: str, content: str | None, reason: str
) -> None:
    (packed / name).unlink()
    if content is not None:
        (packed / name).write_text(content)
    with pytest.raises(ShippedUnreadable, match=reason):
        shipped.read(packed)


def test_labels_that_do_not_fit_the_head_are_told(packed: Path) -> None:
    about = json.loads((packed / shipped.ABOUT_FILE).read_text())
    (packed / shipped.ABOUT_FILE).write_text(json.dumps(about | {"labels": ["up", "down"]}))
    with pytest.raises(ShippedUnreadable, match="other shapes than 2 labels ask for"):
        shipped.read(packed)


def test_the_classifier_says_what_the_head_says(tmp_path: Path) -> None:
    given = head()
    classifier = shipped.classifier_of(given, encoder_version="toy")
    loaded = type(classifier).load(classifier.save(tmp_path))
    logits = given.rows @ given.weight.T / 1.5
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    texts = ["some words"] * len(given.rows)
    assert loaded.probabilities(texts, given.rows) == pytest.approx(expected, abs=1e-5)
    said = loaded.predict(texts, given.rows)
    assert [one.labels[0] for one in said] == [given.labels[column] for column in given.targets]
    assert np.mean([one.in_scope for one in said]) > 0.9


def test_places_are_spread_over_every_target() -> None:
    assert shipped.spread_rows([0] * 100 + [1] * 3, each=3) == [0, 34, 68, 100, 101, 102]
