"""What a step minimises: classification, and beside it supervised contrast and consistency under dropout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def classification(logits: Tensor, targets: Tensor, *, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the mean cross-entropy of logits ``(b, k)``, with smoothed targets and weighted labels."""
    return functional.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)


def contrast(rows: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of unit rows ``(b, d)`` (Khosla et al. 2020, equation 2).

    Each row is drawn to those of its label and away from all others; rows alone with their label do not count. 0
    where no two rows share a label.
    """
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    likeness = (rows @ rows.T / temperature).masked_fill(itself, float("-inf"))  # (b, b)
    logs = likeness - likeness.logsumexp(dim=1, keepdim=True)
    same = (targets[:, None] == targets[None, :]) & ~itself
    number = same.sum(dim=1)
    paired = number > 0
    if not bool(paired.any()):
        return rows.sum() * 0.0
    drawn = -logs.masked_fill(~same, 0.0).sum(dim=1)[paired] / number[paired]
    return drawn.mean()


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean symmetric divergence of two passes' logits ``(b, k)`` (R-drop, Liang et al. 2021)."""
    p, q = functional.log_softmax(first, dim=-1), functional.log_softmax(second, dim=-1)
    there = functional.kl_div(p, q, log_target=True, reduction="batchmean")
    back = functional.kl_div(q, p, log_target=True, reduction="batchmean")
    return (there + back) / 2
