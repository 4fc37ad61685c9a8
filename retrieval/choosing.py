"""Choose the few pieces of the articles that answer a question, and put them in order.

The procedure of `choose`:

1. The piece with the best score answers. Where the question asks how and the piece is a step, the steps answer, from
   the first one on as far as there is room.
2. Further pieces follow while they are nearly as good as the best and say something new. A list's item is taken for
   itself, never because another item is.
3. A list's lead-in comes with its items, and never alone.
4. The best piece comes first, with what stands right beside it in reading order; then the rest of its article, then
   other articles.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from retrieval.chunking import Piece
from retrieval.search import Hit

# Sentences, list items, rows and lead-ins alike.
MOST_UNITS = 4
# A second piece must reach this share of the best one's score, a third and a fourth that.
NEARLY_AS_GOOD = 0.92
AS_GOOD = 0.97
# Share of distinct tokens in common from which two pieces say the same.
SAME = 0.7


@dataclass(frozen=True, slots=True)
class Scored:
    """A piece of a passage found: ``rank`` is its hit's, from 0; ``similarity`` in [-1, 1]; higher scores are better.

    ``tokens`` are those of the piece, ``heading_tokens`` those of its article's title and the sections over it.
    """

    piece: Piece
    hit: Hit
    rank: int
    similarity: float
    tokens: frozenset[str]
    heading_tokens: frozenset[str]
    score: float

    @property
    def article_id(self) -> int:
        """The article that the piece stands in."""
        return self.hit.article_id


def choose(scored: Sequence[Scored], *, how: bool) -> list[Scored]:
    """Return one to four of the pieces, of which there is at least one; ``how`` is whether a procedure is asked for."""
    ranked = sorted(scored, key=lambda item: (-item.score, item.rank, item.piece.start))
    # A lead-in says nothing without its list: it only comes with an item.
    leads: set[tuple[int, int | None]] = {
        (item.article_id, item.piece.lead_in) for item in scored if item.piece.lead_in is not None
    }
    candidates = [item for item in ranked if not _is_lead(item, leads)] or ranked
    best = candidates[0]
    if how and best.piece.ordered:
        return _procedure(best, scored)
    chosen: list[Scored] = []
    for item in candidates:
        if item is not best and item.score < (AS_GOOD if len(chosen) > 1 else NEARLY_AS_GOOD) * best.score:
            break
        if any(_alike(item.tokens, other.tokens) for other in chosen):
            continue
        lead = _lead_of(item, scored)
        wanted = [item] if lead is None or lead in chosen else [lead, item]
        if item is not best and len(chosen) + len(wanted) > MOST_UNITS:
            break
        chosen.extend(piece for piece in wanted if piece not in chosen)
    return _ordered(best, chosen, scored)


def _procedure(step: Scored, scored: Sequence[Scored]) -> list[Scored]:
    """The lead-in and the steps from the first on; a step far down the list moves the window to itself."""
    lead = _lead_of(step, scored)
    steps: dict[int, Scored] = {}
    for item in sorted(scored, key=lambda item: item.piece.start):
        same_list = item.article_id == step.article_id and item.piece.list_number == step.piece.list_number
        if same_list and item.piece.ordered:
            # What a step says first is what to do; the rest explains it.
            steps.setdefault(item.piece.block, item)
    room = MOST_UNITS - (lead is not None)
    first = max(0, list(steps).index(step.piece.block) - room + 1)
    return [*([] if lead is None else [lead]), *list(steps.values())[first : first + room]]


def _is_lead(item: Scored, leads: Collection[tuple[int, int | None]]) -> bool:
    return (item.article_id, item.piece.block) in leads and item.piece.text.rstrip().endswith((":", "："))


def _lead_of(item: Scored, scored: Sequence[Scored]) -> Scored | None:
    """The last sentence of the block that leads into the item's list."""
    if item.piece.lead_in is None:
        return None
    block = [
        other for other in scored if other.article_id == item.article_id and other.piece.block == item.piece.lead_in
    ]
    return max(block, key=lambda other: other.piece.start, default=None)


def _ordered(best: Scored, chosen: Sequence[Scored], scored: Sequence[Scored]) -> list[Scored]:
    """The best piece with its neighbours first, in reading order; then the rest by article and place."""
    beside = {best.piece.start}
    own = sorted({item.piece.start for item in scored if item.article_id == best.article_id})
    taken = {item.piece.start for item in chosen if item.article_id == best.article_id}
    for way in (1, -1):
        place = own.index(best.piece.start) + way
        while 0 <= place < len(own) and own[place] in taken:
            beside.add(own[place])
            place += way
    lead = _lead_of(best, scored)
    if lead is not None:
        beside.add(lead.piece.start)
    first_rank = {item.article_id: item.rank for item in reversed(scored)}
    return sorted(
        chosen,
        key=lambda item: (
            item.article_id != best.article_id,
            item.piece.start not in beside,
            first_rank[item.article_id],
            item.piece.start,
        ),
    )


def _alike(first: frozenset[str], second: frozenset[str]) -> bool:
    union = len(first | second)
    return union > 0 and len(first & second) / union >= SAME
