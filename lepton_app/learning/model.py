"""A classifier with the encoder whose rows it reads: texts in, predictions out.

A run either uses the installation's encoder or brings its own, tuned one. Whoever asks need not know which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lepton_app.learning.classifier import LinearClassifier, Prediction
from lepton_app.lib import artifacts
from lepton_app.lib.encoding import encoder_service
from lepton_app.lib.text_runtime import EncoderService, TextEncoder

# Encoder artifacts of runs say in their meta which of the two precisions lost little enough to be served.
SERVED_PRECISION = "served_precision"


@dataclass(frozen=True)
class Model:
    """A classifier and its encoder, ready for use in this process. ``owns_encoder`` tells a run's own encoder."""

    classifier: LinearClassifier
    service: EncoderService
    owns_encoder: bool

    @property
    def version(self) -> str:
        """Names the classifier's artifact."""
        return self.classifier.version

    async def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction for each text, off the event loop's thread as far as the encoder is concerned."""
        return self.classifier.predict(texts, await self.service.encode(texts))

    def predict_sync(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction for each text, for callers with a thread of their own."""
        return self.classifier.predict(texts, self.service.encode_sync(texts))

    def close(self) -> None:
        """End the thread of an own encoder; the shared one goes on."""
        if self.owns_encoder:
            self.service.close()


def load_model(root: Path, artifact: str, encoder_artifact: str = "") -> Model:
    """Verify and load a run's classifier and encoder from their artifacts under ``root``.

    Without an ``encoder_artifact`` the process's shared encoder serves. Raises the errors of ``artifacts``;
    ``ArtifactIncompatible`` when the classifier was fitted on the rows of another encoder.
    """
    classifier = LinearClassifier.load(root / artifact)
    service = _own_service(root / encoder_artifact) if encoder_artifact else encoder_service()
    version = service.encoder.version
    if classifier.encoder_version != version:
        if encoder_artifact:
            service.close()
        raise artifacts.ArtifactIncompatible(
            f"classifier {artifact} was fitted on the rows of encoder {classifier.encoder_version}, and would get "
            f"those of {version}; train again, or set LEPTON_ENCODER and LEPTON_ENCODER_PRECISION back"
        )
    return Model(classifier, service, owns_encoder=bool(encoder_artifact))


def _own_service(folder: Path) -> EncoderService:
    precision = artifacts.peek(folder).meta.get(SERVED_PRECISION)
    if precision not in ("int8", "fp32"):
        raise artifacts.ArtifactIncompatible(f"{folder} does not say in which precision it is served.")
    encoder = TextEncoder(folder, precision=precision)
    encoder.warm_up()
    return EncoderService(encoder)
