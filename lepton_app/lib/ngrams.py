"""The character n-grams of a text, for English, Chinese and both in one sentence.

A run of Chinese characters gives its single characters and pairs: Chinese writes no spaces, and most of its words are
one or two characters long (triples gained nothing in cross-validation). Every other word gives its 2- to 5-grams
within the word, with a space on either side that marks where it begins and ends (``" car"`` is not ``"scar "``); so a
misspelt word still shares most of its n-grams.

The first and last one to three characters of a text with Chinese in it are features of their own (``^`` and ``$``):
what a sentence opens and closes with says much about what it asks. In English that gained nothing.

>>> ngrams("ab c")
[' a', 'ab', 'b ', ' ab', 'ab ', ' ab ', ' c', 'c ', ' c ']
>>> ngrams("ab 卡了")
[' a', 'ab', 'b ', ' ab', 'ab ', ' ab ', '卡', '了', '卡了', '^a', '^ab', '^ab ', '了$', '卡了$', ' 卡了$']
"""

from __future__ import annotations

import re
import unicodedata

from lepton_app.lib.languages import CJK_CLASS, has_cjk

WORD_LENGTHS = (2, 5)
CJK_LENGTHS = (1, 2)
EDGE_LENGTHS = (1, 2, 3)

_PIECES = re.compile(rf"[{CJK_CLASS}]+|[^\s{CJK_CLASS}]+")
_LONGEST_WORD = 64  # characters; what is longer is no word, and its n-grams would crowd out all others


def normalise(text: str) -> str:
    r"""Return the text in one form: Unicode NFKC, lower case, one space between words, none around.

    Punctuation stays, since it tells questions from statements; whether two texts are the same one is not asked here.

    >>> normalise("  Ｖｉｓａ\tCARD  被拒 ")
    'visa card 被拒'
    """
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def ngrams(text: str) -> list[str]:
    """Return the n-grams of a text, repeated as often as they occur, after ``normalise``.

    A word longer than 64 characters is cut. An empty text has none.

    >>> ngrams(""), ngrams("I")
    ([], [' i', 'i ', ' i '])
    """
    grams: list[str] = []
    plain = normalise(text)
    for piece in _PIECES.findall(plain):
        if has_cjk(piece):
            chunk, (shortest, longest) = piece, CJK_LENGTHS
        else:
            chunk, (shortest, longest) = f" {piece[:_LONGEST_WORD]} ", WORD_LENGTHS
        for length in range(shortest, min(longest, len(chunk)) + 1):
            grams.extend([chunk[start : start + length] for start in range(len(chunk) - length + 1)])
    if not has_cjk(plain):
        return grams
    edges = [length for length in EDGE_LENGTHS if length <= len(plain)]
    grams.extend([f"^{plain[:length]}" for length in edges])
    grams.extend([f"{plain[-length:]}$" for length in edges])
    return grams
