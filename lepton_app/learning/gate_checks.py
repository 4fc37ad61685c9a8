"""The checks of the gate, one function each: evidence and margins in, a check with its figures out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning import metrics, paired
from lepton_app.learning.figures import Outcome
from lepton_app.learning.gate_values import GRAVITY, Check, Evidence, Margins, Verdict

MOST_LABELS_SHOWN = 20
_COSTLY_RESAMPLES = 400  # of figures that are computed anew for every resample


@dataclass(frozen=True)
class Both:
    """What candidate and deployed model said of the same texts, none of which either learnt; n may be 0."""

    candidate: tuple[Outcome, ...]
    deployed: tuple[Outcome, ...]

    def __len__(self) -> int:
        return len(self.candidate)

    @property
    def truths(self) -> list[str]:
        """The label of each text."""
        return [outcome["truth"] for outcome in self.candidate]

    def counts(self, holds: Callable[[Outcome], bool]) -> tuple[int, int]:
        """Return of how many texts ``holds`` is true for the candidate alone, and for the deployed model alone."""
        pairs = [(holds(mine), holds(theirs)) for mine, theirs in zip(self.candidate, self.deployed, strict=True)]
        return pairs.count((True, False)), pairs.count((False, True))


def evidence(rows: int, *, left_out: int, is_known: bool, margins: Margins) -> Check:
    """Ask whether there are enough texts to compare on, and whether it is known what the deployed model learnt."""
    verdict: Verdict = "pass" if is_known and rows >= margins.least_rows else "person"
    figures = {"rows": rows, "left_out": left_out, "least_rows": margins.least_rows, "is_known": is_known}
    return Check("evidence", verdict, figures)


def accuracy(both: Both, margins: Margins) -> Check:
    """Refuse a loss of accuracy that is real (McNemar); a loss beyond the margin that may be chance needs a person."""
    gained, lost = both.counts(_is_right)
    p_value = paired.mcnemar(gained, lost)
    low, high = paired.difference_interval(gained, lost, len(both))
    difference = (gained - lost) / len(both)
    verdict: Verdict = "pass"
    if difference < 0 and p_value < margins.significance:
        verdict = "refuse"
    elif difference < -margins.accuracy:
        verdict = "person"
    return Check(
        "accuracy",
        verdict,
        {
            "rows": len(both),
            "candidate": _share(both.candidate, _is_right),
            "deployed": _share(both.deployed, _is_right),
            "gained": gained,
            "lost": lost,
            "difference": round(difference, 6),
            "low": round(low, 6),
            "high": round(high, 6),
            "p_value": p_value,
        },
    )


def macro_f1(both: Both, labels: AbstractSet[str], margins: Margins) -> Check:
    """Refuse a loss of macro-F1 beyond the margin whose interval excludes nought; another one needs a person."""
    names = sorted(labels & {*both.truths})
    place = {name: at for at, name in enumerate(names)}
    truth = np.array([place[label] for label in both.truths])
    mine, theirs = (
        np.array([place.get(outcome["said"], -1) for outcome in outcomes])
        for outcomes in (both.candidate, both.deployed)
    )

    def difference(rows: NDArray[np.int64]) -> float:
        return _mean_f1(truth[rows], mine[rows], len(names)) - _mean_f1(truth[rows], theirs[rows], len(names))

    every = np.arange(len(both))
    at_all = difference(every)
    low, high = _interval(difference, mine, theirs)
    verdict: Verdict = "pass"
    if at_all < -margins.macro_f1:
        verdict = "refuse" if high < 0 else "person"
    return Check(
        "macro_f1",
        verdict,
        {
            "candidate": round(_mean_f1(truth, mine, len(names)), 6),
            "deployed": round(_mean_f1(truth, theirs, len(names)), 6),
            "difference": round(at_all, 6),
            "low": round(low, 6),
            "high": round(high, 6),
        },
    )


def labels(both: Both, known: AbstractSet[str], margins: Margins) -> Check:
    """Look for labels that got worse.

    A label's texts are those it has and those it was given; the model is right about a text when it tells rightly
    whether the text is of the label. A regression is a loss of F1 beyond the margin and of enough texts, net. Among
    many labels chance makes some, so that each is tested (McNemar):

    - refused: it is real even among so many labels (Bonferroni), and the label has enough texts;
    - a person: it is real taken by itself, or the label has lost half of its F1;
    - passed, but told: chance alone may have made it.
    """
    names = sorted(known & {*both.truths})
    before = {one["label"]: one for one in metrics.class_figures(both.truths, _answers(both.deployed))}
    after = {one["label"]: one for one in metrics.class_figures(both.truths, _answers(both.candidate))}
    support = Counter(both.truths)
    worse: list[dict[str, Any]] = []
    for name in names:
        drop = before[name]["f1"] - after[name]["f1"]
        if drop <= margins.label_f1:
            continue
        gained, lost = both.counts(_is_right_about(name))
        if lost - gained < margins.label_lost:
            continue
        p_value = paired.mcnemar(gained, lost)
        verdict: Verdict = "pass"
        if p_value < margins.significance / len(names) and support[name] >= margins.label_rows:
            verdict = "refuse"
        elif p_value < margins.significance or after[name]["f1"] <= before[name]["f1"] / 2:
            verdict = "person"
        worse.append(
            {
                "label": name,
                "rows": support[name],
                "before": round(before[name]["f1"], 6),
                "after": round(after[name]["f1"], 6),
                "gained": gained,
                "lost": lost,
                "p_value": p_value,
                "verdict": verdict,
            }
        )
    worse.sort(key=lambda one: (-GRAVITY.index(one["verdict"]), one["after"] - one["before"]))
    figures = {
        "labels": len(names),
        "regressions": len(worse),
        "real": sum(one["verdict"] != "pass" for one in worse),
        "margin": margins.label_f1,
        "worst": worse[:MOST_LABELS_SHOWN],
    }
    return Check("labels", worse[0]["verdict"] if worse else "pass", figures)


def label_set(candidate: Evidence, deployed: Evidence, outcomes: Sequence[Outcome], margins: Margins) -> Check:
    """Ask for a person when a label is gone, or when the new ones are found too seldom."""
    gone = sorted({*deployed.labels} - {*candidate.labels})
    new = sorted({*candidate.labels} - {*deployed.labels})
    of_new = [outcome for outcome in outcomes if outcome["truth"] in {*new}]
    recall = _share(of_new, _is_right) if of_new else None
    is_fine = not gone and (recall is None or recall >= margins.new_label_recall)
    figures = {
        "new": new[:MOST_LABELS_SHOWN],
        "gone": gone[:MOST_LABELS_SHOWN],
        "new_count": len(new),
        "gone_count": len(gone),
        "rows": len(of_new),
        "recall": recall,
    }
    return Check("label_set", "pass" if is_fine else "person", figures)


def refusals(both: Both, margins: Margins) -> Check:
    """Look at genuine texts that are taken for out of scope, as ``out_of_scope`` looks at the others."""
    return _rise("refusals", both, lambda outcome: not outcome["in_scope"], margins.refusals, margins)


def out_of_scope(both: Both, margins: Margins) -> Check:
    """Refuse a real rise, beyond the margin, of out-of-scope texts that are answered; a possible one needs a person."""
    return _rise("out_of_scope", both, lambda outcome: outcome["in_scope"], margins.false_accepts, margins)


def calibration(both: Both, margins: Margins) -> Check:
    """Ask for a person when the calibration error has really risen, refuse when it has risen very much."""
    mine, theirs = (
        (np.array([outcome["confidence"] for outcome in outcomes]), np.array([*map(_is_right, outcomes)], dtype=bool))
        for outcomes in (both.candidate, both.deployed)
    )

    def error(of: tuple[NDArray[np.float64], NDArray[np.bool_]], rows: NDArray[np.int64]) -> float:
        return metrics.expected_calibration_error(of[0][rows], of[1][rows])

    every = np.arange(len(both))
    before, after = error(theirs, every), error(mine, every)
    same = np.stack([*mine]), np.stack([*theirs])
    low, high = _interval(lambda rows: error(mine, rows) - error(theirs, rows), *same)
    verdict: Verdict = "pass"
    if after - before > margins.calibration and low > 0:
        verdict = "refuse" if after - before > margins.worst_calibration else "person"
    return Check(
        "calibration",
        verdict,
        {
            "candidate": round(after, 6),
            "deployed": round(before, 6),
            "difference": round(after - before, 6),
            "low": round(low, 6),
            "high": round(high, 6),
        },
    )


def latency(candidate_ms: float, deployed_ms: float, margins: Margins) -> Check:
    """Ask for a person when one text takes much longer, refuse what is too slow to chat with."""
    verdict: Verdict = "pass"
    if candidate_ms > margins.worst_latency_ms and candidate_ms > deployed_ms:
        verdict = "refuse"
    elif candidate_ms > deployed_ms * margins.latency_ratio and candidate_ms > deployed_ms + margins.latency_ms:
        verdict = "person"
    return Check("latency", verdict, {"candidate": candidate_ms, "deployed": deployed_ms})


def size(candidate_bytes: int, deployed_bytes: int, margins: Margins) -> Check:
    """Ask for a person when the model is much larger."""
    is_large = candidate_bytes > deployed_bytes * margins.size_ratio
    is_large = is_large and candidate_bytes > deployed_bytes + margins.size_bytes
    return Check("size", "person" if is_large else "pass", {"candidate": candidate_bytes, "deployed": deployed_bytes})


def majority(outcomes: Sequence[Outcome], margins: Margins) -> Check:
    """Ask whether a first model is better than always giving the label that the hold-out has most of.

    Not better is refused; better by what may be chance needs a person, as does an empty hold-out.
    """
    rows, right = len(outcomes), sum(map(_is_right, outcomes))
    counts = Counter(outcome["truth"] for outcome in outcomes)
    most = max(counts.values(), default=0)
    p_value = paired.better_than_share(right, rows, most / rows) if rows else None
    verdict: Verdict = "pass"
    if p_value is None:
        verdict = "person"
    elif right <= most:
        verdict = "refuse"
    elif p_value >= margins.significance:
        verdict = "person"
    figures = {
        "rows": rows,
        "candidate": right / rows if rows else None,
        "majority": most / rows if rows else None,
        "p_value": p_value,
    }
    return Check("majority", verdict, figures)


def first_figures(candidate: Evidence, outcomes: Sequence[Outcome], margins: Margins) -> list[Check]:
    """Hold a first model against the few bounds that need nothing to compare with."""
    checks = [Check("latency", _at_most(candidate.p50_ms, margins.worst_latency_ms), {"candidate": candidate.p50_ms})]
    if len(outcomes) >= margins.least_rows:
        confidences = np.array([outcome["confidence"] for outcome in outcomes])
        right = np.array([*map(_is_right, outcomes)], dtype=bool)
        error = metrics.expected_calibration_error(confidences, right)
        refused = _share(outcomes, lambda outcome: not outcome["in_scope"])
        checks += [
            Check("calibration", _at_most(error, margins.first_calibration), {"candidate": round(error, 6)}),
            Check("refusals", _at_most(refused, margins.first_refusals), {"candidate": refused}),
        ]
    return checks


def _rise(name: str, both: Both, holds: Callable[[Outcome], bool], margin: float, margins: Margins) -> Check:
    if not len(both):
        return Check(name, "pass", {"rows": 0})
    more, less = both.counts(holds)
    difference = (more - less) / len(both)
    p_value = paired.mcnemar(more, less)
    verdict: Verdict = "pass"
    if difference > margin:
        verdict = "refuse" if p_value < margins.significance else "person"
    return Check(
        name,
        verdict,
        {
            "rows": len(both),
            "candidate": _share(both.candidate, holds),
            "deployed": _share(both.deployed, holds),
            "difference": round(difference, 6),
            "p_value": p_value,
        },
    )


def _interval(
    difference: Callable[[NDArray[np.int64]], float], mine: NDArray[Any], theirs: NDArray[Any]
) -> tuple[float, float]:
    """Return the interval of a difference; models that say the same differ by nothing in every resample."""
    if np.array_equal(mine, theirs):
        return 0.0, 0.0
    return paired.resampled_interval(difference, mine.shape[-1], resamples=_COSTLY_RESAMPLES)


def _mean_f1(truth: NDArray[np.int64], said: NDArray[np.int64], labels: int) -> float:
    """Return the mean F1 of the labels 0 to ``labels - 1`` that occur in ``truth``; -1 is any other answer."""
    support = np.bincount(truth, minlength=labels)
    given = np.bincount(said[said >= 0], minlength=labels)
    hits = np.bincount(truth[truth == said], minlength=labels)
    there = support > 0
    return float((2 * hits[there] / (support + given)[there]).mean())


def _answers(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome["said"] for outcome in outcomes]


def _is_right(outcome: Outcome) -> bool:
    return outcome["said"] == outcome["truth"]


def _is_right_about(label: str) -> Callable[[Outcome], bool]:
    return lambda outcome: (outcome["said"] == label) == (outcome["truth"] == label)


def _share(outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool]) -> float:
    return round(sum(map(holds, outcomes)) / len(outcomes), 6)


def _at_most(value: float, bound: float) -> Verdict:
    return "pass" if value <= bound else "person"
