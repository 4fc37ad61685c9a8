"""What an evaluation states: the report of one model on one hold-out, as JSON holds it.

Shares, probabilities and accuracies lie in [0, 1]; None stands where there was nothing to measure.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Outcome(TypedDict):
    """What the model said of one text. ``digest`` is the sha256 of the normalised text.

    ``truth`` is empty for a text that belongs to none of the labels. ``confidence`` is the probability of ``said``,
    ``probability`` that of ``truth``.
    """

    digest: str
    truth: str
    said: str
    confidence: float
    probability: float
    in_scope: bool


class Quality(TypedDict):
    """The figures of the whole hold-out; all None when it is empty.

    ``accuracy_low`` and ``accuracy_high`` bound the accuracy with 95 % confidence (Wilson 1927). ``ece`` is the
    expected calibration error after temperature scaling, ``ece_unscaled`` before it. ``log_loss`` is the mean negative
    log-likelihood of the truth, in nats.
    """

    rows: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    macro_f1: float | None
    weighted_f1: float | None
    ece: float | None
    ece_unscaled: float | None
    log_loss: float | None
    in_scope_refused: float | None


class ClassFigures(TypedDict):
    """One label: of the texts that were given it, the share that are right (precision); of its own, those found."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Cell(TypedDict):
    """So many texts of ``truth`` were called ``said``; cells of none are left out."""

    truth: str
    said: str
    count: int


class Pair(TypedDict):
    """Two labels that are taken for each other: ``there`` texts of the first for the second, ``back`` the reverse."""

    first: str
    second: str
    there: int
    back: int


class Bin(TypedDict):
    """The texts whose confidence lies above ``low`` and up to ``high``, and how many of them are right.

    ``confidence`` is their mean confidence, None for no texts.
    """

    low: float
    high: float
    rows: int
    right: int
    confidence: float | None


class Mistake(TypedDict):
    """A text that was called something else, personal data masked."""

    text: str
    truth: str
    said: str
    confidence: float
    probability: float


class Accepted(TypedDict):
    """A text of no label that the model took for ``said``."""

    text: str
    said: str
    confidence: float


class ScopeFigures(TypedDict):
    """How texts of no label fare: ``recall`` is the share refused; ``auroc`` needs no threshold."""

    rows: int
    auroc: float | None
    recall: float
    false_accepts: int
    accepted: list[Accepted]


class Latency(TypedDict):
    """The time of the exported model on the machine that measured: one text alone, and many at once."""

    p50_ms: float
    p99_ms: float
    texts_per_second: float
    calls: int


class Sizes(TypedDict):
    """What serving loads, in bytes: the classifier and the encoder in its served precision."""

    classifier_bytes: int
    encoder_bytes: int
    owns_encoder: bool


class Parity(TypedDict, total=False):
    """The exported model in either precision, on texts that the encoder has not learnt; a head alone has nothing here.

    ``probability_shift`` is the mean over texts of the largest difference of a probability between int8 and fp32;
    ``torch_shift`` that between the exported model and the one that was trained, ``torch_agreement`` the share of
    texts with the same label.
    """

    served_precision: str
    fp32_accuracy: float
    int8_accuracy: float
    probability_shift: float
    torch_agreement: float
    torch_shift: float


class CurvePoint(TypedDict):
    """Accuracy on the hold-out after learning from a share of the training texts, over several draws."""

    share: float
    rows: int
    mean: float
    low: float
    high: float
    draws: list[float]


class HistoryPoint(TypedDict):
    """One point of the run's curves, as ``datasets.Point`` has it, with the stage of the training it belongs to."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    validation_loss: float | None
    accuracy: float | None
    stage: NotRequired[str]


class Report(TypedDict):
    """One model on one hold-out.

    ``about`` holds plain values that say what was measured: task, run, method, snapshot, rows, encoder. ``mistakes``
    are the surest first, at most ``evaluation.MOST_MISTAKES`` of ``mistakes_in_all``. ``outcomes`` has a row for each
    text, also those of no label.
    """

    format: int
    about: dict[str, Any]
    labels: list[str]
    quality: Quality
    classes: list[ClassFigures]
    confusion: list[Cell]
    pairs: list[Pair]
    histogram: list[Bin]
    reliability: list[Bin]
    mistakes: list[Mistake]
    mistakes_in_all: int
    scope: ScopeFigures | None
    latency: Latency | None
    sizes: Sizes | None
    parity: Parity | None
    curve: list[CurvePoint]
    history: list[HistoryPoint]
    outcomes: list[Outcome]
