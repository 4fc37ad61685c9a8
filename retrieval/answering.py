"""An answer made of the articles' own sentences, each with a citation that has been verified, or a refusal.

The procedure of `compose_answer`:

1. A question without any word that carries meaning ("hi", "你好", "???") is refused at once.
2. The passages found are cut into pieces (sentences, table rows). A passage of an article that has been edited since
   the index was built gives way to all pieces of the article as it stands.
3. Each piece is scored by how near it is to the question (embedding), how much of the question's rare words it holds,
   and how good its passage is.
4. Up to four pieces are taken, best first, while they are nearly as good as the best and say something new. A list's
   items bring their lead-in, numbered steps come whole, and everything is put in reading order.
5. The support of the answer is compared with the calibrated threshold; below it, the answer is a refusal that names
   the articles that came near.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.lib.languages import has_cjk
from retrieval.chunking import SECTION_SEPARATOR, Piece, pieces_of
from retrieval.fusion import Trust
from retrieval.lexical import content_tokens, tokenise
from retrieval.search import Calibration, Hit

Rows = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Rows]
Weigh = Callable[[Sequence[str]], Rows]

MOST_PASSAGES = 6
MOST_PIECES = 48
MOST_SENTENCES = 4
MOST_STEPS = 8
# A further sentence must reach this share of the best one's score.
NEARLY_AS_GOOD = 0.88
# Share of distinct tokens in common from which two sentences say the same.
SAME = 0.7
# A word of the question that stands in the heading over a sentence counts this much of one in the sentence.
HEADING_SHARE = 0.6
# How much of a piece's score comes from its passage.
PASSAGE_SHARE = 0.45
# The bounds of word coverage's weight in scoring pieces and support: neither words nor meaning decide alone.
LEAST_COVERAGE_WEIGHT = 0.35
MOST_COVERAGE_WEIGHT = 0.85


class CitationError(ValueError):
    """A quote does not stand at its span in the article: nothing may be shown that cannot be checked."""

    code = "citation_unverified"


@dataclass(frozen=True, slots=True)
class Source:
    """A published article as it stands when the question is answered."""

    article_id: int
    title: str
    body: str
    body_sha256: str
    language: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a sentence stands: ``quote == body[start:end]`` of the article's source, verified."""

    passage_id: int
    article_id: int
    title: str
    section: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer, readable without Markdown, and where it comes from."""

    text: str
    citation: Citation


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or a refusal when ``refused`` (then ``sentences`` is empty and ``near`` says what came near)."""

    sentences: tuple[Sentence, ...]
    support: float
    refused: bool
    threshold: float
    near: tuple[tuple[int, str], ...] = ()
    lineage: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentences as one text; a list's items and table rows stand on lines of their own."""
        return join_sentences([sentence.text for sentence in self.sentences])


@dataclass(frozen=True, slots=True)
class _Scored:
    piece: Piece
    hit: Hit
    source: Source
    rank: int
    similarity: float
    tokens: frozenset[str]
    heading_tokens: frozenset[str]
    score: float


def verified_citation(source: Source, piece: Piece, passage_id: int) -> Citation:
    """Return the citation of a piece; raises `CitationError` when its span is not in the article."""
    quote = source.body[piece.start : piece.end]
    if not 0 <= piece.start < piece.end <= len(source.body) or not quote.strip():
        raise CitationError(f"Article {source.article_id} has no text at {piece.start}:{piece.end}")
    return Citation(
        passage_id=passage_id,
        article_id=source.article_id,
        title=source.title,
        section=SECTION_SEPARATOR.join(piece.section),
        start=piece.start,
        end=piece.end,
        quote=quote,
    )


def coverage(terms: Sequence[str], weights: Rows, tokens: frozenset[str], heading: frozenset[str]) -> float:
    """Return the share in [0, 1] of the question's information that a text holds; its heading counts in part.

    ``weights`` are those of the terms (`LexicalIndex.weights`).

    >>> coverage(["late", "fee"], np.array([3.0, 1.0], np.float32), frozenset({"fee"}), frozenset())
    0.25
    """
    total = float(weights.sum())
    if total <= 0.0:
        return 0.0
    held = sum(
        float(weight) * (1.0 if term in tokens else HEADING_SHARE if term in heading else 0.0)
        for term, weight in zip(terms, weights, strict=True)
    )
    return held / total


def support_of(similarity: float, covered: float, trust: Trust) -> float:
    """Return the support in [0, 1]: similarity where the encoder reads the language, word coverage where it doesn't.

    ``similarity`` is the largest of the answer's sentences and passages, ``covered`` the share of the question's
    information that the answer and its headings hold.
    """
    weight = coverage_weight(trust)
    return min(max((1.0 - weight) * max(similarity, 0.0) + weight * covered, 0.0), 1.0)


def coverage_weight(trust: Trust) -> float:
    """How much word coverage counts against similarity, in [.35, .85]."""
    return min(max(trust.lexical_weight, LEAST_COVERAGE_WEIGHT), MOST_COVERAGE_WEIGHT)


def compose_answer(
    question: str,
    question_row: Rows,
    hits: Sequence[Hit],
    sources: Mapping[int, Source],
    *,
    weigh: Weigh,
    trust: Trust,
    calibration: Calibration,
    embed: Embed,
) -> Answer:
    """Answer from the hits whose article is in ``sources``; hits of any other article are ignored.

    ``question_row`` is the ``(d,)`` unit row of the question; ``embed`` gives unit rows of texts, and is called once
    at most. ``weigh`` gives the weights of tokens (`LexicalIndex.weights`).
    """
    hits = [hit for hit in hits if hit.article_id in sources]
    lineage: dict[str, Any] = {
        "answerer": "extractive",
        "passages": [
            {
                "passage": hit.passage_id,
                "article": hit.article_id,
                "dense": round(hit.dense, 4),
                "lexical": round(hit.lexical, 4),
                "fused": round(hit.fused, 4),
            }
            for hit in hits
        ],
    }
    near = tuple(dict.fromkeys((hit.article_id, sources[hit.article_id].title) for hit in hits))[:3]
    refusal = Answer((), 0.0, refused=True, threshold=calibration.threshold, near=near, lineage=lineage)
    terms = content_tokens(question)
    if not terms or not hits:
        return replace(refusal, near=()) if not terms else refusal
    weights = weigh(terms)
    scored = _score(hits[:MOST_PASSAGES], sources, terms, weights, question_row, trust, embed)
    if not scored:
        return refusal
    chosen = _choose(scored)
    support = _support(chosen, terms, weights, trust)
    if support < calibration.threshold:
        return replace(refusal, support=support)
    sentences = tuple(
        Sentence(item.piece.text, verified_citation(item.source, item.piece, item.hit.passage_id)) for item in chosen
    )
    lineage["cited"] = sorted({sentence.citation.passage_id for sentence in sentences})
    return Answer(sentences, support, refused=False, threshold=calibration.threshold, near=near, lineage=lineage)


def _support(chosen: Sequence[_Scored], terms: Sequence[str], weights: Rows, trust: Trust) -> float:
    tokens = frozenset().union(*(item.tokens for item in chosen))
    heading = frozenset().union(*(item.heading_tokens for item in chosen))
    similarity = max(max(item.similarity, item.hit.dense) for item in chosen)
    return support_of(similarity, coverage(terms, weights, tokens, heading), trust)


def _score(
    hits: Sequence[Hit],
    sources: Mapping[int, Source],
    terms: Sequence[str],
    weights: Rows,
    question_row: Rows,
    trust: Trust,
    embed: Embed,
) -> list[_Scored]:
    """Score the pieces of the hits' passages, each piece once, in the order of the hits."""
    found: dict[tuple[int, int], tuple[Piece, Hit, int]] = {}
    for rank, hit in enumerate(hits):
        source = sources[hit.article_id]
        unchanged = source.body_sha256 == hit.body_sha256
        for piece in pieces_of(source.body):
            if not unchanged or (piece.start < hit.end and piece.end > hit.start):
                found.setdefault((hit.article_id, piece.start), (piece, hit, rank))
    candidates = list(found.values())[:MOST_PIECES]
    weight = coverage_weight(trust)
    if not candidates:
        return []
    similarities = embed([piece.text for piece, _, _ in candidates]) @ question_row
    scored = []
    for (piece, hit, rank), similarity in zip(candidates, similarities.tolist(), strict=True):
        source = sources[hit.article_id]
        tokens = frozenset(tokenise(piece.text))
        heading = frozenset(tokenise(" ".join((source.title, *piece.section))))
        relevance = (1.0 - weight) * similarity + weight * coverage(terms, weights, tokens, heading)
        score = PASSAGE_SHARE * hit.fused + (1.0 - PASSAGE_SHARE) * relevance
        scored.append(_Scored(piece, hit, source, rank, similarity, tokens, heading, score))
    return scored


def _choose(scored: Sequence[_Scored]) -> list[_Scored]:
    """Take the best pieces that add something, with their lead-ins and steps, in reading order."""
    by_block: dict[tuple[int, int], list[_Scored]] = {}
    for item in scored:
        by_block.setdefault((item.source.article_id, item.piece.block), []).append(item)
    ranked = sorted(scored, key=lambda item: (-item.score, item.rank, item.piece.start))
    # A lead-in says nothing without its list: it only comes with an item.
    leads: set[tuple[int, int | None]] = {
        (item.source.article_id, item.piece.lead_in) for item in scored if item.piece.lead_in is not None
    }
    best = next((item for item in ranked if not _is_lead(item, leads)), ranked[0])
    chosen: list[_Scored] = []
    for item in [best, *ranked]:
        if len(chosen) >= MOST_SENTENCES or (chosen and item.score < NEARLY_AS_GOOD * best.score):
            break
        if _is_lead(item, leads) and item is not best:
            for follower in _followers(item, scored)[:MOST_SENTENCES]:
                _add(chosen, follower)
        else:
            _add(chosen, item)
    for item in chosen:
        if item.piece.ordered:
            for step in _list_of(item, scored)[:MOST_STEPS]:
                _add(chosen, step, even_if_alike=True)
    for item in chosen:
        if item.piece.lead_in is not None:
            for lead in by_block.get((item.source.article_id, item.piece.lead_in), [])[-1:]:
                _add(chosen, lead, even_if_alike=True)
    first_rank = {item.source.article_id: item.rank for item in reversed(scored)}
    return sorted(chosen, key=lambda item: (first_rank[item.source.article_id], item.piece.start))


def _is_lead(item: _Scored, leads: set[tuple[int, int | None]]) -> bool:
    return (item.source.article_id, item.piece.block) in leads and item.piece.text.rstrip().endswith((":", "："))


def _followers(lead: _Scored, scored: Sequence[_Scored]) -> list[_Scored]:
    return [
        item
        for item in scored
        if item.source.article_id == lead.source.article_id and item.piece.lead_in == lead.piece.block
    ]


def _list_of(step: _Scored, scored: Sequence[_Scored]) -> list[_Scored]:
    return [
        item
        for item in scored
        if item.source.article_id == step.source.article_id
        and item.piece.list_number == step.piece.list_number
        and item.piece.ordered
    ]


def _add(chosen: list[_Scored], item: _Scored, *, even_if_alike: bool = False) -> None:
    for other in chosen:
        if other.source.article_id == item.source.article_id and other.piece.start == item.piece.start:
            return
        if not even_if_alike and _alike(item.tokens, other.tokens):
            return
    chosen.append(item)


def _alike(first: frozenset[str], second: frozenset[str]) -> bool:
    smaller = min(len(first), len(second))
    return smaller > 0 and len(first & second) / len(first | second) >= SAME


def join_sentences(texts: Sequence[str]) -> str:
    """Join sentences with a space, or with nothing after full-width punctuation.

    >>> join_sentences(["A card is free.", "It comes by post."])
    'A card is free. It comes by post.'
    >>> join_sentences(["卡片免费。", "邮寄送达。"])
    '卡片免费。邮寄送达。'
    """
    joined = ""
    for text in texts:
        separator = "" if not joined or (joined[-1] in "。！？；：”」" and has_cjk(text[:1])) else " "
        joined += separator + text
    return joined
