"""Decide what becomes of an utterance: an intent's reply, a search in the documents, or a clarifying question.

An intent has one reply for everything that belongs to it. A question about a detail ("how many virtual cards can I
have?") belongs to an intent as well, is asked in words that few of the intent's texts share, and is often answered to
the point by a document. So an utterance that is not typical of what the classifier learnt is looked up first, and the
intent's reply is for the case that the documents do not strongly support an answer.

The decision is pure and reads calibrated scores only; its thresholds come with the model, and the figures that it
was taken on go into the reply's lineage. A human is offered when the search has found nothing, or at once when the
intent says so.

>>> from lepton_app.learning.classifier import Prediction
>>> sure = Prediction(labels=("card_lost", "card_freeze"), probabilities=(0.94, 0.03), scope_score=1.9, in_scope=True)
>>> route(sure).action, route(sure).intent
(<Action.REPLY: 'reply'>, 'card_lost')
>>> detail = Prediction(labels=("card_lost", "card_freeze"), probabilities=(0.94, 0.03), scope_score=0.9, in_scope=True)
>>> route(detail).action, route(detail).intent
(<Action.COMPARE: 'compare'>, 'card_lost')
>>> torn = Prediction(labels=("card_lost", "card_freeze"), probabilities=(0.48, 0.41), scope_score=0.8, in_scope=True)
>>> route(torn).action, route(torn).alternatives
(<Action.CLARIFY: 'clarify'>, ('card_lost', 'card_freeze'))
>>> foreign = Prediction(labels=("card_lost",), probabilities=(0.99,), scope_score=0.1, in_scope=False)
>>> route(foreign).action, route(foreign).reason
(<Action.SEARCH: 'search'>, 'out_of_scope')
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from lepton_app.learning.classifier import Prediction


class Action(Enum):
    """What to do with an utterance; COMPARE takes a strongly supported answer of the documents, else the reply."""

    REPLY = "reply"
    COMPARE = "compare"
    SEARCH = "search"
    CLARIFY = "clarify"


@dataclass(frozen=True)
class Thresholds:
    """Where the decisions lie, as probabilities in [0, 1].

    ``reply``: at least this probability of the first intent gives its reply; with calibrated probabilities, about
    ``1 - reply`` of the replies at the border are wrong. ``clarify_each`` and ``clarify_both``: two intents are asked
    about when each is at least this probable, and both together are.

    ``typical`` and ``odd`` are scope scores (0 where the classifier would turn the text away, 1 at the median of
    genuine texts): from ``typical`` on the reply is given at once, below ``odd`` only at ``reply_odd``.
    ``strong_support`` is the support from which an answer of the documents is preferred in between.
    """

    reply: float = 0.6
    clarify_each: float = 0.22
    clarify_both: float = 0.65
    reply_odd: float = 0.9
    strong_support: float = 0.6
    typical: float = 1.5
    odd: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in {"typical", "odd"} and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1; it is {value}")
        if self.odd > self.typical:
            raise ValueError(f"odd must not be above typical; they are {self.odd} and {self.typical}")


@dataclass(frozen=True)
class Decision:
    """The outcome, with the intent or the alternatives that it concerns and a code that says why."""

    action: Action
    reason: str
    intent: str | None = None
    alternatives: tuple[str, ...] = ()
    scores: dict[str, float | bool] = field(default_factory=dict)


def route(prediction: Prediction, *, thresholds: Thresholds = Thresholds()) -> Decision:
    """Return the decision for one prediction.

    The procedure: out of scope -> search; one intent probable enough -> its reply, compared with the documents when
    the text is not typical; two that share the probability -> ask which; otherwise search.
    """
    first, second = prediction.probabilities[0], (*prediction.probabilities[1:2], 0.0)[0]
    scores: dict[str, float | bool] = {
        "probability": round(first, 4),
        "second_probability": round(second, 4),
        "scope_score": round(prediction.scope_score, 4),
        "in_scope": prediction.in_scope,
    }
    if not prediction.in_scope:
        return Decision(Action.SEARCH, "out_of_scope", scores=scores)
    if prediction.scope_score >= thresholds.typical and first >= thresholds.reply:
        return Decision(Action.REPLY, "confident", intent=prediction.labels[0], scores=scores)
    if first >= (thresholds.reply if prediction.scope_score >= thresholds.odd else thresholds.reply_odd):
        return Decision(Action.COMPARE, "not_typical", intent=prediction.labels[0], scores=scores)
    if second >= thresholds.clarify_each and first + second >= thresholds.clarify_both:
        return Decision(Action.CLARIFY, "two_intents", alternatives=prediction.labels[:2], scores=scores)
    return Decision(Action.SEARCH, "unsure", scores=scores)
