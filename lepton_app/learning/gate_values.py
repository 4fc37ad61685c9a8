"""What the gate is told and what it answers: margins, evidence, checks, the judgement. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from lepton_app.learning.figures import Outcome
from lepton_app.learning.gate_words import sentence, title

Verdict = Literal["pass", "person", "refuse"]
# From the mildest to the gravest.
GRAVITY: tuple[Verdict, ...] = ("pass", "person", "refuse")


def _margin(default: float, sentence: Promise) -> Any:
    return field(default=default, metadata={"sentence": sentence})


@dataclass(frozen=True)
class Margins:
    """What the gate lets pass. Shares are of 1: .02 is two points."""

    significance: float = _margin(
        0.05, _("A difference counts as real when chance alone would make it less often than this.")
    )
    least_rows: int = _margin(30, _("With fewer texts to compare on, a person decides."))
    accuracy: float = _margin(0.01, _("A loss of accuracy beyond this needs a person, even where it may be chance."))
    macro_f1: float = _margin(0.02, _("A loss of macro-F1 beyond this needs a person; a real one is refused."))
    label_f1: float = _margin(
        0.10,
        _("A loss of a label's F1 beyond this is a regression, told in any case and weighed by whether it is real."),
    )
    label_rows: int = _margin(20, _("A regression of a label with fewer texts needs a person and is never refused."))
    label_lost: int = _margin(3, _("So many texts of a label, net, have to be lost before it counts as a regression."))
    new_label_recall: float = _margin(0.5, _("Labels that are new and found less often than this need a person."))
    false_accepts: float = _margin(
        0.03, _("A rise beyond this of the share of out-of-scope texts that are answered needs a person.")
    )
    refusals: float = _margin(0.03, _("A rise beyond this of the share of genuine texts refused needs a person."))
    calibration: float = _margin(0.03, _("A rise of the expected calibration error beyond this needs a person."))
    worst_calibration: float = _margin(0.10, _("A real rise of the expected calibration error beyond this is refused."))
    latency_ratio: float = _margin(2.0, _("A model so many times slower needs a person."))
    latency_ms: float = _margin(10.0, _("So many milliseconds more are never too slow."))
    worst_latency_ms: float = _margin(1000.0, _("A model whose median is above this is refused."))
    size_ratio: float = _margin(4.0, _("A model so many times larger needs a person."))
    size_bytes: int = _margin(100_000_000, _("So many bytes more are never too large."))
    first_calibration: float = _margin(0.20, _("A first model with a larger calibration error needs a person."))
    first_refusals: float = _margin(0.30, _("A first model that refuses more genuine texts needs a person."))

    def described(self) -> list[tuple[str, float, str]]:
        """Return the name, the value and the sentence of each margin."""
        return [(one.name, getattr(self, one.name), str(one.metadata["sentence"])) for one in fields(self)]


@dataclass(frozen=True)
class Evidence:
    """One model on the hold-out: what it said of each text, and what it costs.

    ``outcomes`` are in the order of the hold-out and the same texts for both models; a text of no label has an empty
    truth. ``labels`` are the model's. ``learnt`` are the digests of the texts that it learnt or was steered by; None
    where nobody knows any more.
    """

    outcomes: tuple[Outcome, ...]
    labels: tuple[str, ...]
    p50_ms: float
    size_bytes: int
    learnt: frozenset[str] | None = frozenset()


@dataclass(frozen=True)
class Check:
    """One question that the gate asks, its answer and the figures that it rests on (JSON values)."""

    name: str
    verdict: Verdict
    figures: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What the check is about, in the active language."""
        return title(self.name)

    @property
    def sentence(self) -> str:
        """What the check found, in the active language."""
        return sentence(self.name, self.verdict, self.figures)


class CheckJson(TypedDict):
    """A check as a run's row keeps it."""

    name: str
    verdict: Verdict
    figures: dict[str, Any]
    sentence: str


class JudgementJson(TypedDict):
    """A judgement as a run's row keeps it; ``against`` is the deployed run, None for a first model."""

    verdict: Verdict
    against: int | None
    checks: list[CheckJson]


@dataclass(frozen=True)
class Judgement:
    """What the gate says. ``against`` is the run that was at work, None where there was none or it has no number."""

    checks: tuple[Check, ...]
    against: int | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks."""
        return worst([check.verdict for check in self.checks])

    def as_json(self) -> JudgementJson:
        """Return what a row keeps; the sentences are in the active language."""
        return JudgementJson(
            verdict=self.verdict,
            against=self.against,
            checks=[
                CheckJson(name=check.name, verdict=check.verdict, figures=dict(check.figures), sentence=check.sentence)
                for check in self.checks
            ],
        )

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Judgement:
        """Read what ``as_json`` returned; an empty mapping has no checks."""
        checks = tuple(Check(one["name"], one["verdict"], one["figures"]) for one in kept.get("checks", ()))
        return cls(checks, kept.get("against"))


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the gravest verdict; *person* for none, since nothing was checked.

    >>> worst(["pass", "refuse", "person"]), worst(["pass"]), worst([])
    ('refuse', 'pass', 'person')
    """
    return max(verdicts, key=GRAVITY.index, default="person")
