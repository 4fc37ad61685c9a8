"""The deployed intent classifier: what a customer's text asks for, with calibrated probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton_app.learning.classifier import Prediction
from lepton_app.learning.serving import Served, served
from lepton_app.lib.deployed import NotDeployed

TASK = "intent"


@dataclass(frozen=True)
class IntentClassifier:
    """A classifier of utterances, as deployed at the moment of the call that returned it."""

    served: Served

    @property
    def version(self) -> str:
        """Names the model in the lineage of a reply."""
        return self.served.version

    def classify(self, text: str, embedding: NDArray[np.float32]) -> Prediction:
        """Return the intents of one text, given its embedding of shape (d,) float32. Pure computation, no queries."""
        return self.served.model.predict([text], embedding[np.newaxis, :])[0]


def current() -> IntentClassifier | None:
    """Return the classifier that is at work, or None while none is.

    Asks the database at most once a second; call it where queries are allowed.
    """
    try:
        return IntentClassifier(served(TASK).get())
    except NotDeployed:
        return None
