"""The deployed intent classifier: what a customer's text asks for, with calibrated probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning.classifier import Prediction
from lepton_app.learning.serving import Served, served
from lepton_app.lib.deployed import NotDeployed

TASK = "intent"

Embedding = NDArray[np.float32]


@dataclass(frozen=True)
class IntentClassifier:
    """A classifier of utterances, as deployed at the moment of the call that returned it."""

    served: Served

    @property
    def version(self) -> str:
        """Names the model in the lineage of a reply."""
        return self.served.version

    @property
    def run_id(self) -> int:
        """The run that made the model."""
        return self.served.run_id

    @property
    def owns_encoder(self) -> bool:
        """Whether it reads rows of an encoder of its own, which ``encode`` gives, and not the installation's."""
        return self.served.model.owns_encoder

    async def encode(self, text: str) -> Embedding:
        """Return the row of one text that ``classify`` reads, (d,) float32, without blocking the event loop."""
        row: Embedding = (await self.served.model.encode([text]))[0]
        return row

    def classify(self, text: str, embedding: Embedding) -> Prediction:
        """Return the intents of one text, given its embedding of shape (d,) float32. Pure computation, no queries."""
        return self.served.model.classify([text], embedding[np.newaxis, :])[0]


def current() -> IntentClassifier | None:
    """Return the classifier that is at work, or None while none is.

    Asks the database at most once a second; call it where queries are allowed.
    """
    try:
        return IntentClassifier(served(TASK).get())
    except NotDeployed:
        return None
