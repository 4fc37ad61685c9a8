"""Fewer layers: some of an encoder's are dropped, and the rest learns to give the rows of all of them.

Layers are kept at even distances, first and last included (as in DistilBERT, Sanh et al. 2019, and TinyBERT's uniform
mapping); the loss is one minus the cosine of each row to the full encoder's. The result has weights of its own
throughout, so that its adapter is kept like that of ``full``.
"""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import torch
from torch import nn

from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.datasets import Point, Reporter
from lepton_app.learning.errors import BadConfiguration
from lepton_app.learning.tuning import batches
from lepton_app.learning.tuning.adapters import Adapted
from lepton_app.learning.tuning.encoders import padded
from lepton_app.learning.tuning.loop import Examples, uses_bf16

_LEARNING_RATE = 2e-4


def kept_layers(there: int, kept: int) -> list[int]:
    """Return which layers stay, counted from 0.

    >>> kept_layers(6, 3), kept_layers(6, 1), kept_layers(4, 4)
    ([0, 2, 5], [5], [0, 1, 2, 3])
    """
    if kept == 1:
        return [there - 1]
    return [int(place) for place in np.linspace(0, there - 1, kept)]


def distil(adapted: Adapted, train: Examples, config: TrainingConfig, *, reporter: Reporter) -> Adapted:
    """Return the encoder with ``config.layers`` layers, taught by the full one; ``adapted`` is merged and spent.

    Raises ``BadConfiguration`` when the encoder has fewer layers than that, or none that can be told.
    """
    encoder = adapted.merged()
    if encoder.prompt is not None:
        raise BadConfiguration("layers cannot be used with a soft prompt; choose another method.")
    teacher = encoder.rows(train.tokens)  # (n, d)
    student = copy.deepcopy(encoder.transformer)
    stack, owner, name = _layers(student)
    if config.layers > len(stack):
        raise BadConfiguration(f"layers is {config.layers}, and the encoder has {len(stack)} layers.")
    setattr(owner, name, nn.ModuleList(stack[place] for place in kept_layers(len(stack), config.layers)))
    student.config.num_hidden_layers = config.layers  # type: ignore[union-attr]  # transformers' own config
    for parameter_name, parameter in student.named_parameters():
        parameter.requires_grad = "pooler" not in parameter_name
    encoder.transformer = student
    _teach(Adapted(encoder, "full"), train, teacher, config, reporter)
    return Adapted(encoder, "full")


def _teach(adapted: Adapted, train: Examples, teacher: np.ndarray, config: TrainingConfig, reporter: Reporter) -> None:
    learning = [parameter for _, parameter in adapted.trainable()]
    optimiser = torch.optim.AdamW(learning, lr=_LEARNING_RATE, weight_decay=config.weight_decay)
    lengths = [len(tokens) for tokens in train.tokens]
    an_epoch = len(batches.by_length(lengths, size=config.batch_size, seed=0))
    total, step, said = an_epoch * config.distil_epochs, 0, time.monotonic()
    rows_of = torch.from_numpy(teacher)
    for epoch in range(config.distil_epochs):
        for places in batches.by_length(lengths, size=config.batch_size, seed=config.seed * 10_000 + epoch):
            adapted.encoder.transformer.train()
            ids, mask = padded([train.tokens[place] for place in places])
            with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16(config.precision)):
                rows = adapted.encoder.pooled(ids, mask)
            loss = (1 - (rows.float() * rows_of[places]).sum(dim=1)).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            rate = _LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / total))
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            step += 1
            point = None
            if time.monotonic() - said > 1 or step == total:
                said = time.monotonic()
                point = Point(step, step / an_epoch, float(loss.detach()), rate)
            reporter.steps(step, total, point)


def _layers(transformer: nn.Module) -> tuple[nn.ModuleList, nn.Module, str]:
    """Return the stack of an encoder's layers with the module and the attribute that hold it."""
    number = getattr(transformer.config, "num_hidden_layers", None)
    for module in transformer.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == number:
                return child, module, name
    raise BadConfiguration("This encoder's layers cannot be told apart; leave layers at 0.")
