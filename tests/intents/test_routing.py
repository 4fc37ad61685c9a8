"""Who answers: the intent's reply, the documents, or a question back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intents.routing import Action, Thresholds, route
from lepton_app.learning.classifier import Prediction


def predicted(*probabilities: float, in_scope: bool = True, scope_score: float = 1.8) -> Prediction:
    return Prediction(
        labels=tuple(f"intent_{number}" for number in range(len(probabilities))),
        probabilities=probabilities,
        scope_score=scope_score if in_scope else -0.1,
        in_scope=in_scope,
    )


@pytest.mark.parametrize(
    ("prediction", "action", "reason"),
    [
        (predicted(0.9, 0.05), Action.REPLY, "confident"),
        (predicted(0.6, 0.4), Action.REPLY, "confident"),
        (predicted(0.45, 0.40), Action.CLARIFY, "two_intents"),
        (predicted(0.5, 0.1), Action.SEARCH, "unsure"),
        (predicted(0.3, 0.25), Action.SEARCH, "unsure"),
        (predicted(0.99, 0.01, in_scope=False), Action.SEARCH, "out_of_scope"),
        (predicted(1.0), Action.REPLY, "confident"),
        (predicted(0.9, 0.05, scope_score=1.2), Action.COMPARE, "not_typical"),
        (predicted(0.7, 0.05, scope_score=0.6), Action.COMPARE, "not_typical"),
        (predicted(0.7, 0.05, scope_score=0.4), Action.SEARCH, "unsure"),
        (predicted(0.95, 0.05, scope_score=0.1), Action.COMPARE, "not_typical"),
        (predicted(0.45, 0.40, scope_score=0.6), Action.CLARIFY, "two_intents"),
    ],
)
def test_decisions(prediction: Prediction, action: Action, reason: str) -> None:
    decision = route(prediction)
    assert (decision.action, decision.reason) == (action, reason)
    assert decision.scores["probability"] == prediction.probabilities[0]


def test_thresholds_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"reply must be from 0 to 1; it is 1\.5"):
        Thresholds(reply=1.5)
    with pytest.raises(ValueError, match="odd must not be above typical"):
        Thresholds(odd=2.0)


@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_every_prediction_has_exactly_one_outcome(first: float, second: float, in_scope: bool) -> None:
    high, low = max(first, second), min(first, second)
    decision = route(predicted(high, low, in_scope=in_scope))
    assert (decision.intent is not None) == (decision.action in {Action.REPLY, Action.COMPARE})
    assert (len(decision.alternatives) == 2) == (decision.action is Action.CLARIFY)
    assert in_scope or decision.action is Action.SEARCH
