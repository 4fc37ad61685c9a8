"""What a run learns from, and how it says what it does: plain values between snapshots, training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Part:
    """Labelled texts on one side of a split: ``texts`` and ``labels`` of the same length.

    Texts are as the encoder reads them: personal data masked, and with what the label is about written into them
    (``texts.about``).
    """

    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts whose texts and labels do not belong together."""
        if len(self.texts) != len(self.labels):
            raise ValueError(f"A part has {len(self.texts)} texts and {len(self.labels)} labels.")

    def __len__(self) -> int:
        return len(self.texts)

    def __add__(self, other: Part) -> Part:
        return Part(self.texts + other.texts, self.labels + other.labels)


@dataclass(frozen=True)
class Dataset:
    """Three parts that share no text, and the texts of each side that belong to none of the labels.

    ``train`` is learnt; ``validation`` steers (early stopping, temperature, threshold) and ``holdout`` measures, and
    neither adjusts a weight of the encoder. The published model has not learnt from the hold-out either.
    """

    train: Part
    validation: Part = Part()
    holdout: Part = Part()
    unknown_train: tuple[str, ...] = ()
    unknown_validation: tuple[str, ...] = ()
    unknown_holdout: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the training part, sorted."""
        return tuple(sorted(set(self.train.labels)))


@dataclass(frozen=True)
class Point:
    """One point of a run's curves; None where it was not measured there. ``accuracy`` is of the validation part."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    validation_loss: float | None = None
    accuracy: float | None = None


class Reporter(Protocol):
    """Where a training says what it does. Each call may raise ``RunCancelled`` or ``RunLost``, which ends it."""

    def stage(self, name: str) -> None:
        """A new stage begins, in a person's words: *Encoding 900 texts*."""

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        """So many steps of the stage are done; called at every step, so that it must be cheap."""


class Silent:
    """A reporter that says nothing."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        """Say nothing."""
