from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lepton_app.learning import gate, paired
from lepton_app.learning.figures import Outcome
from lepton_app.learning.gate import Evidence, Judgement, Margins, judge, worst
from lepton_app.learning.gate_values import Check
from lepton_app.learning.models import Deployment, Run
from lepton_app.lib.artifacts import ArtifactError
from tests.learning.toys import damage, frozen, installation, labelled_task, ready_run

LABELS = ("a", "b", "c", "d")
GRAVITY = ("pass", "person", "refuse")


def outcome(
    at: int, truth: str, said: str, *, confidence: float = 0.9, in_scope: bool = True, prefix: str = "text"
) -> Outcome:
    return Outcome(
        digest=f"{prefix}-{at}",
        truth=truth,
        said=said,
        confidence=confidence,
        probability=confidence if truth == said else 0.01,
        in_scope=in_scope,
    )


def evidence(pairs: Sequence[tuple[str, str]], *, labels: Sequence[str] = LABELS, **fields: Any) -> Evidence:
    """What a model said of texts, given as (truth, said)."""
    known: dict[str, Any] = {"p50_ms": 2.0, "size_bytes": 30_000_000, **fields}
    return Evidence(tuple(outcome(at, *pair) for at, pair in enumerate(pairs)), tuple(labels), **known)


def right(rows: int) -> list[tuple[str, str]]:
    return [(LABELS[at % 4], LABELS[at % 4]) for at in range(rows)]


def wrong_at(pairs: Sequence[tuple[str, str]], places: Sequence[int]) -> list[tuple[str, str]]:
    """The same with other answers at some places: the label after the true one."""
    return [
        (truth, LABELS[(LABELS.index(truth) + 1) % 4] if at in places else said)
        for at, (truth, said) in enumerate(pairs)
    ]


def named(judgement: Judgement, name: str) -> Check:
    return next(check for check in judgement.checks if check.name == name)


ANSWERS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=30, max_size=80)


@settings(deadline=None, max_examples=40)  # the machine may be busy
@given(ANSWERS, st.integers(0, 10), st.booleans())
def test_a_model_like_the_deployed_one_always_passes(
    pairs: list[tuple[str, str]], unknown: int, in_scope: bool
) -> None:
    same = evidence(pairs)
    outside = tuple(outcome(at, "", "a", in_scope=in_scope, prefix="unknown") for at in range(unknown))
    same = replace(same, outcomes=same.outcomes + outside)
    assert judge(same, same).verdict == "pass"


@settings(deadline=None, max_examples=40)
@given(ANSWERS, st.data())
def test_one_more_right_answer_never_worsens_a_check_of_right_answers(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    mine = [(truth, data.draw(st.sampled_from(LABELS))) for truth, _ in pairs]
    deployed = evidence(pairs)
    before = judge(evidence(mine), deployed)
    wrong = [at for at, (truth, said) in enumerate(mine) if truth != said]
    if not wrong:
        return
    at = data.draw(st.sampled_from(wrong))
    mine[at] = (mine[at][0], mine[at][0])
    after = judge(evidence(mine), deployed)
    for name in ("accuracy", "macro_f1", "labels"):
        assert GRAVITY.index(named(after, name).verdict) <= GRAVITY.index(named(before, name).verdict), name


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_exact_binomial_test_and_symmetric(gained: int, lost: int) -> None:
    found = paired.mcnemar(gained, lost)
    assert found == paired.mcnemar(lost, gained)
    if gained + lost:
        assert found == pytest.approx(binomtest(gained, gained + lost).pvalue)


def test_mcnemar_grows_surer_with_every_text_that_is_lost() -> None:
    for gained in range(30):
        found = [paired.mcnemar(gained, lost) for lost in range(gained, 90)]
        assert found == sorted(found, reverse=True)


def test_the_interval_of_the_difference_is_that_of_the_normal_approximation() -> None:
    low, high = paired.difference_interval(120, 60, 2000)
    spread = 1.96 * ((180 / 2000 - 0.03**2) / 2000) ** 0.5
    assert low == pytest.approx(0.03 - spread, abs=0.002)
    assert high == pytest.approx(0.03 + spread, abs=0.002)


def test_resampling_agrees_with_drawing_the_counts() -> None:
    import numpy as np

    kinds = np.array([1] * 30 + [-1] * 10 + [0] * 160)
    found = paired.resampled_interval(lambda places: float(kinds[places].mean()), 200)
    assert found == pytest.approx(paired.difference_interval(30, 10, 200), abs=0.015)


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError):
        paired.mcnemar(-1, 2)
    with pytest.raises(ValueError):
        paired.difference_interval(3, 3, 5)
    with pytest.raises(ValueError):
        paired.better_than_share(6, 5, 0.5)
    with pytest.raises(ValueError):
        paired.resampled_interval(lambda places: 0.0, 0)


def test_a_model_that_is_really_worse_is_refused() -> None:
    pairs = right(200)
    judgement = judge(evidence(wrong_at(pairs, range(0, 40, 2))), evidence(pairs))
    assert judgement.verdict == "refuse"
    check = named(judgement, "accuracy")
    assert check.verdict == "refuse"
    assert (check.figures["gained"], check.figures["lost"], check.figures["difference"]) == (0, 20, -0.1)
    assert check.figures["high"] < 0
    assert "The loss is real." in check.sentence


def test_a_loss_that_may_be_chance_needs_a_person() -> None:
    pairs = right(200)
    check = named(judge(evidence(wrong_at(pairs, range(4))), evidence(pairs)), "accuracy")
    assert check.figures["difference"] == -0.02
    assert check.figures["p_value"] == 0.125
    assert check.verdict == "person"


def test_a_small_loss_that_may_be_chance_passes() -> None:
    pairs = right(200)
    assert judge(evidence(wrong_at(pairs, [0])), evidence(pairs)).verdict == "pass"


def test_a_better_model_passes() -> None:
    pairs = right(200)
    judgement = judge(evidence(pairs), evidence(wrong_at(pairs, range(30))))
    assert judgement.verdict == "pass"
    assert named(judgement, "accuracy").figures["p_value"] < 1e-6


def test_a_label_that_is_lost_is_refused_though_the_whole_is_as_good() -> None:
    pairs = [(truth, truth) for truth in "a" * 40 + "b" * 400 + "c" * 400]
    deployed = [(truth, "c" if 40 <= at < 80 else said) for at, (truth, said) in enumerate(pairs)]
    candidate = [(truth, "b" if truth == "a" else said) for truth, said in pairs]
    judgement = judge(evidence(candidate), evidence(deployed))
    assert named(judgement, "accuracy").verdict == "pass"
    check = named(judgement, "labels")
    assert check.verdict == "refuse"
    assert check.figures["worst"][0]["label"] == "a"
    assert "a from 100.0 % to 0.0 % on 40 texts" in check.sentence


def test_a_label_with_few_texts_needs_a_person_and_is_not_refused() -> None:
    pairs = [(truth, truth) for truth in "a" * 10 + "b" * 400 + "c" * 400]
    candidate = [(truth, "b" if truth == "a" else said) for truth, said in pairs]
    deployed = [(truth, "c" if 10 <= at < 20 else said) for at, (truth, said) in enumerate(pairs)]
    judgement = judge(evidence(candidate), evidence(deployed))
    assert named(judgement, "labels").verdict == "person"
    assert named(judgement, "labels").figures["worst"][0]["p_value"] == paired.mcnemar(0, 10)


def test_a_label_that_chance_may_have_lowered_passes_and_is_told() -> None:
    pairs = [(truth, truth) for truth in "a" * 15 + "b" * 400 + "c" * 400]
    deployed = [(truth, "c" if 20 <= at < 30 else said) for at, (truth, said) in enumerate(pairs)]
    candidate = [(truth, "b" if at < 4 else said) for at, (truth, said) in enumerate(pairs)]
    check = named(judge(evidence(candidate), evidence(deployed)), "labels")
    assert check.verdict == "pass"
    assert (check.figures["regressions"], check.figures["real"]) == (1, 0)
    assert check.figures["worst"][0]["p_value"] == 0.125
    assert "may be chance: a from 100.0 % to 84.6 % on 15 texts." in check.sentence


def test_a_label_of_four_texts_that_is_gone_needs_a_person() -> None:
    pairs = [(truth, truth) for truth in "a" * 4 + "b" * 400 + "c" * 400]
    deployed = [(truth, "c" if 20 <= at < 30 else said) for at, (truth, said) in enumerate(pairs)]
    candidate = [(truth, "b" if truth == "a" else said) for truth, said in pairs]
    check = named(judge(evidence(candidate), evidence(deployed)), "labels")
    assert check.verdict == "person"
    assert check.figures["worst"][0]["p_value"] == 0.125


def test_a_label_that_swallows_others_is_a_regression_too() -> None:
    pairs = [(truth, truth) for truth in "a" * 30 + "b" * 600]
    candidate = [(truth, "a" if 30 <= at < 70 else said) for at, (truth, said) in enumerate(pairs)]
    check = named(judge(evidence(candidate), evidence(pairs)), "labels")
    assert check.figures["worst"][0]["label"] == "a"
    assert check.figures["worst"][0]["lost"] == 40


def test_texts_that_the_deployed_model_learnt_do_not_favour_it() -> None:
    pairs = right(200)
    deployed = evidence(wrong_at(pairs, range(100, 120)))
    candidate = evidence(wrong_at(pairs, range(40)))  # as the deployed one, but for texts that this one learnt
    assert named(judge(candidate, deployed), "accuracy").verdict == "refuse"
    learnt = frozenset(f"text-{at}" for at in range(40))
    judgement = judge(candidate, replace(deployed, learnt=learnt))
    assert named(judgement, "accuracy").verdict == "pass"
    assert (named(judgement, "accuracy").figures["gained"], named(judgement, "accuracy").figures["lost"]) == (20, 0)
    assert named(judgement, "evidence").figures["rows"] == 160
    assert named(judgement, "evidence").figures["left_out"] == 40
    assert "40 more were learnt" in named(judgement, "evidence").sentence


def test_too_few_texts_need_a_person_whatever_they_say() -> None:
    few = right(29)
    judgement = judge(evidence(few), evidence(few))
    assert judgement.verdict == "person"
    assert [check.name for check in judgement.checks if check.verdict != "pass"] == ["evidence"]
    every = evidence(right(200))
    judgement = judge(every, replace(every, learnt=frozenset(one["digest"] for one in every.outcomes)))
    assert judgement.verdict == "person"
    assert [check.name for check in judgement.checks] == ["evidence", "label_set", "out_of_scope", "latency", "size"]


def test_a_deployed_model_of_unknown_learning_needs_a_person() -> None:
    same = evidence(right(200))
    judgement = judge(same, replace(same, learnt=None))
    assert judgement.verdict == "person"
    assert named(judgement, "evidence").verdict == "person"


def test_out_of_scope_texts_that_are_answered() -> None:
    def with_accepted(number: int, *, of: int = 100) -> Evidence:
        known = evidence(right(100))
        outside = tuple(outcome(at, "", "a", in_scope=at < number, prefix="unknown") for at in range(of))
        return replace(known, outcomes=known.outcomes + outside)

    deployed = with_accepted(5)
    assert named(judge(with_accepted(7), deployed), "out_of_scope").verdict == "pass"
    assert named(judge(with_accepted(10), deployed), "out_of_scope").verdict == "person"
    refused = named(judge(with_accepted(30), deployed), "out_of_scope")
    assert refused.verdict == "refuse"
    assert (refused.figures["candidate"], refused.figures["deployed"]) == (0.3, 0.05)
    assert named(judge(with_accepted(0), deployed), "out_of_scope").verdict == "pass"


def test_genuine_texts_that_are_refused() -> None:
    pairs = right(200)
    deployed = evidence(pairs)
    refusing = tuple(outcome(at, *pair, in_scope=at >= 30) for at, pair in enumerate(pairs))
    assert named(judge(replace(deployed, outcomes=refusing), deployed), "refusals").verdict == "refuse"


def test_confidence_that_means_less_than_before() -> None:
    pairs = wrong_at(right(400), range(0, 400, 10))  # nine of ten are right

    def confident(value: float) -> Evidence:
        outcomes = tuple(outcome(at, *pair, confidence=value) for at, pair in enumerate(pairs))
        return replace(evidence(pairs), outcomes=outcomes)

    deployed = confident(0.9)
    assert named(judge(confident(0.92), deployed), "calibration").verdict == "pass"
    assert named(judge(confident(0.99), deployed), "calibration").verdict == "person"
    assert named(judge(confident(0.5), deployed), "calibration").verdict == "refuse"
    assert named(judge(deployed, confident(0.5)), "calibration").verdict == "pass"


def test_time_and_size() -> None:
    same = evidence(right(100), p50_ms=20.0, size_bytes=30_000_000)
    slow, slowest = replace(same, p50_ms=45.0), replace(same, p50_ms=1500.0)
    assert named(judge(slow, same), "latency").verdict == "person"
    assert named(judge(slowest, same), "latency").verdict == "refuse"
    fast = replace(same, p50_ms=1.0)
    assert named(judge(replace(same, p50_ms=8.0), fast), "latency").verdict == "pass"  # eight times nothing
    assert named(judge(replace(same, size_bytes=600_000_000), same), "size").verdict == "person"
    assert named(judge(replace(same, size_bytes=125_000_000), same), "size").verdict == "pass"


def test_labels_that_come_and_go() -> None:
    pairs = right(120)
    old = evidence([(truth, said if said != "d" else "a") for truth, said in pairs], labels="abc")
    grown = judge(evidence(pairs), old)
    check = named(grown, "label_set")
    assert (check.verdict, check.figures["new"], check.figures["recall"]) == ("pass", ["d"], 1.0)
    assert named(grown, "evidence").figures["rows"] == 90  # the rest only one of the models could know
    useless = evidence([(truth, said if said != "d" else "a") for truth, said in pairs])
    assert named(judge(useless, old), "label_set").verdict == "person"
    shrunk = named(judge(evidence(pairs, labels="abc"), evidence(pairs)), "label_set")
    assert (shrunk.verdict, shrunk.figures["gone"]) == ("person", ["d"])


def test_a_first_model_is_asked_whether_it_learnt_anything() -> None:
    good = judge(evidence(right(40)), None)
    assert good.verdict == "pass"
    assert good.against is None
    constant = judge(evidence([(truth, "a") for truth, _ in right(40)]), None)
    assert constant.verdict == "refuse"
    assert named(constant, "majority").figures["majority"] == 0.25
    lucky = judge(evidence([("a", "a"), ("b", "a"), ("b", "b")]), None)
    assert lucky.verdict == "refuse"  # two of three, as the most frequent label would have
    chance = judge(evidence([("a", "a"), ("b", "b")]), None)
    assert chance.verdict == "person"
    assert judge(evidence([]), None).verdict == "person"


def test_other_texts_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="same texts"):
        judge(evidence(right(40)), evidence(right(41)))
    with pytest.raises(ValueError, match="same texts"):
        judge(evidence(right(40)), evidence([("b", "b"), *right(40)[1:]]))


def test_a_judgement_is_kept_as_json_and_read_again() -> None:
    pairs = right(200)
    judgement = replace(judge(evidence(wrong_at(pairs, range(0, 40, 2))), evidence(pairs)), against=7)
    kept = json.loads(json.dumps(judgement.as_json(), allow_nan=False))
    assert (kept["verdict"], kept["against"]) == ("refuse", 7)
    assert all(check["sentence"] for check in kept["checks"])
    again = Judgement.from_json(kept)
    assert again.as_json() == judgement.as_json()
    assert Judgement.from_json({}).verdict == "person"


def test_every_check_says_something_and_has_a_title() -> None:
    pairs = right(100)
    outside = tuple(outcome(at, "", "a", prefix="unknown") for at in range(3))
    with_unknown = replace(evidence(pairs), outcomes=evidence(pairs).outcomes + outside)
    found = [*judge(with_unknown, with_unknown).checks, *judge(evidence(pairs), None).checks]
    for check in found:
        assert check.sentence, check.name
        assert check.title != check.name, check.name
        assert "%" not in check.sentence.replace(" %", ""), check.sentence


def test_margins_are_described_and_decide() -> None:
    described = Margins().described()
    assert [name for name, _, _ in described] == [one.name for one in fields(Margins)]
    assert all(sentence.endswith(".") for _, _, sentence in described)
    pairs = right(200)
    candidate, deployed = evidence(wrong_at(pairs, range(4))), evidence(pairs)
    assert named(judge(candidate, deployed, margins=Margins(accuracy=0.05)), "accuracy").verdict == "pass"
    assert worst([]) == "person"


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    yield from installation(tmp_path, settings, monkeypatch)


@pytest.fixture
def encoder(root: Path) -> Path:
    return next(root.glob("encoder-*"))


@pytest.mark.django_db
def test_runs_are_compared_on_the_candidates_hold_out(root: Path, encoder: Path) -> None:
    task = labelled_task(copies=40)
    snapshot = frozen(task)
    candidate = ready_run(task, root, encoder, snapshot=snapshot)
    deployed = ready_run(task, root, encoder, snapshot=snapshot)
    before = (Run.objects.count(), Deployment.objects.count(), Run.objects.get(pk=candidate.pk).gate)
    judgement = gate.compare(candidate, deployed)
    assert judgement.verdict == "pass", judgement.as_json()
    assert judgement.against == deployed.pk
    assert named(judgement, "evidence").figures["rows"] == snapshot.holdout_rows >= 30
    assert named(judgement, "evidence").figures["left_out"] == 0
    assert before == (Run.objects.count(), Deployment.objects.count(), Run.objects.get(pk=candidate.pk).gate)
    assert gate.compare(candidate, None).checks[0].name == "majority"


@pytest.mark.django_db
def test_a_deployed_model_that_cannot_be_loaded_leaves_the_candidate_to_a_person(root: Path, encoder: Path) -> None:
    task = labelled_task(copies=40)
    snapshot = frozen(task)
    candidate = ready_run(task, root, encoder, snapshot=snapshot)
    deployed = ready_run(task, root, encoder, snapshot=snapshot)
    damage(root / deployed.artifact / "arrays.safetensors")
    judgement = gate.compare(candidate, deployed)
    assert judgement.verdict == "person"
    assert judgement.checks[0].figures["code"] == "artifact_corrupt"
    assert "artifact_corrupt" in judgement.checks[0].sentence
    with pytest.raises(ArtifactError):
        gate.compare(deployed, candidate)


@pytest.mark.django_db
def test_a_deployed_run_whose_snapshot_is_gone_leaves_the_candidate_to_a_person(root: Path, encoder: Path) -> None:
    task = labelled_task(copies=40)
    candidate = ready_run(task, root, encoder, snapshot=frozen(task))
    deployed = ready_run(task, root, encoder)
    judgement = gate.compare(candidate, deployed)
    assert named(judgement, "evidence").verdict == "person"
    with pytest.raises(ArtifactError):
        gate.compare(deployed, candidate)  # without a snapshot there is no hold-out
