"""When two texts count as the same, and how a text is written that is to be read as being about something."""

from __future__ import annotations

import re
import unicodedata

from lepton_app.lib.languages import has_cjk

_NOT_A_WORD = re.compile(r"[\W_]+")

# An encoder knows these signs as tokens of their own, and headlines and posts hardly ever use them (posts are full of
# @ and #, which would serve otherwise).
_OPEN, _CLOSE, _BAR = "\u00ab", "\u00bb", "|"
# What stands for them in a text that holds them itself: nobody can write a mention that is none.
_HARMLESS = str.maketrans({_OPEN: "\u2039", _CLOSE: "\u203a", _BAR: "/"})
_SPACES = re.compile(r"\s+")
_SHORTEST_PART = 3  # characters; a shorter part of a name stands in too many words


def normalise(text: str) -> str:
    """Return the text's identity: compatibility forms folded, lower case, words joined by single spaces.

    Two texts that are equal after this are one text wherever that is asked: for a sample's digest, for the sides of a
    split, for hold-outs and folds. Punctuation and white space do not tell texts apart, so that "card lost" cannot
    measure what was learnt from "Card lost!"; a text without any word keeps its signs.

    >>> normalise("  Where is my CARD?! ")
    'where is my card'
    >>> normalise("我的卡，丢了！") == normalise("我的卡 丢了")
    True
    >>> normalise("???")
    '???'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_A_WORD.sub(" ", folded).strip() or folded.strip()


def about(text: str, entity: str) -> str:
    """Return the text as an encoder reads it when the question is what it says about ``entity``.

    The entity comes first, so that it survives when a long text is cut; then the text, with each mention of the entity
    between two signs (the typed markers of Zhou and Chen 2021, without types). Where a name is not mentioned in full
    its longest leading part is marked, and where that is missing as well nothing is. Upper and lower case do not
    matter. An empty ``entity`` asks about the text as a whole.

    >>> about("SpiceJet falls as IndiGo gains", "IndiGo")
    'IndiGo | SpiceJet falls as « IndiGo » gains'
    >>> about("Infosys beats TCS, Infosys shares up", "Infosys Ltd")
    'Infosys Ltd | « Infosys » beats TCS, « Infosys » shares up'
    >>> about("贵州茅台股价下跌", "贵州茅台")
    '贵州茅台 | « 贵州茅台 » 股价下跌'
    >>> about("Markets close flat", ""), about("Markets close flat", "gold")
    ('Markets close flat', 'gold | Markets close flat')

    The signs in a text of somebody else lose their meaning first:

    >>> about("Live | « TCS » falls", "")
    'Live / ‹ TCS › falls'
    """
    plain = text.translate(_HARMLESS)
    named = _SPACES.sub(" ", entity.translate(_HARMLESS)).strip()
    if not named:
        return plain
    pieces, end = [], 0
    for start, stop in _mentions(plain, named):
        pieces += [plain[end:start], _OPEN, plain[start:stop], _CLOSE]
        end = stop
    written = " ".join([*pieces, plain[end:]])
    return f"{named} {_BAR} {_SPACES.sub(' ', written).strip()}"


def _mentions(text: str, entity: str) -> list[tuple[int, int]]:
    """Return where the text mentions the longest leading part of the entity that it mentions at all.

    Whole words are looked for first, then the same within words: *bank* in *banks*.
    """
    words = entity.split(" ")
    for number in range(len(words), 0, -1):
        if number < len(words) and len(" ".join(words[:number])) < _SHORTEST_PART:
            break
        pattern = r"\s+".join(map(re.escape, words[:number]))
        places = [found.span() for found in re.finditer(pattern, text, re.IGNORECASE)]
        whole = [(start, end) for start, end in places if not _cuts(text, start) and not _cuts(text, end)]
        if whole or (places and number == len(words)):
            return whole or places
    return []


def _cuts(text: str, place: int) -> bool:
    """Tell whether a place lies within a word; Chinese has no spaces, so that it lies in none there."""
    around = text[max(place - 1, 0) : place + 1]
    return 0 < place < len(text) and around.isalnum() and not has_cjk(around)
