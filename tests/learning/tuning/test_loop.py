"""The loop between two steps: killed and gone on with, cancelled, stopped early, averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lepton_app.learning.config import TrainingConfig, configured
from lepton_app.learning.datasets import Dataset, Part, Point
from lepton_app.learning.errors import TrainingDiverged
from lepton_app.learning.tuning import adapters, loop
from lepton_app.learning.tuning.encoders import TorchEncoder, load_encoder
from tests.learning.tuning.conftest import Listener


class Bench:
    """An adapted encoder with its head and its examples, made anew like a worker does that starts."""

    def __init__(self, encoder: Path, dataset: Dataset, method: str = "lora", **changes: Any) -> None:
        options = {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, "precision": "fp32", "rank": 4}
        self.config: TrainingConfig = configured(method, {**options, "initial_rank": 6, **changes})
        self.encoder: TorchEncoder = load_encoder(encoder, max_length=48, dropout=self.config.dropout)
        self.train, self.validation = self.examples(dataset, dataset.train), self.examples(dataset, dataset.validation)
        torch.manual_seed(self.config.seed)
        steps = loop.planned_steps(self.train, self.config)
        self.adapted = adapters.adapt(self.encoder, self.config, total_steps=steps)
        self.head = nn.Linear(self.encoder.dimension, len(dataset.labels))

    def examples(self, dataset: Dataset, part: Part) -> loop.Examples:
        return loop.Examples(self.encoder.tokenise(part.texts), [dataset.labels.index(label) for label in part.labels])

    def tune(self, workspace: Path, listener: Listener | None = None) -> list[Point]:
        return loop.tune(
            self.adapted,
            self.head,
            self.train,
            self.validation,
            self.config,
            workspace=workspace,
            reporter=listener or Listener(),
        )

    def weights(self) -> np.ndarray:
        learning = [*(parameter for _, parameter in self.adapted.trainable()), *self.head.parameters()]
        return np.concatenate([parameter.detach().numpy().ravel() for parameter in learning])


@pytest.mark.parametrize("method", ["lora", "adalora", "contrastive"])
def test_a_killed_tuning_goes_on_as_if_nothing_had_happened(
    method: str, tiny_encoder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"averaging": 0.9, "batch_size": 12}
    whole = Bench(tiny_encoder, dataset, method, **changes)
    points = whole.tune(tmp_path / "whole")

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)  # after every step
    killed = Bench(tiny_encoder, dataset, method, **changes)
    stops = len(points) // 2 + 1
    with pytest.raises(InterruptedError):
        killed.tune(tmp_path / "killed", Listener(stop_at=stops))
    listener = Listener()
    resumed = Bench(tiny_encoder, dataset, method, **changes)
    again = resumed.tune(tmp_path / "killed", listener)
    # The step that was reported when it was killed had not been written; every one before it had.
    assert listener.heard[0][0] == stops - 1
    np.testing.assert_allclose(resumed.weights(), whole.weights(), atol=1e-5)
    assert [point.step for point in again] == [point.step for point in points]
    assert resumed.adapted.ranks() == whole.adapted.ranks()


def test_a_checkpoint_of_another_configuration_is_not_gone_on_from(
    tiny_encoder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(InterruptedError):
        Bench(tiny_encoder, dataset).tune(tmp_path, Listener(stop_at=3))
    listener = Listener()
    Bench(tiny_encoder, dataset, seed=1).tune(tmp_path, listener)
    assert listener.heard[0][0] == 0


def test_a_damaged_checkpoint_is_left_aside(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    listener = Listener()
    Bench(tiny_encoder, dataset, epochs=1).tune(tmp_path, listener)
    assert listener.heard[0][0] == 0


def test_patience_stops_and_keeps_the_best_epoch(
    tiny_encoder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tiny_encoder, dataset, epochs=20, patience=2)
    accuracies = iter([0.5, 0.9, 0.7, 0.8, 0.99])
    seen: list[np.ndarray] = []

    def validated(self: Any, point: Point) -> Point:
        seen.append(bench.weights())
        return Point(point.step, point.epoch, point.loss, point.learning_rate, 1.0, next(accuracies))

    monkeypatch.setattr(loop._Loop, "_validated", validated)
    points = bench.tune(tmp_path)
    assert [point.accuracy for point in points if point.accuracy is not None] == [0.5, 0.9, 0.7, 0.8]
    np.testing.assert_array_equal(bench.weights(), seen[1])
    assert not np.array_equal(seen[1], seen[3])


def test_adalora_is_not_stopped_before_its_ranks_are_final(
    tiny_encoder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    bench = Bench(tiny_encoder, dataset, "adalora", epochs=6, patience=1, learning_rate=1e-6, head_learning_rate=1e-6)
    listener = Listener()
    bench.tune(tmp_path, listener)
    assert listener.heard[-1][0] == listener.heard[-1][1]
    assert sum(bench.adapted.ranks().values()) == 4 * 12


def test_the_learning_rate_rises_and_falls(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    bench = Bench(tiny_encoder, dataset, warm_up=0.2)
    rates = [point.learning_rate for point in bench.tune(tmp_path)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.01)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize(
    "changes",
    [{"optimiser": "sgd"}, {"class_weights": "balanced"}, {"consistency": 1.0}, {"contrastive_weight": 0.5}],
    ids=str,
)
def test_an_option_makes_a_difference(
    changes: dict[str, Any], tiny_encoder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    smaller = Dataset(Part(dataset.train.texts[:60], dataset.train.labels[:60]), dataset.validation)
    plain, other = Bench(tiny_encoder, smaller, epochs=1), Bench(tiny_encoder, smaller, epochs=1, **changes)
    plain.tune(tmp_path / "plain")
    points = other.tune(tmp_path / "other")
    assert np.isfinite([point.loss for point in points]).all()
    assert not np.allclose(plain.weights(), other.weights(), atol=1e-4)


def test_the_same_seed_gives_the_same_weights(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    first, second, other = (Bench(tiny_encoder, dataset, epochs=1, seed=seed) for seed in (0, 0, 1))
    for place, bench in enumerate((first, second, other)):
        bench.tune(tmp_path / str(place))
    np.testing.assert_array_equal(first.weights(), second.weights())
    assert not np.allclose(first.weights(), other.weights())


def test_a_tuning_without_numbers_left_says_so(tiny_encoder: Path, dataset: Dataset, tmp_path: Path) -> None:
    bench = Bench(tiny_encoder, dataset)
    bench.head.weight.data[0, 0] = float("inf")
    with pytest.raises(TrainingDiverged, match="at step 1; lower learning_rate or use precision=fp32"):
        bench.tune(tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()
