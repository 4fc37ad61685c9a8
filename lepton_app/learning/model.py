"""A classifier with the encoder whose rows it reads: texts in, predictions out.

A run either uses the installation's encoder or brings its own, tuned one. Whoever asks need not know which.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from lepton_app.learning.classifier import LinearClassifier, Prediction
from lepton_app.lib import artifacts
from lepton_app.lib.encoding import encoder_service
from lepton_app.lib.text_runtime import EncoderService, Rows, TextEncoder

# Encoder artifacts of runs say in their meta which of the two precisions lost little enough to be served.
SERVED_PRECISION = "served_precision"
_PUBLISHED_NAME = re.compile(r"-([0-9a-f]{8})\Z")


@dataclass(frozen=True)
class Model:
    """A classifier and its encoder, ready for use in this process. ``owns_encoder`` tells a run's own encoder.

    A model that nobody holds any more is freed with the session and the threads of its own encoder; ``close`` does so
    earlier, where it is known that no call is under way.
    """

    classifier: LinearClassifier
    service: EncoderService
    owns_encoder: bool

    @property
    def version(self) -> str:
        """Names the classifier's artifact."""
        return self.classifier.version

    async def encode(self, texts: Sequence[str]) -> Rows:
        """Return the rows that ``classify`` reads, ``(n, d) float32``, without blocking the event loop."""
        return await self.service.encode(texts)

    def classify(self, texts: Sequence[str], rows: Rows) -> list[Prediction]:
        """Return one prediction for each text, given its row of this model's encoder. Pure computation."""
        return self.classifier.predict(texts, rows)

    async def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction for each text, off the event loop's thread as far as the encoder is concerned."""
        return self.classify(texts, await self.encode(texts))

    def predict_sync(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction for each text, for callers with a thread of their own."""
        return self.classify(texts, self.service.encode_sync(texts))

    def close(self) -> None:
        """End the thread of an own encoder; the shared one goes on."""
        if self.owns_encoder:
            self.service.close()


def load_model(root: Path, artifact: str, encoder_artifact: str = "") -> Model:
    """Verify and load a run's classifier and encoder from their artifacts under ``root``, and try them on one text.

    Without an ``encoder_artifact`` the process's shared encoder serves. Raises the errors of ``artifacts``;
    ``ArtifactIncompatible`` when the classifier was fitted on the rows of another encoder, ``ArtifactCorrupt`` when a
    folder holds another artifact than the one whose name it bears, or one that cannot be run.
    """
    for name in filter(None, (artifact, encoder_artifact)):
        _check_identity(root / name)
    classifier = LinearClassifier.load(root / artifact)
    service = _own_service(root / encoder_artifact) if encoder_artifact else encoder_service()
    model = Model(classifier, service, owns_encoder=bool(encoder_artifact))
    try:
        version = service.encoder.version
        if classifier.encoder_version != version:
            raise artifacts.ArtifactIncompatible(
                f"classifier {artifact} was fitted on the rows of encoder {classifier.encoder_version}, and would get "
                f"those of {version}; train again, or set LEPTON_ENCODER and LEPTON_ENCODER_PRECISION back"
            )
        if service.encoder.dimension != len(classifier.dense_weights):
            raise artifacts.ArtifactIncompatible(
                f"classifier {artifact} reads rows of {len(classifier.dense_weights)} numbers, and encoder {version} "
                f"gives {service.encoder.dimension}"
            )
        model.predict_sync(["warm up"])
    except artifacts.ArtifactError:
        model.close()
        raise
    except Exception as error:
        model.close()
        # Files that are as the manifest states can still be none that the runtime reads.
        used = encoder_artifact or service.encoder.directory.name
        raise artifacts.ArtifactCorrupt(
            f"classifier {artifact} with encoder {used} cannot be run: {type(error).__name__}: {error}"
        ) from error
    return model


def _check_identity(folder: Path) -> None:
    """Refuse a folder whose manifest is not the one that gave it its name: a model of other labels, copied over."""
    stated = _PUBLISHED_NAME.search(folder.name)
    try:
        manifest = (folder / artifacts.MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise artifacts.ArtifactMissing(f"{folder} has no {artifacts.MANIFEST}: there is no artifact.") from None
    if stated is not None and hashlib.sha256(manifest).hexdigest()[:8] != stated[1]:
        raise artifacts.ArtifactCorrupt(f"{folder} holds another artifact than the one that was published as it.")


def _own_service(folder: Path) -> EncoderService:
    precision = artifacts.peek(folder).meta.get(SERVED_PRECISION)
    if precision not in ("int8", "fp32"):
        raise artifacts.ArtifactIncompatible(f"{folder} does not say in which precision it is served.")
    return EncoderService(TextEncoder(folder, precision=precision, threads=settings.LEPTON_MODEL_THREADS))
