"""The steps of a tuning: batches, schedule, averages, early stopping, checkpoints, and what is said meanwhile.

A checkpoint holds everything that a step depends on but the order of the texts, which follows from seed and epoch:
trained weights, head, moving averages, the optimiser's moments, AdaLoRA's importances and the state of the random
numbers. A run that is killed and started again in the same workspace therefore goes on as if nothing had happened.
Tensors lie in safetensors and numbers in JSON; nothing is pickled.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Point, Reporter
from lepton_app.learning.errors import TrainingDiverged
from lepton_app.learning.tuning import batches, losses
from lepton_app.learning.tuning.adapters import Adapted
from lepton_app.learning.tuning.encoders import Tokens, padded

CHECKPOINT_SECONDS = 30.0
_CHECKPOINT, _BEST = "checkpoint.safetensors", "best.safetensors"
_POINTS_AN_EPOCH = 20
_PIECE_TEXTS = 32
_MOST_CENTRE_TEXTS = 3000


@dataclass
class Examples:
    """Tokenised texts with their targets, columns of the head from 0."""

    tokens: Tokens
    targets: list[int]


@dataclass
class _State:
    """Where the loop stands, as a checkpoint keeps it."""

    step: int = 0
    points: list[Point] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = 0


def planned_steps(train: Examples, config: TrainingConfig) -> int:
    """Return the true number of optimiser steps that a run over these examples takes."""
    return _Plan(train, config).total


def tune(
    adapted: Adapted,
    head: nn.Linear,
    train: Examples,
    validation: Examples,
    config: TrainingConfig,
    *,
    workspace: Path,
    reporter: Reporter,
) -> list[Point]:
    """Let adapter and head learn the training examples, in place; return the points of the run's curves.

    ``head`` is a linear layer on unit rows, ``(k, d)``. With validation examples and ``patience`` the weights of the
    best epoch are kept. Checkpoints are written into ``workspace``; one that is found there is gone on from. Whatever
    the reporter raises ends the run between two steps.
    """
    torch.manual_seed(config.seed)
    loop = _Loop(adapted, head, train, validation, config, workspace)
    loop.resume()
    loop.run(reporter)
    return loop.state.points


class _Loop:
    def __init__(
        self,
        adapted: Adapted,
        head: nn.Linear,
        train: Examples,
        validation: Examples,
        config: TrainingConfig,
        workspace: Path,
    ) -> None:
        self.adapted, self.head, self.config = adapted, head, config
        self.train, self.validation, self.workspace = train, validation, workspace
        self.adapter = [parameter for _, parameter in adapted.trainable()]
        self.learning = [*self.adapter, *head.parameters()]
        self.optimiser = _optimiser(self.adapter, head, config)
        self.plan = _Plan(train, config)
        self.averages = [parameter.detach().clone() for parameter in self.learning] if config.averaging else []
        self.weights = _class_weights(train.targets, head.out_features) if config.class_weights == "balanced" else None
        self.autocast = uses_bf16(config.precision)
        self.state = _State()
        self.saved_at = time.monotonic()

    def run(self, reporter: Reporter) -> None:
        """Step to the end, or until the validation accuracy has not risen for ``patience`` epochs."""
        total, an_epoch = self.plan.total, self.plan.an_epoch
        every = max(1, an_epoch // _POINTS_AN_EPOCH)
        reporter.steps(self.state.step, total)
        lost, counted = 0.0, 0
        while self.state.step < total:
            step = self.state.step
            rate = self._set_rates(step)
            loss = self._step(self.plan.batch(step), step)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"The loss is no longer a number at step {step + 1}; lower learning_rate or use precision=fp32."
                )
            lost, counted = lost + loss, counted + 1
            self.state.step = step + 1
            ends_epoch = self.state.step % an_epoch == 0
            point = None
            if ends_epoch or self.state.step % every == 0:
                point = Point(self.state.step, self.state.step / an_epoch, lost / counted, rate)
                lost, counted = 0.0, 0
                if ends_epoch and self.validation.tokens:
                    point = self._validated(point)
                self.state.points.append(point)
            reporter.steps(self.state.step, total, point)
            if ends_epoch and self._is_enough(point):
                break
            if time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
                self.checkpoint()
        self._settle()

    def _step(self, places: list[int], step: int) -> float:
        config = self.config
        self.adapted.encoder.transformer.train()
        # Of like length side by side, so that a large batch is padded in small pieces.
        places = sorted(places, key=lambda place: len(self.train.tokens[place]))
        targets = torch.tensor([self.train.targets[place] for place in places])
        rows, logits = self._forward(places)
        loss = self._classification(logits, targets)
        if config.consistency:
            again, other = self._forward(places)
            loss = (loss + self._classification(other, targets)) / 2
            loss = loss + config.consistency * losses.consistency(logits, other)
            rows, targets = torch.cat([rows, again]), targets.repeat(2)
        if config.contrastive_weight:
            contrast = losses.contrast(rows, targets, temperature=config.contrastive_temperature)
            loss = loss + config.contrastive_weight * contrast
        total = loss + self.adapted.penalty()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if config.gradient_clip:
            nn.utils.clip_grad_norm_(self.learning, config.gradient_clip)
        self.optimiser.step()
        self.adapted.after_step(step)
        with torch.no_grad():
            for average, parameter in zip(self.averages, self.learning, strict=False):
                # A young average would remember the start: its decay rises to the configured one.
                decay = min(config.averaging, (1 + step) / (10 + step))
                average.lerp_(parameter, 1 - decay)
        return float(loss.detach())

    def _classification(self, logits: Tensor, targets: Tensor) -> Tensor:
        config = self.config
        loss = losses.classification(logits, targets, smoothing=config.label_smoothing, weights=self.weights)
        return config.classification_weight * loss

    def _forward(self, places: list[int]) -> tuple[Tensor, Tensor]:
        """Return the rows ``(b, d)`` and the logits ``(b, k)`` of a batch, encoded in pieces."""
        pieces = []
        for start in range(0, len(places), _PIECE_TEXTS):
            ids, mask = padded([self.train.tokens[place] for place in places[start : start + _PIECE_TEXTS]])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                pieces.append(self.adapted.encoder.pooled(ids, mask).float())
        rows = torch.cat(pieces)
        return rows, self.head(rows)

    def _set_rates(self, step: int) -> float:
        """Raise the learning rates over the warm-up and let them fall to 0 along a cosine; return the adapter's."""
        total = self.plan.total
        warm = max(1, round(self.config.warm_up * total))
        factor = (
            (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
        )
        rates = (self.config.learning_rate, self.config.head_learning_rate)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        return self.config.learning_rate * factor

    def _validated(self, point: Point) -> Point:
        with self._averaged():
            rows = torch.from_numpy(self.adapted.encoder.rows(self.validation.tokens, bf16=self.autocast))
            with torch.inference_mode():
                logits = self.head(rows) if self.config.classification_weight else rows @ self._centres().T
                targets = torch.tensor(self.validation.targets)
                loss = float(losses.classification(logits, targets, smoothing=0.0, weights=None))
                accuracy = float((logits.argmax(dim=1) == targets).float().mean())
        return Point(point.step, point.epoch, point.loss, point.learning_rate, loss, accuracy)

    def _centres(self) -> Tensor:
        """Return the mean row of each label's training texts over the contrastive temperature, ``(k, d)``.

        What learns by contrast alone has no head yet; the nearest centre stands for it.
        """
        every = max(1, len(self.train.tokens) // _MOST_CENTRE_TEXTS)
        chosen = range(0, len(self.train.tokens), every)
        tokens = [self.train.tokens[place] for place in chosen]
        rows = torch.from_numpy(self.adapted.encoder.rows(tokens, bf16=self.autocast))
        targets = torch.tensor([self.train.targets[place] for place in chosen])
        sums = torch.zeros(self.head.out_features, rows.shape[1]).index_add_(0, targets, rows)
        return nn.functional.normalize(sums, dim=1) / self.config.contrastive_temperature

    def _is_enough(self, point: Point | None) -> bool:
        """Keep the weights of the best epoch and tell whether ``patience`` epochs brought nothing better."""
        if not self.config.patience or point is None or point.accuracy is None:
            return False
        epoch = round(point.epoch)
        if self.adapted.method == "adalora" and self.state.step < self.plan.total:
            return False  # its ranks are final only at the end
        if point.accuracy > self.state.best:
            self.state.best, self.state.best_epoch = point.accuracy, epoch
            with self._averaged():
                save_file(self._weights(), self.workspace / _BEST)
            return False
        return epoch - self.state.best_epoch >= self.config.patience

    def _settle(self) -> None:
        """Leave the weights that the run is to be judged by: the best epoch's, the average's, or the last."""
        best = self.workspace / _BEST
        if self.config.patience and best.exists():
            found = load_file(best)
            for place, parameter in enumerate(self.learning):
                parameter.data.copy_(found[f"{place}"])
        elif self.averages:
            for average, parameter in zip(self.averages, self.learning, strict=True):
                parameter.data.copy_(average)

    def _weights(self) -> dict[str, Tensor]:
        return {f"{place}": parameter.detach().clone() for place, parameter in enumerate(self.learning)}

    def _averaged(self) -> _Swapped:
        return _Swapped(self.learning, self.averages)

    def checkpoint(self) -> None:
        """Write where the loop stands, by rename: a kill leaves the old checkpoint or the new one."""
        tensors = {f"weight.{name}": value for name, value in self._weights().items()}
        tensors |= {f"average.{place}": value.clone() for place, value in enumerate(self.averages)}
        tensors["random"] = torch.get_rng_state()
        for place, parameter in enumerate(self.learning):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"moment.{place}.{name}"] = value.detach().clone()
        for name, value in _importances(self.adapted).items():
            tensors[name] = value
        numbers = {**asdict(self.state), "ranks": _rank_pattern(self.adapted), "config": self.config.sha256}
        self.workspace.mkdir(parents=True, exist_ok=True)
        tensors_file = self.workspace / _CHECKPOINT
        # The numbers ride in the tensors' file, so that one rename moves both.
        save_file(tensors, tensors_file.with_suffix(".new"), metadata={"numbers": json.dumps(numbers)})
        tensors_file.with_suffix(".new").replace(tensors_file)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go on from the workspace's checkpoint when there is one of this configuration."""
        path = self.workspace / _CHECKPOINT
        self.workspace.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        from safetensors import safe_open

        try:
            with safe_open(path, framework="pt") as opened:
                numbers = json.loads(opened.metadata()["numbers"])
            tensors = load_file(path)
        except (OSError, KeyError, ValueError, SafetensorError):
            path.unlink()  # it was damaged, and a run can start again
            return
        if numbers["config"] != self.config.sha256:
            return
        for place, parameter in enumerate(self.learning):
            parameter.data.copy_(tensors[f"weight.{place}"])
        for place, average in enumerate(self.averages):
            average.copy_(tensors[f"average.{place}"])
        for name, value in tensors.items():
            if name.startswith("moment."):
                _, place_name, moment = name.split(".", 2)
                self.optimiser.state[self.learning[int(place_name)]][moment] = value
        _restore_importances(self.adapted, tensors, numbers["ranks"])
        torch.set_rng_state(tensors["random"])
        self.state = _State(
            step=numbers["step"],
            points=[Point(**point) for point in numbers["points"]],
            best=numbers["best"],
            best_epoch=numbers["best_epoch"],
        )


class _Swapped:
    """Within the block the averages stand where the weights are."""

    def __init__(self, weights: list[nn.Parameter], averages: list[Tensor]) -> None:
        self.weights, self.averages = weights, averages

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *exc: object) -> None:
        self._swap()

    def _swap(self) -> None:
        for place, weight in enumerate(self.weights if self.averages else []):
            weight.data, self.averages[place] = self.averages[place], weight.data


class _Plan:
    """The batches of all epochs; each epoch's follow from the seed, so that a resumed run meets the same ones."""

    def __init__(self, train: Examples, config: TrainingConfig) -> None:
        self._lengths = [len(tokens) for tokens in train.tokens]
        self._targets, self._config = train.targets, config
        self._epoch, self._batches = 0, _epoch_batches(self._lengths, train.targets, config, epoch=0)
        self.an_epoch = len(self._batches)
        self.total = self.an_epoch * config.epochs

    def batch(self, step: int) -> list[int]:
        epoch, place = divmod(step, self.an_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = _epoch_batches(self._lengths, self._targets, self._config, epoch=epoch)
        return self._batches[place]


def _is_contrastive(config: TrainingConfig) -> bool:
    return config.method == "contrastive"


def _epoch_batches(lengths: list[int], targets: list[int], config: TrainingConfig, *, epoch: int) -> list[list[int]]:
    seed = config.seed * 10_000 + epoch
    if _is_contrastive(config):
        return batches.by_label(targets, size=config.batch_size, texts_per_label=config.texts_per_label, seed=seed)
    return batches.by_length(lengths, size=config.batch_size, seed=seed)


def _optimiser(adapter: list[nn.Parameter], head: nn.Linear, config: TrainingConfig) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": adapter, "lr": config.learning_rate},
        {"params": list(head.parameters()), "lr": config.head_learning_rate},
    ]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _class_weights(targets: list[int], labels: int) -> Tensor:
    counts: NDArray[np.int64] = np.bincount(targets, minlength=labels)
    weights = len(targets) / (labels * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)


def uses_bf16(precision: str) -> bool:
    """Tell whether tuning computes in bf16: where asked for, or by itself on processors that have the instructions."""
    if precision != "auto":
        return precision == "bf16"
    probe: Callable[[], bool] | None = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe is not None and probe())


def _allocator(adapted: Adapted) -> Any:
    return adapted.peft.base_model.rankallocator if adapted.method == "adalora" else None


def _importances(adapted: Adapted) -> dict[str, Tensor]:
    allocator = _allocator(adapted)
    if allocator is None:
        return {}
    return {
        f"importance|{kind}|{name}": value.clone()
        for kind in ("ipt", "exp_avg_ipt", "exp_avg_unc")
        for name, value in getattr(allocator, kind).items()
    }


def _rank_pattern(adapted: Adapted) -> Any:
    if adapted.method != "adalora":
        return None
    return next(iter(adapted.peft.peft_config.values())).rank_pattern


def _restore_importances(adapted: Adapted, tensors: dict[str, Tensor], ranks: Any) -> None:
    allocator = _allocator(adapted)
    if allocator is None:
        return
    for name, value in tensors.items():
        if name.startswith("importance|"):
            _, kind, parameter = name.split("|", 2)
            getattr(allocator, kind)[parameter] = value
    next(iter(adapted.peft.peft_config.values())).rank_pattern = ranks
