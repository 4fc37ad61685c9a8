"""The deployed sentiment classifier: how a text speaks of somebody, or as a whole, with calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_app.learning.classifier import Prediction
from lepton_app.learning.serving import Served, served
from lepton_app.learning.texts import about
from lepton_app.lib.deployed import NotDeployed

TASK = "sentiment"
NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
LABELS = (NEGATIVE, NEUTRAL, POSITIVE)


class UnknownSentiment(Exception):
    """The deployed model has labels that no sentiment score can be made of."""

    code = "unknown_sentiment"


@dataclass(frozen=True)
class Said:
    """A text and whom or what it is asked about; an empty ``entity`` asks about the text as a whole."""

    text: str
    entity: str = ""


@dataclass(frozen=True)
class Sentiment:
    """What the classifier says: the probabilities sum to 1."""

    negative: float
    neutral: float
    positive: float

    @property
    def label(self) -> str:
        """The most probable of ``LABELS``; the more neutral one where two are equally probable."""
        if self.neutral >= max(self.negative, self.positive):
            return NEUTRAL
        return POSITIVE if self.positive > self.negative else NEGATIVE

    @property
    def score(self) -> float:
        """How positive less how negative, from -1 to 1.

        >>> Sentiment(negative=0.1, neutral=0.2, positive=0.7).score
        0.6
        """
        return round(self.positive - self.negative, 6)


@dataclass(frozen=True)
class SentimentClassifier:
    """A classifier of what is said, as deployed at the moment of the call that returned it."""

    served: Served

    @property
    def version(self) -> str:
        """Names the model in the lineage of a score."""
        return self.served.version

    @property
    def run_id(self) -> int:
        """The run that made the model."""
        return self.served.run_id

    async def classify(self, what: Sequence[Said]) -> list[Sentiment]:
        """Return one sentiment for each, in order, without blocking the event loop while texts are encoded."""
        return [_sentiment(found) for found in await self.served.model.predict(_written(what))]

    def classify_sync(self, what: Sequence[Said]) -> list[Sentiment]:
        """Return one sentiment for each, in order, for callers with a thread of their own."""
        return [_sentiment(found) for found in self.served.model.predict_sync(_written(what))]


def current() -> SentimentClassifier | None:
    """Return the classifier that is at work, or None while none is.

    Asks the database at most once a second; call it where queries are allowed. Raises ``UnknownSentiment`` when the
    model knows other labels than ``LABELS``.
    """
    try:
        found = served(TASK).get()
    except NotDeployed:
        return None
    others = sorted(set(found.model.classifier.labels) - set(LABELS))
    if others:
        raise UnknownSentiment(
            f"Run #{found.run_id} says {', '.join(others)}; a sentiment is {', '.join(LABELS)}. Deploy another run."
        )
    return SentimentClassifier(found)


def _written(what: Sequence[Said]) -> list[str]:
    return [about(said.text, said.entity) for said in what]


def _sentiment(prediction: Prediction) -> Sentiment:
    # A model that was taught only two of the labels never says the third.
    found = dict(zip(prediction.labels, prediction.probabilities, strict=True))
    return Sentiment(*(found.get(label, 0.0) for label in LABELS))
