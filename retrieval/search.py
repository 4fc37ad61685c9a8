"""The index of one process: built from passages, saved into an artifact, searched by many threads at once.

Passages are held apart by language, for a question is looked up in the articles of its own language, and word
statistics of two languages say nothing about each other. Everything in a `SearchIndex` is read-only after it is made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.lib import languages
from lepton_app.lib.artifacts import ArtifactCorrupt, Manifest
from lepton_app.lib.artifacts import load as load_artifact
from retrieval.fusion import Trust, fuse, lexical_share
from retrieval.lexical import LexicalIndex
from retrieval.vectors import VectorIndex

Rows = NDArray[np.float32]

KIND = "index"
# 1: one folder per language with vectors.faiss, the lexical files and passages.npz; index.json repeats the manifest.
FORMAT_VERSION = 1
# How many candidates each arm brings for every hit asked for, and at least.
_CANDIDATES_PER_HIT = 4
_CANDIDATES_AT_LEAST = 50
PUBLIC = frozenset({"public"})


@dataclass(frozen=True, slots=True)
class PassageEntry:
    """What the index knows of a passage; ``id`` is at least 0, and ``heading`` is its title and section path."""

    id: int
    article_id: int
    language: str
    audience: str
    heading: str
    text: str
    start: int
    end: int
    body_sha256: str

    @property
    def full_text(self) -> str:
        """What is indexed and encoded as the passage's text: under its heading, as a reader sees it."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, best first by ``fused``; ``dense`` in [-1, 1], ``lexical`` and ``coverage`` as shares."""

    passage_id: int
    article_id: int
    dense: float
    lexical: float
    fused: float
    language: str
    start: int
    end: int
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """When an answer counts as supported; see `retrieval.answering.support_of` for the score."""

    threshold: float
    wrong_answer_rate: float
    answered_rate: float

    @classmethod
    def uncalibrated(cls) -> Calibration:
        """The threshold of an index too small to be calibrated."""
        return cls(threshold=0.5, wrong_answer_rate=0.0, answered_rate=0.0)


class Partition:
    """The passages of one language; positions run from 0 in the order of the keys."""

    def __init__(
        self,
        language: str,
        *,
        keys: NDArray[np.int64],
        articles: NDArray[np.int64],
        spans: NDArray[np.int64],
        audiences: NDArray[np.str_],
        hashes: Mapping[int, str],
        vectors: VectorIndex,
        lexical: LexicalIndex,
        trust: Trust,
        calibration: Calibration,
    ) -> None:
        self.language = language
        self.keys = keys
        self.articles = articles
        self.spans = spans
        self.audiences = audiences
        self.hashes = dict(hashes)
        self.vectors = vectors
        self.lexical = lexical
        self.trust = trust
        self.calibration = calibration

    @classmethod
    def build(
        cls,
        language: str,
        entries: Sequence[PassageEntry],
        text_rows: Rows,
        heading_rows: Rows,
        *,
        trust: Trust,
        calibration: Calibration,
    ) -> Partition:
        """Index the passages of one language with their ``(n, d)`` unit rows."""
        order = sorted(range(len(entries)), key=lambda i: entries[i].id)
        entries = [entries[i] for i in order]
        keys = np.array([entry.id for entry in entries], np.int64)
        return cls(
            language,
            keys=keys,
            articles=np.array([entry.article_id for entry in entries], np.int64),
            spans=np.array([(entry.start, entry.end) for entry in entries], np.int64).reshape(-1, 2),
            audiences=np.array([entry.audience for entry in entries], np.str_),
            hashes={entry.article_id: entry.body_sha256 for entry in entries},
            vectors=VectorIndex.build(keys, text_rows[order], heading_rows[order]),
            lexical=LexicalIndex.build([entry.full_text for entry in entries]),
            trust=trust,
            calibration=calibration,
        )

    def allowed(self, audiences: Collection[str], excluded: Collection[int]) -> NDArray[np.bool_]:
        """Return which passages may come out: those of a named audience and of no excluded article."""
        mask = np.isin(self.audiences, list(audiences)) if audiences else np.zeros(len(self.keys), bool)
        if excluded:
            mask &= ~np.isin(self.articles, np.fromiter(excluded, np.int64, len(excluded)))
        return mask

    def search(
        self, query: str, row: Rows, *, limit: int, audiences: Collection[str], excluded: Collection[int]
    ) -> list[Hit]:
        """Return at most ``limit`` passages, best first: candidates of both arms, each scored by both."""
        allowed = self.allowed(audiences, excluded)
        if limit < 1 or not allowed.any():
            return []
        everything = bool(allowed.all())
        wanted = max(_CANDIDATES_AT_LEAST, _CANDIDATES_PER_HIT * limit)
        lexical = self.lexical.scores(query)
        if not everything:
            lexical = np.where(allowed, lexical, np.float32(0.0))
        near = self.vectors.search(row, wanted, allowed=None if everything else self.keys[allowed])
        positions = np.union1d(np.searchsorted(self.keys, near), _largest(lexical, wanted))
        keys = self.keys[positions]
        dense = self.vectors.similarities(row, keys)
        share = lexical_share(lexical[positions], self.lexical.highest_possible(query))
        fused = fuse(dense, share, self.trust.lexical_weight)
        best = np.lexsort((keys, -fused))[:limit]
        return [
            Hit(
                passage_id=int(keys[i]),
                article_id=int(self.articles[positions[i]]),
                dense=float(dense[i]),
                lexical=float(share[i]),
                fused=float(fused[i]),
                language=self.language,
                start=int(self.spans[positions[i], 0]),
                end=int(self.spans[positions[i], 1]),
                body_sha256=self.hashes[int(self.articles[positions[i]])],
            )
            for i in best
        ]

    def save(self, directory: Path) -> None:
        """Write the partition into a new directory."""
        directory.mkdir()
        self.vectors.save(directory / "vectors.faiss")
        self.lexical.save(directory)
        np.savez(
            directory / "passages.npz",
            allow_pickle=False,
            keys=self.keys,
            articles=self.articles,
            spans=self.spans,
            audiences=self.audiences,
        )
        (directory / "hashes.json").write_text(json.dumps({str(k): v for k, v in self.hashes.items()}))

    @property
    def about(self) -> dict[str, Any]:
        """What the manifest says of this language."""
        return {"passages": len(self.keys), "trust": asdict(self.trust), "calibration": asdict(self.calibration)}

    @classmethod
    def load(cls, directory: Path, about: Mapping[str, Any]) -> Partition:
        """Open a saved partition; vectors and lexical scores stay in their files."""
        with np.load(directory / "passages.npz", allow_pickle=False) as arrays:
            keys, articles, spans, audiences = (arrays[n] for n in ("keys", "articles", "spans", "audiences"))
        hashes = json.loads((directory / "hashes.json").read_text())
        return cls(
            directory.name,
            keys=keys,
            articles=articles,
            spans=spans,
            audiences=audiences,
            hashes={int(k): v for k, v in hashes.items()},
            vectors=VectorIndex.load(directory / "vectors.faiss"),
            lexical=LexicalIndex.load(directory),
            trust=Trust(**about["trust"]),
            calibration=Calibration(**about["calibration"]),
        )


class SearchIndex:
    """All partitions of one build, with the version of the encoder that their rows came from."""

    def __init__(self, partitions: Mapping[str, Partition], *, encoder_version: str, version: str) -> None:
        self.partitions = dict(partitions)
        self.encoder_version = encoder_version
        self.version = version

    @property
    def size(self) -> int:
        """How many passages are indexed, over all languages."""
        return sum(len(partition.keys) for partition in self.partitions.values())

    def search(
        self,
        query: str,
        query_embedding: Rows,
        *,
        language: str | None = None,
        limit: int = 8,
        audiences: Collection[str] = PUBLIC,
        excluded_articles: Collection[int] = frozenset(),
    ) -> list[Hit]:
        """Return the best passages in one language (the query's own when None), best first.

        ``query_embedding`` is the ``(d,)`` unit row of the query. Filters hold inside the search: what is excluded
        takes no place from what is allowed, and no audience named means no hit.
        """
        partition = self.partitions.get(language if language is not None else languages.detect(query))
        if partition is None:
            return []
        return partition.search(query, query_embedding, limit=limit, audiences=audiences, excluded=excluded_articles)

    def languages_for(self, question_language: str) -> list[str]:
        """Return the languages to look in, in order: the question's own, then those that can be compared with it.

        Another language is looked at only when the encoder reads both, or when there is nothing at all in the
        question's own language: a blind encoder's similarity across languages supports no answer.
        """
        own = self.partitions.get(question_language)
        others = sorted(set(self.partitions) - {question_language})
        if own is None:
            return others
        return [question_language, *(o for o in others if own.trust.reads and self.partitions[o].trust.reads)]

    def save(self, directory: Path) -> None:
        """Write the index into an existing directory; `about` belongs into its manifest."""
        for language, partition in self.partitions.items():
            partition.save(directory / language)
        # An artifact holds at least one file, and an index of no article is a valid one.
        (directory / "index.json").write_text(json.dumps(self.about))

    @property
    def about(self) -> dict[str, Any]:
        """The manifest's ``meta``."""
        return {
            "encoder_version": self.encoder_version,
            "languages": {language: partition.about for language, partition in self.partitions.items()},
        }

    @classmethod
    def load(cls, path: Path) -> SearchIndex:
        """Open a published index after checking every file's size and sha256.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactIncompatible.
        """
        manifest: Manifest = load_artifact(path, kind=KIND, format_version=FORMAT_VERSION)
        try:
            partitions = {
                language: Partition.load(path / language, about)
                for language, about in manifest.meta["languages"].items()
            }
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ArtifactCorrupt(f"{path} holds no index that can be opened: {error}") from error
        return cls(partitions, encoder_version=str(manifest.meta["encoder_version"]), version=path.name)


def _largest(scores: Rows, count: int) -> NDArray[np.int64]:
    """Return the positions of the ``count`` largest positive scores, in no order."""
    positive = np.flatnonzero(scores > 0.0)
    if len(positive) > count:
        positive = positive[np.argpartition(-scores[positive], count - 1)[:count]]
    return positive
