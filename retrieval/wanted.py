"""What a question asks for: the words that carry its subject, and the kind of thing that would answer it.

Both only serve answers: passages are searched with all of the question's words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from retrieval.lexical import content_tokens, tokenise

_UNIT = r"(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|(?:business|calendar) days?)"
_NUMERAL = r"[\d零一二三四五六七八九十百千万两]"
# How a question is put, and when: an article that shares only these has nothing to do with the question.
_FRAME = re.compile(
    rf"\b{_UNIT}\b|\btimes?\b|{_NUMERAL}+[加减乘除][以上去]?{_NUMERAL}+|等于"
    r"|\bhow (?:long|much|many|often|soon|far|late|early|big|old)\b|\bwhat time\b|\b(?:today|tomorrow|yesterday|now)\b"
    r"|\b(?:until|till|since|before|after|during|while|per|each|every|also|only|still|already|ever|again)\b"
    r"|\b(?:plus|minus|divided by|multiplied by)(?=\s*\d)|乘以|除以|加上|减去"
    "|今天|明天|后天|昨天|现在|目前|什么时间|什么时候|什么样|怎么样|怎么办|怎么|可以|多少|何时|几点|左右"
    "|需要|应该|一般|通常|一共|一起|比较|你们|我们|这样|那样|如果|因为|所以|但是|还是|或者|最多|最少|最高|最低"
    "|几(?:天|次|张|个|周|年|位|点|笔)"
    # Function characters where they do not belong to one of the common words of substance.
    "|(?<![主重])要(?!求)|会(?![员议计])|(?<![功可职])能(?![力源])|(?<![但])是|在(?!线)"
)
_NUMBER = re.compile(r"[\d.,:'’]*\d[\d.,:'’]*(?:st|nd|rd|th|k|m|x)?", re.IGNORECASE)
_UNIT_ZH = r"\s*(?:秒|分钟|个?小时|天|个?工作日|周|个?星期|个?月|年)"
_MONEY = r"[$€£¥]\s?\d|\d\s?%|\d\s*(?:美元|欧元|英镑|港元|元)"
_NOTHING = r"\bfree\b|\bno (?:\w+ )?(?:fee|charge|cost)|\bcosts? nothing\b|免费|不收|不额外收费"
# When something is done, not until when it may be.
_CLOCK = r"(?<!until )(?<!before )(?<!after )\b\d{1,2}:\d\d(?!\s?(?:之|以)?[前后])|around the clock|24 小时"
_HOW_LONG_ZH = "多久|多长时间|有效期|(?:几|多少)(?:天|周|个月|年|个?小时|分钟|个?工作日)"
_AT_ONCE = r"\bat once\b|\bimmediately\b|\bsame day\b|立即|当天|实时|马上"
_WEEKDAY = r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b|\bbusiness days?\b"
_MONTH = "january|february|march|april|may|june|july|august|september|october|november|december"
_COUNTED = r"\b(?:one|two|three|four|five|once|twice|unlimited)\b|[一两二三四五六七八九十不][次张个位台笔限]"
_PRICE = r"\bhow (?:much|expensive)\b|\b(?:costs?|prices?|fees?|charges?)\b|多少|费用|手续费|收费|价格|要钱"
_BOUND = r"\b(?:limits?|maximum|minimum|largest|smallest|most|least)\b|最[高低多少大小]|上限|下限|限额"
# The kinds, the more special first: how the question asks, and how a text looks that could answer.
_SHAPES: tuple[tuple[str, str, str], ...] = (
    ("clock", r"\bwhat time\b|几点", _CLOCK),
    (
        "duration",
        rf"\bhow (?:long|soon|far (?:ahead|in advance)|many {_UNIT})|\bwithin how\b|{_HOW_LONG_ZH}",
        rf"\d\s+{_UNIT}\b|\d{_UNIT_ZH}|{_AT_ONCE}",
    ),
    ("rate", r"\brates?\b|\bapr\b|利率|费率|汇率", r"\d\s?%"),
    ("count", r"\bhow (?:many|often)\b|(?:几|多少)(?:次|张|个|位|台|笔|人|份|岁)", rf"\d|{_COUNTED}"),
    ("bound", _BOUND, _MONEY),
    ("price", _PRICE, f"{_MONEY}|{_NOTHING}"),
    (
        "date",
        r"\bwhen\b|\bwhat (?:day|date)\b|什么时候|什么时间|何时|哪天",
        rf"{_CLOCK}|\d(?:st|nd|rd|th)\b|\d\s+(?:{_MONTH})\b|\d\s+{_UNIT}\b|{_WEEKDAY}|\d{_UNIT_ZH}|\d\s*[日号]|次日|{_AT_ONCE}",
    ),
)
_KINDS = tuple((kind, re.compile(asked, re.I), re.compile(answered, re.I)) for kind, asked, answered in _SHAPES)
_POINTER = re.compile(
    r"请看|请见|参见|请参阅|^(?:see|read|for [^,.]*, (?:see|read))\b|[;:] (?:see|read)\b.{0,60}$", re.IGNORECASE
)
_HOW = re.compile(
    r"\bhow (?:do|can|could|should|would|to|must|may|shall)\b|\bsteps?\b|\bprocedure\b|\bwhat (?:do|should|can) i do\b"
    r"|怎么(?!样)|如何|怎样|咋|步骤|流程",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question asks for: ``kind`` of the fact, "" when it is none that shows, and whether it asks how."""

    kind: str
    how: bool
    numbers: frozenset[str]
    answered: re.Pattern[str] | None

    def fits(self, text: str) -> bool:
        """Whether a text looks like what is asked for: a price where a price is asked."""
        return self.answered is not None and self.answered.search(unicodedata.normalize("NFKC", text)) is not None


def wanted(question: str) -> Wanted:
    """Return what a question asks for.

    >>> [wanted(q).kind for q in ("How long is it valid?", "what does a card cost", "几点执行", "is it safe")]
    ['duration', 'price', 'clock', '']
    >>> wanted("怎么冻结卡").how, wanted("How long does it take").how
    (True, False)
    >>> wanted("what does a card cost").fits("A card is free."), wanted("余额证明多久有效").fits("每份 10 美元。")
    (True, False)
    """
    text = unicodedata.normalize("NFKC", question)
    numbers = frozenset(token for token in tokenise(text) if _NUMBER.fullmatch(token))
    for kind, asked, answered in _KINDS:
        if asked.search(text):
            return Wanted(kind, kind not in {"clock", "duration"} and _HOW.search(text) is not None, numbers, answered)
    return Wanted("", _HOW.search(text) is not None, numbers, None)


def points_elsewhere(text: str) -> bool:
    """Whether a text sends its reader to another page; it seldom holds the answer itself.

    >>> [points_elsewhere(text) for text in ("存现金请看存入现金。", "A card is free.", "See card fees.")]
    [True, False, True]
    """
    return _POINTER.search(text) is not None


def subject_tokens(question: str) -> list[str]:
    """Return the distinct tokens that say what a question is about: no number, no single character, no frame.

    A question without any is about nothing that an article could answer.

    >>> subject_tokens("what is 2+2"), subject_tokens("1 2 3 x"), subject_tokens("今天怎么样")
    ([], [], [])
    >>> subject_tokens("How long is a balance certificate valid?"), subject_tokens("今天天气怎么样")
    (['balanc', 'certificat', 'valid'], ['天气'])
    """
    text = _FRAME.sub(" ", unicodedata.normalize("NFKC", question).lower())
    return [token for token in content_tokens(text) if len(token) > 1 and not _NUMBER.fullmatch(token)]
