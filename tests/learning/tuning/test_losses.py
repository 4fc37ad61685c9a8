"""The losses against values worked out by hand and against what they are meant to order."""

from __future__ import annotations

import math

import pytest
import torch

from lepton_app.learning.tuning.losses import classification, consistency, contrast


def test_classification_is_the_cross_entropy() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    loss = classification(logits, torch.tensor([1]), smoothing=0.0, weights=None)
    assert loss.item() == pytest.approx(-math.log(0.75))
    smoothed = classification(logits, torch.tensor([1]), smoothing=0.2, weights=None)
    assert smoothed.item() == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)))


def test_weights_count_a_label_more() -> None:
    logits, targets = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    plain = classification(logits, targets, smoothing=0.0, weights=None)
    weighted = classification(logits, targets, smoothing=0.0, weights=torch.tensor([0.5, 1.5]))
    assert weighted > plain


def test_contrast_by_hand() -> None:
    # Rows 0 and 1 are the same and share a label, row 2 is at right angles to both.
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = contrast(rows, torch.tensor([0, 0, 1]), temperature=1.0)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 1.0)))


def test_contrast_without_a_pair_is_nothing() -> None:
    rows = torch.eye(3, requires_grad=True)
    loss = contrast(rows, torch.tensor([0, 1, 2]), temperature=0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert rows.grad is not None
    assert not rows.grad.any()


def test_contrast_is_less_where_labels_lie_together() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    targets = torch.tensor([0, 0, 1, 1, 2, 2])
    noise = torch.randn(6, 8, generator=generator)
    near = torch.nn.functional.normalize(centres[targets] + 0.05 * noise, dim=1)
    mixed = torch.nn.functional.normalize(centres[[0, 1, 1, 2, 2, 0]] + 0.05 * noise, dim=1)
    assert contrast(near, targets, temperature=0.1) < contrast(mixed, targets, temperature=0.1)


def test_consistency_is_nothing_between_equals_and_symmetric() -> None:
    first, second = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    assert consistency(first, first).item() == pytest.approx(0.0, abs=1e-7)
    assert consistency(first, second).item() == pytest.approx(consistency(second, first).item())
    assert consistency(first, second) > 0
