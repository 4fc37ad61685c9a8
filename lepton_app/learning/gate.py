"""Whether a candidate may take the place of the deployed model: both on the same texts, check by check.

``judge`` is pure: evidence of both in, a judgement out. ``compare`` gathers the evidence of two runs and judges; it
writes nothing. Each check answers *pass*, *person* (somebody has to look) or *refuse*, and the judgement is the worst
of them. What a check says in words is in ``gate_words``.

Significance is asked of differences that decide by themselves (a refusal); a difference beyond its margin that chance
may have made asks for a person. Texts that either model learnt are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.conf import settings

from lepton_app.learning import gate_checks as checks
from lepton_app.learning import snapshots
from lepton_app.learning.datasets import Dataset
from lepton_app.learning.evaluation import digest, measure_latency, outcomes_of, sizes_of
from lepton_app.learning.figures import Outcome
from lepton_app.learning.gate_checks import Both
from lepton_app.learning.gate_values import Check, Evidence, Judgement, Margins, Verdict, worst
from lepton_app.learning.model import load_model
from lepton_app.learning.models import Run
from lepton_app.lib.artifacts import ArtifactError, ArtifactMissing

__all__ = ["Check", "Evidence", "Judgement", "Margins", "Verdict", "compare", "gather", "judge", "worst"]


def judge(candidate: Evidence, deployed: Evidence | None, *, margins: Margins | None = None) -> Judgement:
    """Return whether the candidate may take the place of the deployed model, or be the first.

    Both have seen the same texts in the same order, else ``ValueError``. A first model is asked only whether it is
    better than always giving the most frequent label.

    >>> said = [("a", "a"), ("b", "b")] * 20
    >>> def evidence(pairs):
    ...     outcomes = tuple(
    ...         Outcome(digest=str(at), truth=truth, said=said, confidence=0.9, probability=0.9, in_scope=True)
    ...         for at, (truth, said) in enumerate(pairs)
    ...     )
    ...     return Evidence(outcomes, labels=("a", "b"), p50_ms=1.0, size_bytes=1000)
    >>> judge(evidence(said), evidence(said)).verdict
    'pass'
    >>> worse = judge(evidence([("a", "a"), ("b", "a")] * 20), evidence(said))
    >>> worse.verdict, [check.name for check in worse.checks if check.verdict == "refuse"]
    ('refuse', ['accuracy', 'macro_f1', 'labels', 'calibration'])
    """
    margins = margins or Margins()
    if deployed is None:
        inside = [outcome for outcome in candidate.outcomes if outcome["truth"]]
        return Judgement((checks.majority(inside, margins), *checks.first_figures(candidate, inside, margins)))
    outcomes = _same_texts(candidate, deployed)
    learnt = (candidate.learnt or frozenset()) | (deployed.learnt or frozenset())
    fresh = [pair for pair in outcomes if pair[0]["digest"] not in learnt]
    labels = {*candidate.labels} & {*deployed.labels}
    known = _both([pair for pair in fresh if pair[0]["truth"] in labels])
    found = [
        checks.evidence(
            len(known),
            left_out=sum(1 for mine, _ in outcomes if mine["truth"] and mine["digest"] in learnt),
            is_known=candidate.learnt is not None and deployed.learnt is not None,
            margins=margins,
        )
    ]
    if len(known):
        found += [
            checks.accuracy(known, margins),
            checks.macro_f1(known, labels, margins),
            checks.labels(known, labels, margins),
            checks.refusals(known, margins),
            checks.calibration(known, margins),
        ]
    found += [
        checks.label_set(candidate, deployed, [mine for mine, _ in fresh], margins),
        checks.out_of_scope(_both([pair for pair in fresh if not pair[0]["truth"]]), margins),
        checks.latency(candidate.p50_ms, deployed.p50_ms, margins),
        checks.size(candidate.size_bytes, deployed.size_bytes, margins),
    ]
    return Judgement(tuple(found))


def compare(candidate: Run, deployed: Run | None, *, margins: Margins | None = None) -> Judgement:
    """Load the models of both runs, ask both the candidate's hold-out, and judge; nothing is written.

    A candidate that is at work itself is compared with itself. A deployed model that cannot be loaded any more leaves
    the candidate to a person. Raises the errors of ``artifacts`` when the candidate or its snapshot cannot be read.
    """
    if candidate.snapshot is None:
        raise ArtifactMissing(f"Run #{candidate.pk} has no snapshot, and so no hold-out to be judged on.")
    dataset = snapshots.read(candidate.snapshot)
    mine = gather(candidate, dataset, learnt=_learnt(dataset))
    if deployed is None:
        return judge(mine, None, margins=margins)
    try:
        theirs = gather(deployed, dataset, learnt=_learnt_by(deployed))
    except ArtifactError as error:
        broken = Check("deployed_model", "person", {"code": error.code, "error": str(error)})
        return Judgement((broken, *judge(mine, None, margins=margins).checks), against=deployed.pk)
    return replace(judge(mine, theirs, margins=margins), against=deployed.pk)


def gather(run: Run, dataset: Dataset, *, learnt: frozenset[str] | None) -> Evidence:
    """Return what the run's model says of the hold-out, and what it costs. Raises the errors of ``artifacts``."""
    model = load_model(settings.ARTIFACTS_DIR, run.artifact, run.encoder_artifact)
    try:
        texts, truths = dataset.holdout.texts, dataset.holdout.labels
        asked = [*zip(texts, truths, strict=True), *((text, "") for text in dataset.unknown_holdout)]
        timed = texts or dataset.unknown_holdout or dataset.train.texts
        sizes = sizes_of(model, settings.ARTIFACTS_DIR / run.artifact)
        return Evidence(
            outcomes=outcomes_of(model.predict_sync, asked),
            labels=model.classifier.labels,
            p50_ms=measure_latency(model.predict_sync, timed)["p50_ms"],
            size_bytes=sizes["classifier_bytes"] + sizes["encoder_bytes"],
            learnt=learnt,
        )
    finally:
        model.close()


def _learnt_by(run: Run) -> frozenset[str] | None:
    """Return the digests of what a run learnt; None when its snapshot cannot be read."""
    try:
        return _learnt(snapshots.read(run.snapshot)) if run.snapshot is not None else None
    except ArtifactError:
        return None


def _learnt(dataset: Dataset) -> frozenset[str]:
    texts = (*dataset.train.texts, *dataset.validation.texts, *dataset.unknown_train, *dataset.unknown_validation)
    return frozenset(map(digest, texts))


def _same_texts(candidate: Evidence, deployed: Evidence) -> list[tuple[Outcome, Outcome]]:
    if len(candidate.outcomes) == len(deployed.outcomes):
        pairs = list(zip(candidate.outcomes, deployed.outcomes, strict=True))
        if all(mine["digest"] == theirs["digest"] and mine["truth"] == theirs["truth"] for mine, theirs in pairs):
            return pairs
    raise ValueError("Two models are compared on the same texts in the same order; these are others.")


def _both(pairs: Sequence[tuple[Outcome, Outcome]]) -> Both:
    return Both(tuple(mine for mine, _ in pairs), tuple(theirs for _, theirs in pairs))
