"""When two texts count as the same."""

from __future__ import annotations

import re
import unicodedata

_NOT_A_WORD = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """Return the text's identity: compatibility forms folded, lower case, words joined by single spaces.

    Punctuation and white space do not tell texts apart; a text without any word keeps its signs.

    >>> normalise("  Where is my CARD?! ")
    'where is my card'
    >>> normalise("我的卡，丢了！") == normalise("我的卡 丢了")
    True
    >>> normalise("???")
    '???'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_A_WORD.sub(" ", folded).strip() or folded.strip()
