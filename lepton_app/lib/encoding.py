"""The sentence encoder of this process: one set of weights and one pool of threads for all who need embeddings."""

from __future__ import annotations

import threading
from pathlib import Path

from django.conf import settings

from lepton_app.lib.artifacts import ArtifactError
from lepton_app.lib.text_runtime import EncoderService, TextEncoder

_lock = threading.Lock()
_service: EncoderService | None = None


class EncoderMissing(ArtifactError):
    """No exported encoder lies in the artifacts folder."""

    code = "encoder_missing"


def encoder_directory() -> Path:
    """Return the folder of the exported encoder that settings name; raise ``EncoderMissing`` when there is none."""
    from lepton_app.lib.encoder_export import current_encoder

    found = current_encoder(settings.ARTIFACTS_DIR, settings.LEPTON_ENCODER or None)
    if found is None:
        raise EncoderMissing(
            f"No exported encoder in {settings.ARTIFACTS_DIR}: run `manage.py prepare`, which exports one."
        )
    return found


def encoder_service() -> EncoderService:
    """Return this process's encoder; the first call finds the exported one, the first text loads its weights."""
    global _service
    with _lock:
        if _service is None:
            _service = EncoderService(
                TextEncoder(
                    encoder_directory(),
                    precision=settings.LEPTON_ENCODER_PRECISION,
                    threads=settings.LEPTON_MODEL_THREADS,
                )
            )
        return _service
