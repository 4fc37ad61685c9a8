"""Cut an article into passages along its structure: sections first, then blocks, then sentences.

The procedure:

1. Blocks of one section gather into a passage until the next one would pass the limit.
2. A list's lead-in stays with its first items, for a passage never starts a list whose lead-in ended the one before.
3. A block longer than the limit is cut between sentences; a sentence longer than the limit, at its last comma or
   space before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from retrieval.markdown import Block, parse_blocks
from retrieval.sentences import split_sentences

SECTION_SEPARATOR = " > "
DEFAULT_TOKEN_LIMIT = 160
_TOKEN = re.compile(r"[A-Za-z]+|\d|[^\sA-Za-z\d]")
_LETTERS_PER_TOKEN = 6
_BREAK = re.compile(r"[，、；,;]\s*|\s+")


@dataclass(frozen=True, slots=True)
class Piece:
    """The smallest thing that is cited: a sentence, a table row, a code block.

    ``body[start:end]`` is its source; ``text`` reads without Markdown. ``block`` is its block's index in the article.
    """

    text: str
    start: int
    end: int
    block: int
    kind: str
    section: tuple[str, ...]
    list_number: int | None = None
    ordered: bool = False
    lead_in: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: ``body[start:end]``, the headings above it joined by " > ", and its words without Markdown."""

    ordinal: int
    section: str
    start: int
    end: int
    text: str
    tokens: int


def count_tokens(text: str) -> int:
    """Estimate how many word pieces the encoder sees, within about a fifth, without its vocabulary.

    Every CJK character, digit and sign is one; a word is one for each six letters begun.

    >>> count_tokens("Freeze the card."), count_tokens("冻结银行卡")
    (4, 5)
    """
    return sum(-(-len(token) // _LETTERS_PER_TOKEN) for token in _TOKEN.findall(text))


@lru_cache(maxsize=256)
def pieces_of(body: str) -> tuple[Piece, ...]:
    r"""Return the sentences, rows and code blocks of an article in order (headings are not pieces).

    >>> body = "Cards\n=====\nA card is **free**. It comes by post."
    >>> [(p.text, body[p.start:p.end]) for p in pieces_of(body)]
    [('A card is free.', 'A card is **free**.'), ('It comes by post.', 'It comes by post.')]
    """
    pieces: list[Piece] = []
    for index, block in enumerate(parse_blocks(body)):
        if block.kind != "heading":
            pieces.extend(_pieces(index, block))
    return tuple(pieces)


def _pieces(index: int, block: Block) -> Iterator[Piece]:
    rest = (index, block.kind, block.section, block.list_number, block.ordered, block.lead_in)
    if not block.offsets:
        yield Piece(block.text, block.start, block.end, *rest)
        return
    for first, last in split_sentences(block.text):
        for begin, stop in _fit(block.text, first, last):
            yield Piece(block.text[begin:stop], block.offsets[begin], block.offsets[stop - 1] + 1, *rest)


def _fit(text: str, start: int, end: int, limit: int = DEFAULT_TOKEN_LIMIT) -> Iterator[tuple[int, int]]:
    """Yield the span itself, or parts of it that stay under the limit."""
    while count_tokens(text[start:end]) > limit:
        # The longest prefix under the limit: tokens are at least one character and at most six letters.
        low, high = 1, end - start
        while low < high:
            middle = (low + high + 1) // 2
            if count_tokens(text[start : start + middle]) <= limit:
                low = middle
            else:
                high = middle - 1
        cut = start + low
        breaks = [match.end() for match in _BREAK.finditer(text, start, cut)]
        if breaks and breaks[-1] > start + low // 2:
            cut = breaks[-1]
        stop = cut
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        if stop > start:
            yield start, stop
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def chunk_article(body: str, *, token_limit: int = DEFAULT_TOKEN_LIMIT) -> list[Chunk]:
    """Cut an article into passages of at most ``token_limit`` tokens (by `count_tokens`), in reading order.

    No sentence, row or code block is cut unless it alone passes 160 tokens. An article with headings and no text
    gives one passage for each heading, so that its words can be found.
    """
    pieces = pieces_of(body)
    if not pieces:
        return [
            Chunk(i, SECTION_SEPARATOR.join(b.section), b.start, b.end, b.text, count_tokens(b.text))
            for i, b in enumerate(parse_blocks(body))
        ]
    chunks: list[Chunk] = []
    group: list[Piece] = []
    tokens = 0
    for piece in pieces:
        size = count_tokens(piece.text)
        if group and (piece.section != group[0].section or tokens + size > token_limit):
            carried = _carried(group, piece)
            chunks.append(_chunk(len(chunks), group[: len(group) - len(carried)]))
            group, tokens = carried, sum(count_tokens(held.text) for held in carried)
        group.append(piece)
        tokens += size
    chunks.append(_chunk(len(chunks), group))
    return chunks


def _carried(group: Sequence[Piece], following: Piece) -> list[Piece]:
    """The lead-in that ends ``group`` and belongs with ``following``, when something stays before it."""
    last = group[-1]
    if len(group) > 1 and following.lead_in == last.block and following.section == last.section:
        return [last]
    return []


def _chunk(ordinal: int, group: Sequence[Piece]) -> Chunk:
    lines: list[str] = []
    block = None
    for piece in group:
        if piece.block == block:
            lines[-1] += ("" if lines[-1][-1:] in "。！？；" else " ") + piece.text
        else:
            lines.append(piece.text)
        block = piece.block
    text = "\n".join(lines)
    return Chunk(
        ordinal,
        SECTION_SEPARATOR.join(group[0].section),
        min(piece.start for piece in group),
        max(piece.end for piece in group),
        text,
        count_tokens(text),
    )
