"""Train and measure: a dataset in, a published classifier and its figures out. Runs in the training worker.

The figures come from a hold-out that the measured classifier never saw, a tenth of the texts, stratified by label; the
classifier that is published then learns from every text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lepton_app.learning.calibration import stratified_folds
from lepton_app.learning.linear import fit_linear
from lepton_app.learning.metrics import accuracy, expected_calibration_error, macro_f1
from lepton_app.learning.snapshots import Dataset
from lepton_app.lib.encoding import encoder_service

HOLDOUT_PARTS = 10

Progress = Callable[[str], None]


def train_head(dataset: Dataset, *, root: Path, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """Fit a linear head on the encoder that serves; return the artifact's folder and the figures of the hold-out.

    ``accuracy``, ``macro_f1`` and ``ece`` lie in [0, 1]; ``in_scope_refused`` is the share of held-out texts that the
    out-of-scope threshold turns away; ``holdout_rows`` says on how many texts they rest. Raises ``LearningError``.
    """
    texts, labels = np.array(dataset.texts, dtype=object), np.array(dataset.labels, dtype=object)
    service = encoder_service()
    progress(f"Encoding {len(texts)} texts")
    rows = service.encode_sync(list(dataset.texts))

    progress("Measuring on a hold-out")
    held = stratified_folds(dataset.texts, dataset.labels, folds=HOLDOUT_PARTS, seed=0) == 0
    measured = fit_linear(list(texts[~held]), list(labels[~held]), rows[~held], encoder_version=service.encoder.version)
    predictions = measured.predict(list(texts[held]), rows[held])
    predicted = [prediction.labels[0] for prediction in predictions]
    truth = list(labels[held])
    confidence = np.array([prediction.probabilities[0] for prediction in predictions])
    correct = np.array([said == true for said, true in zip(predicted, truth, strict=True)])
    metrics = {
        "accuracy": round(accuracy(truth, predicted), 4),
        "macro_f1": round(macro_f1(truth, predicted), 4),
        "ece": round(expected_calibration_error(confidence, correct), 4),
        "in_scope_refused": round(float(np.mean([not prediction.in_scope for prediction in predictions])), 4),
        "holdout_rows": int(held.sum()),
        "rows": len(texts),
        "labels": len(set(dataset.labels)),
    }
    progress(f"Learning from all {len(texts)} texts")
    classifier = fit_linear(list(dataset.texts), list(dataset.labels), rows, encoder_version=service.encoder.version)
    return classifier.save(root), metrics
