"""Cut plain English or Chinese text into sentences, as character spans that cover everything but white space.

A sentence ends after a terminator and whatever closes with it (quotes, brackets):

- full-width terminators (``。！？`` and ``……``) always end one; ``；`` doesn't;
- ``.``, ``!`` and ``?`` end one when white space or the end of the text follows, the next word doesn't begin in
  lower case, and the full stop belongs to no abbreviation, initial or list number;
- an empty line always ends one.

Decimals ("$1.50") hold together because no white space follows their full stop.
"""

from __future__ import annotations

import re

from lepton_app.lib.languages import has_cjk

Span = tuple[int, int]

CLOSERS = "\"'”’»)]}）】」』》〉＂＇*_"
_BOUNDARY = re.compile(
    rf"""
    (?P<full>[。！？｡]+[…！？]*|…{{2,}}|\.{{6}})[{re.escape(CLOSERS)}]*
  | (?P<half>[.!?…]+)[{re.escape(CLOSERS)}]*
  | (?P<gap>\n[ \t]*\n\s*)
    """,
    re.VERBOSE,
)
# Never the end of a sentence: a name or a number follows.
_ABBREVIATIONS = """
mr mrs ms dr prof sr jr st mt no nos vs e.g i.e cf fig figs art sec para approx est gen col sen rep rev
"""
_NEVER_LAST = frozenset(_ABBREVIATIONS.split())
# "J." of "J. Smith".
_INITIAL = re.compile(r"(?:^|[\s(\"'“‘])[A-Z]$")
_LIST_NUMBER = re.compile(r"^\s*(?:\d{1,3}|[a-zA-Z])$")
_LAST_WORD = re.compile(r"([A-Za-z](?:[A-Za-z.]*[A-Za-z])?)$")
_NEXT_WORD = re.compile(r"[\s\"'“‘(\[*_]*(\S)")


def split_sentences(text: str) -> list[Span]:
    """Return the spans ``(start, end)`` of the sentences of ``text``, in order, without surrounding white space.

    >>> text = "A card costs $1.50. Mr. Lee paid it, e.g. on Monday. Did he?"
    >>> [text[a:b] for a, b in split_sentences(text)]
    ['A card costs $1.50.', 'Mr. Lee paid it, e.g. on Monday.', 'Did he?']
    >>> text = "他说：“可以。”转账免费！限额是 1.5 万元。"
    >>> [text[a:b] for a, b in split_sentences(text)]
    ['他说：“可以。”', '转账免费！', '限额是 1.5 万元。']
    """
    spans: list[Span] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if _ends_sentence(text, start, match):
            _append(spans, text, start, match.end())
            start = match.end()
    _append(spans, text, start, len(text))
    return spans


def _append(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return
    begin = start + len(piece) - len(piece.lstrip())
    if not any(character.isalnum() for character in stripped) and spans:
        # Stray punctuation belongs to the sentence before it, so that no citation is made of a dash alone.
        spans[-1] = (spans[-1][0], begin + len(stripped))
        return
    spans.append((begin, begin + len(stripped)))


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    if match["gap"] is not None or match["full"] is not None:
        return True
    end = match.end()
    mark = match["half"]
    before = text[start : match.start()]
    if end < len(text) and not text[end].isspace():
        # "他问?好" is two sentences though nothing stands between them; "3.14" and "a.b" are not.
        return mark[-1] in "!?" and bool(before) and has_cjk(before[-1])
    following = _NEXT_WORD.match(text, end)
    if following is not None and following[1].islower():
        return False
    if mark != ".":
        return True
    if _LIST_NUMBER.match(before):
        return False
    if following is None:
        return True
    word = _LAST_WORD.search(before)
    if word is not None and word[1].lower() in _NEVER_LAST and not (word[1].lower() == "no" and _says_no(before)):
        return False
    return _INITIAL.search(before) is None


def _says_no(before: str) -> bool:
    """Whether the "no" before a full stop is an answer ("The answer is no.") rather than "No. 5"."""
    return before.endswith("no")
