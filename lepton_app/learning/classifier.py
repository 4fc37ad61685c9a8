"""A trained classifier at work: texts and their embeddings in, calibrated labels out, with numpy and scipy alone.

It is a multinomial logistic regression over the features of ``features``, divided by a temperature, with the
out-of-scope score of ``scope``. It is fitted by ``linear`` and saved as an artifact of kind ``classifier``:
``arrays.safetensors`` (weights and neighbours), ``vocabulary.txt`` (one n-gram a line, in the order of the columns)
and the manifest's meta (labels, weights, temperature, threshold). A loaded classifier says bit for bit what the saved
one said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lepton_app.learning.calibration import softmax
from lepton_app.learning.features import Floats, Ngrams, Weights
from lepton_app.learning.scope import Neighbours, Scope
from lepton_app.lib import artifacts

CLASSIFIER_KIND = "classifier"
# 1: weights in float32, neighbours of each language, n-grams one a line.
# 2: neighbours stand label after label, with what is typical of them and the scale of five signs of being in scope.
CLASSIFIER_FORMAT_VERSION = 2
ARRAYS_FILE = "arrays.safetensors"
VOCABULARY_FILE = "vocabulary.txt"
_OF_EACH_LANGUAGE = ("dense", "starts", "typical", "typical_label", "totals", "centre", "spread", "genuine")


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one text.

    ``labels`` are all labels, most probable first; ``probabilities`` belong to them and sum to 1. ``scope_score`` is
    higher the more a text is like the training texts: 0 where the stated share of genuine texts would be refused, 1 at
    their median. ``in_scope`` compares it with the artifact's threshold.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    scope_score: float
    in_scope: bool


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted classifier; ``linear.fit_linear`` makes one, ``load`` reads one.

    ``dense_weights`` is ``(d, k) float32``, ``ngram_weights`` is ``(v, k) float32``, ``bias`` is ``(k,) float32``.
    ``version`` names the artifact's folder, and is empty before it is saved. ``meta`` is what the fit reports.
    """

    labels: tuple[str, ...]
    ngrams: Ngrams
    weights: Weights
    dense_weights: Floats
    ngram_weights: Floats
    bias: Floats
    temperature: float
    scope: Scope
    threshold: float
    encoder_version: str
    version: str
    meta: Mapping[str, Any]

    def predict(self, texts: Sequence[str], embeddings: Floats) -> list[Prediction]:
        """Return one prediction for each text; ``embeddings`` is ``(n, d) float32``, the unit rows of the texts."""
        if not texts:
            return []
        sparse = self.ngrams.matrix(texts)
        logits = self._logits(texts, embeddings, sparse)
        probabilities = softmax(logits, temperature=self.temperature)
        scores = self.scope.scores(texts, embeddings, sparse, logits)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return [
            Prediction(
                labels=tuple(self.labels[column] for column in columns.tolist()),
                probabilities=tuple(probabilities[row, columns].tolist()),
                scope_score=float(scores[row]),
                in_scope=bool(scores[row] >= self.threshold),
            )
            for row, columns in enumerate(order)
        ]

    def probabilities(self, texts: Sequence[str], embeddings: Floats) -> NDArray[np.float64]:
        """Return the probability of each label, ``(n, k) float64`` in the order of ``labels``."""
        return softmax(self.logits(texts, embeddings), temperature=self.temperature)

    def logits(self, texts: Sequence[str], embeddings: Floats) -> Floats:
        """Return the logits before the temperature, ``(n, k) float32`` in the order of ``labels``."""
        return self._logits(texts, embeddings, self.ngrams.matrix(texts))

    def scope_scores(self, texts: Sequence[str], embeddings: Floats) -> NDArray[np.float64]:
        """Return the out-of-scope score of each text: ``(n,) float64``, higher is more in scope."""
        sparse = self.ngrams.matrix(texts)
        return self.scope.scores(texts, embeddings, sparse, self._logits(texts, embeddings, sparse))

    def save(self, root: Path) -> Path:
        """Publish the classifier under ``root`` and return the artifact's folder, whose name is its version."""
        arrays: dict[str, NDArray[Any]] = {
            "dense_weights": self.dense_weights,
            "ngram_weights": self.ngram_weights,
            "bias": self.bias,
            "ngram_factors": self.ngrams.counts_for,
        }
        languages = {}
        for language, known in self.scope.languages.items():
            for name in _OF_EACH_LANGUAGE:
                arrays[f"{language}.{name}"] = getattr(known, name)
            for name, matrix in (("counts", known.counts), ("sparse", known.sparse)):
                if matrix is not None:
                    arrays[f"{language}.{name}.data"] = matrix.data
                    arrays[f"{language}.{name}.indices"] = matrix.indices.astype(np.int32)
                    arrays[f"{language}.{name}.indptr"] = matrix.indptr.astype(np.int32)
            languages[language] = {"ngram_share": known.ngram_share, "low": known.low, "middle": known.middle}

        def write(directory: Path) -> None:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / ARRAYS_FILE)
            vocabulary = "\n".join(self.ngrams.vocabulary).encode("utf-8", "surrogatepass")
            (directory / VOCABULARY_FILE).write_bytes(vocabulary)

        return artifacts.publish(
            root,
            kind=CLASSIFIER_KIND,
            format_version=CLASSIFIER_FORMAT_VERSION,
            meta={
                "labels": list(self.labels),
                "weights": asdict(self.weights),
                "temperature": self.temperature,
                "threshold": self.threshold,
                "neighbours": self.scope.neighbours,
                "languages": languages,
                "encoder_version": self.encoder_version,
                "fit": dict(self.meta),
            },
            write=write,
        )

    @classmethod
    def load(cls, path: Path) -> LinearClassifier:
        """Verify and read the artifact at ``path``; raises the errors of ``artifacts``."""
        manifest = artifacts.load(path, kind=CLASSIFIER_KIND, format_version=CLASSIFIER_FORMAT_VERSION)
        meta = manifest.meta
        try:
            arrays = load_file(path / ARRAYS_FILE)
            raw = (path / VOCABULARY_FILE).read_bytes().decode("utf-8", "surrogatepass")
            ngrams = Ngrams(raw.split("\n") if raw else [], arrays["ngram_factors"])
            languages = {
                language: _neighbours(arrays, language, about, vocabulary=len(ngrams), labels=len(meta["labels"]))
                for language, about in meta["languages"].items()
            }
            classifier = cls(
                labels=tuple(meta["labels"]),
                ngrams=ngrams,
                weights=Weights(**meta["weights"]),
                dense_weights=arrays["dense_weights"],
                ngram_weights=arrays["ngram_weights"],
                bias=arrays["bias"],
                temperature=float(meta["temperature"]),
                scope=Scope(int(meta["neighbours"]), languages),
                threshold=float(meta["threshold"]),
                encoder_version=str(meta["encoder_version"]),
                version=path.name,
                meta=meta["fit"],
            )
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise artifacts.ArtifactCorrupt(f"{path} holds no classifier that can be read: {error}") from error
        labels = len(classifier.labels)
        shapes = (classifier.dense_weights.shape[1], classifier.ngram_weights.shape, classifier.bias.shape)
        if shapes != (labels, (len(ngrams), labels), (labels,)):
            raise artifacts.ArtifactCorrupt(f"{path} has weights of other shapes than its {labels} labels ask for.")
        for known in classifier.scope.languages.values():
            rows = known.dense.shape[1]
            if (known.typical.shape, known.starts.shape, int(known.starts[-1])) != ((rows,), (labels + 1,), rows):
                raise artifacts.ArtifactCorrupt(f"{path} has neighbours of other labels than its {labels}.")
        return classifier

    def _logits(self, texts: Sequence[str], embeddings: Floats, sparse: sp.csr_matrix) -> Floats:
        if embeddings.shape != (len(texts), len(self.dense_weights)):
            raise ValueError(
                f"{len(texts)} texts need embeddings of shape ({len(texts)}, {len(self.dense_weights)}); "
                f"these have {embeddings.shape}."
            )
        scale = np.array([self.weights.of(text) for text in texts], dtype=np.float32).reshape(-1, 2)  # (n, 2)
        logits: Floats = scale[:, :1] * (embeddings @ self.dense_weights)  # (n, k)
        logits += scale[:, 1:] * (sparse @ self.ngram_weights)
        return logits + self.bias


def _neighbours(
    arrays: Mapping[str, NDArray[Any]], language: str, about: Mapping[str, Any], *, vocabulary: int, labels: int
) -> Neighbours:
    def matrix(name: str, rows: int) -> sp.csr_matrix:
        parts = tuple(arrays[f"{language}.{name}.{part}"] for part in ("data", "indices", "indptr"))
        return sp.csr_matrix(parts, shape=(rows, vocabulary))

    share = float(about["ngram_share"])
    return Neighbours(
        **{name: arrays[f"{language}.{name}"] for name in _OF_EACH_LANGUAGE},
        sparse=matrix("sparse", arrays[f"{language}.dense"].shape[1]) if share > 0 else None,
        counts=matrix("counts", labels),
        ngram_share=share,
        low=float(about["low"]),
        middle=float(about["middle"]),
    )
