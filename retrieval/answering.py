"""An answer made of the articles' own sentences, each with a citation that has been verified, or a refusal.

The procedure of `compose_answer`:

1. A question without any word that says what it is about ("hi", "你好", "2+2", "???") is refused at once.
2. The passages found are cut into pieces (sentences, table rows). A passage of an article that has been edited since
   the index was built gives way to all pieces of the article as it stands.
3. Each piece is scored by how near it is to the question (embedding), how much of the question's rare words it holds,
   how good its passage is, and whether it is of the kind that is asked for: a price where a price is asked.
4. The best piece answers, and at most three more that are nearly as good (`retrieval.choosing`).
5. The support of the answer is compared with the calibrated threshold; below it, the answer is a refusal that names
   the articles that came near, which takes words in common or, where the encoder reads the language, likeness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_app.lib.languages import has_cjk
from retrieval.choosing import Scored, choose
from retrieval.chunking import SECTION_SEPARATOR, Piece, pieces_of
from retrieval.fusion import Trust
from retrieval.lexical import tokenise
from retrieval.search import Calibration, Hit
from retrieval.wanted import Wanted, points_elsewhere, subject_tokens, wanted

Rows = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Rows]
Weigh = Callable[[Sequence[str]], Rows]

MOST_PASSAGES = 6
MOST_PIECES = 48
# A piece of the kind that is asked for (a step where the question asks how) gains this much in score, and one that
# holds the question's numbers that much.
KIND_BONUS = 0.1
NUMBER_BONUS = 0.05
# A sentence that sends its reader elsewhere loses this much.
POINTER_MALUS = 0.05
# An article's first paragraph gains this much: it sums the article up, so that it decides between equals.
OPENING_BONUS = 0.02
# The similarity from which words in common count fully.
LIKENESS = 0.5
# An article came near when a passage of it holds this share of the question's information, or is this similar.
NEAR_COVERAGE = 0.2
NEAR_SIMILARITY = 0.4
MOST_NEAR = 3
# A word of the question that stands in the heading over a sentence counts this much of one in the sentence.
HEADING_SHARE = 0.85
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

    ``weights`` are those of the terms (`LexicalIndex.weights`). A pair of Chinese characters that reaches from one word
    into the next does not count where the text holds both words.

    >>> coverage(["late", "fee"], np.array([3.0, 1.0], np.float32), frozenset({"fee"}), frozenset())
    0.25
    >>> coverage(["卡片", "片损", "损坏"], np.ones(3, np.float32), frozenset({"卡片", "损坏"}), frozenset())
    1.0
    """
    shares = [1.0 if term in tokens else HEADING_SHARE if term in heading else 0.0 for term in terms]
    explained = {c for term, share in zip(terms, shares, strict=True) if share and has_cjk(term) for c in term}
    held = total = 0.0
    for term, weight, share in zip(terms, weights.tolist(), shares, strict=True):
        if share or not (has_cjk(term) and explained.issuperset(term)):
            held += weight * share
            total += weight
    return held / total if total > 0.0 else 0.0


def support_of(similarity: float, covered: float, trust: Trust) -> float:
    """Return the support in [0, 1]: similarity where the encoder reads the language, word coverage where it doesn't.

    ``similarity`` is the largest of the answer's sentences and passages, ``covered`` the share of the question's
    information that the answer and its headings hold; it counts less where the encoder, which reads the language, sees
    no likeness, for a question of one word is soon covered.
    """
    weight = coverage_weight(trust)
    if trust.reads:
        covered *= min(max(similarity, 0.0) / LIKENESS, 1.0)
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
    refusal = Answer((), 0.0, refused=True, threshold=calibration.threshold, lineage=lineage)
    terms = subject_tokens(question)
    if not terms or not hits:
        return refusal
    terms = _without_seams(terms, weigh)
    weights = weigh(terms)
    near = _near(hits, sources, terms, weights, trust)
    refusal = replace(refusal, near=near)
    asked = wanted(question)
    scored = _score(hits[:MOST_PASSAGES], sources, terms, weights, question_row, trust, embed, asked)
    if not scored:
        return refusal
    chosen = choose(scored, how=asked.how)
    support = _support(chosen, terms, weights, trust)
    if support < calibration.threshold:
        return replace(refusal, support=support)
    sentences = tuple(
        Sentence(item.piece.text, verified_citation(sources[item.article_id], item.piece, item.hit.passage_id))
        for item in chosen
    )
    lineage["cited"] = sorted({sentence.citation.passage_id for sentence in sentences})
    return Answer(sentences, support, refused=False, threshold=calibration.threshold, near=near, lineage=lineage)


def _without_seams(terms: Sequence[str], weigh: Weigh) -> list[str]:
    """Leave out the pairs of Chinese characters that no passage holds between two that some do: "冻结, 结银, 银行"."""
    unknown = weigh(["\0"])[0]
    known = [has_cjk(term) and weight < unknown for term, weight in zip(terms, weigh(terms).tolist(), strict=True)]
    return [
        term
        for i, term in enumerate(terms)
        if known[i]
        or not (0 < i < len(terms) - 1 and known[i - 1] and known[i + 1])
        or (terms[i - 1][-1], terms[i + 1][0]) != (term[0], term[-1])
    ]


def _near(
    hits: Sequence[Hit], sources: Mapping[int, Source], terms: Sequence[str], weights: Rows, trust: Trust
) -> tuple[tuple[int, str], ...]:
    """Return the articles, best first, that have something to do with the question, though it may be no answer."""
    near: dict[int, str] = {}
    for hit in hits:
        source = sources[hit.article_id]
        tokens = frozenset(tokenise(f"{source.title}\n{source.body[hit.start : hit.end]}"))
        alike = trust.reads and hit.dense >= NEAR_SIMILARITY
        if alike or coverage(terms, weights, tokens, frozenset()) >= NEAR_COVERAGE:
            near.setdefault(hit.article_id, source.title)
    return tuple(near.items())[:MOST_NEAR]


def _support(chosen: Sequence[Scored], terms: Sequence[str], weights: Rows, trust: Trust) -> float:
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
    asked: Wanted,
) -> list[Scored]:
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
        step = asked.how and piece.list_number is not None and (piece.ordered or piece.lead_in is not None)
        score += KIND_BONUS * (step or asked.fits(piece.text))
        score += OPENING_BONUS * (not asked.how and piece.block == pieces_of(source.body)[0].block)
        score -= POINTER_MALUS * points_elsewhere(piece.text)
        score += NUMBER_BONUS * (bool(asked.numbers) and asked.numbers <= tokens)
        scored.append(Scored(piece, hit, rank, similarity, tokens, heading, score))
    return scored


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
