"""Personal data in a text, replaced by plain words before the text is learnt from, stored beside others or sent away.

What is masked, in this order, in English and Chinese text alike:

1. ``[email]``    an e-mail address;
2. ``[account]``  an IBAN: its checksum holds, or it has the form of one with at least ten digits;
3. ``[id]``       a Chinese identity number of 18 places with a date of birth inside, whatever its checksum;
4. ``[card]``     13 to 19 digits whose checksum (Luhn) holds, in one piece or with spaces or dashes between;
5. ``[phone]``    a number after a word such as *phone* or 电话; an international number (``+`` or ``00``); a Chinese
   mobile or landline number, a ``400`` number; a number that is written 3-3-4; a national number that begins with 0;
6. ``[account]``  any other eight digits or more in one piece, and four groups of four digits.

What stays: amounts (a currency or a unit stands beside the number, or a decimal point is in it), dates, times, years,
percentages, and numbers of up to seven digits, which are order numbers more often than anybody's own. Names and street
addresses are not looked for. A number that is spelt in words is not found.

Digits and signs of full width count as the plain ones. What is masked stays masked when it is masked again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

_MASKED = "\x00"  # stands in the working copy where something has been found: no pattern matches it
_PLAIN_SIGNS = dict.fromkeys(map(ord, "‐‑‒–—―−﹣"), "-") | dict.fromkeys(
    map(ord, "\u00a0\u2007\u2009\u202f\u3000"), " "
)

_DIGIT, _FEWEST_DIGITS = re.compile(r"\d"), 7  # no rule finds anything in fewer

_EMAIL = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.)+[A-Za-z]{2,24}")
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
)
_DATE = r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_IDENTITY = re.compile(rf"(?<![A-Za-z0-9])[1-8]\d{{5}}[ -]?{_DATE}[ -]?\d{{3}}[\dXx](?![A-Za-z0-9])")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_AFTER_A_WORD = re.compile(
    r"(?:(?<![\[A-Za-z])(?:phone|telephone|tel|mobile|cell|whatsapp|(?:call|text|ring|reach|phone) me (?:at|on|under))"
    r"(?: number| no\.?)?(?: is)?|电话|手机|座机|联系方式|微信)"
    r"(?:号码|号)?[ ]?[:：是为]?[ ]?(?P<number>\+?\d(?:[ .\-()]?\d){6,14})(?!\d)",
    re.IGNORECASE,
)
_PHONES = (
    # +44 20 7946 0958, +1 (555) 123-4567, 0086-138…
    re.compile(r"(?<![\dA-Za-z+])(?:\+|00)[1-9]\d{0,2}(?:[ .\-/]?\(?\d{1,5}\)?){2,6}(?!\d)"),
    # 13800138000, 138-0013-8000
    re.compile(r"(?<!\d)(?:86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)"),
    # 010-12345678, (0755) 1234567
    re.compile(r"(?<!\d)\(?0(?:10|2\d|[3-9]\d{2})\)?[ -]?\d{7,8}(?!\d)"),
    # 400-820-8820
    re.compile(r"(?<!\d)[48]00[ -]?\d{3}[ -]?\d{4}(?!\d)"),
    # 555-123-4567, (555) 123 4567, 1-800-555-0199
    re.compile(r"(?<![\d.,])(?:1[ .-])?(?:\(\d{3}\)[ ]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![.,]?\d)"),
    # 020 7946 0958, 06 12 34 56 78, 030/1234567; not 01.02.2024
    re.compile(r"(?<![\dA-Za-z.,:])(?!\d{1,2}([./-])\d{1,2}\1\d{2,4}(?!\d))0\d(?:[ ./-]?\d){7,11}(?![.,:]?\d)"),
)
_DIGITS = re.compile(r"(?<!\d)\d{8,}(?!\d)")
_GROUPS = re.compile(r"(?<![\d-])\d{4}(?:[ -]\d{4}){3,}(?:[ -]\d{1,3})?(?![\d-])")
_COMPACT_DATE = re.compile(rf"{_DATE}\Z")
_YEARS = re.compile(r"(?:(?:19|20)\d{2}[ -]?)+\Z")
_MONEY_BEFORE = re.compile(
    r"(?:[$€£¥￥₹₽₩]|\b(?:usd|eur|gbp|cny|rmb|hkd|jpy|inr|rs\.?|chf|aud|cad|sgd)|人民币|美元|港币)[ ]?\Z", re.IGNORECASE
)
_UNIT_AFTER = re.compile(
    r"[ ]?(?:[$€£¥￥₹₽₩%]|[元块圆股份点万亿]|美元|港元|港币|欧元|英镑|日元|人民币|积分|"
    r"(?:usd|eur|gbp|cny|rmb|hkd|jpy|inr|chf|aud|cad|sgd|dollars?|euros?|pounds?|yuan|yen|rupees?|bucks|"
    r"shares?|points?|units?|miles|percent)\b)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the text with personal data replaced by ``[email]``, ``[phone]``, ``[card]``, ``[account]`` or ``[id]``.

    >>> redact("I was charged 1,250.00 on 2024-05-01, card 4111 1111 1111 1111, mail me at li.wei@example.com")
    'I was charged 1,250.00 on 2024-05-01, card [card], mail me at [email]'
    >>> redact("我的手机13800138000，昨天转了2000元")
    '我的手机[phone]，昨天转了2000元'
    """
    if "@" not in text and "＠" not in text and len(_DIGIT.findall(text)) < _FEWEST_DIGITS:
        return text
    # What is masked ends the number beside it, which may show one more: to a text that no rule changes.
    while (masked := _masked(text)) != text:
        text = masked
    return text


def _masked(text: str) -> str:
    """Apply each rule once, in order."""
    plain = _plain(text)  # as long as the text, so that a place in one is a place in the other
    found: list[tuple[int, int, str]] = []
    for word, search in _RULES:
        for start, end in list(search(plain)):
            found.append((start, end, word))
            plain = plain[:start] + _MASKED * (end - start) + plain[end:]
    pieces, place = [], 0
    for start, end, word in sorted(found):
        pieces += [text[place:start], word]
        place = end
    return "".join([*pieces, text[place:]])


def _plain(text: str) -> str:
    """Return the text with signs of full width and foreign digits as their ASCII ones, each sign for one sign."""
    return text if text.isascii() else "".join(map(_plain_sign, text))


def _plain_sign(sign: str) -> str:
    if sign.isascii():
        return sign
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    code = ord(sign)
    return chr(code - 0xFEE0) if 0xFF01 <= code <= 0xFF5E else _PLAIN_SIGNS.get(code, sign)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        # Words may follow the number; the longest beginning that is an IBAN counts.
        ends = [end for end in range(match.end(), match.start() + 14, -1) if _is_end(text, end)]
        digits = sum(char.isdigit() for char in match.group())
        whole = next(
            (end for end in ends if _is_iban(text[match.start() : end])), match.end() if digits >= 10 else None
        )
        if whole is not None:
            yield match.start(), whole


def _is_end(text: str, end: int) -> bool:
    return text[end - 1].isalnum() and not (end < len(text) and text[end].isascii() and text[end].isalnum())


def _is_iban(text: str) -> bool:
    """Tell whether the checksum of ISO 13616 holds: the number, its first four places moved to its end, modulo 97."""
    compact = re.sub(r"[ -]", "", text).upper()
    return 15 <= len(compact) <= 34 and int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _identities(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _IDENTITY.finditer(text))


def _cards(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _CARD.finditer(text) if _luhn(match.group()))


def _luhn(text: str) -> bool:
    """Tell whether the checksum of ISO/IEC 7812 holds; a number of zeros alone is no card."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return any(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _phones_after_a_word(text: str) -> Iterator[tuple[int, int]]:
    return (match.span("number") for match in _AFTER_A_WORD.finditer(text))


def _phones(text: str) -> Iterator[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            digits = sum(char.isdigit() for char in match.group())
            if 8 <= digits <= 16 and not _is_amount(text, *match.span()):
                found.append(match.span())
    longest: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if not longest or start >= longest[-1][1]:
            longest.append((start, end))
    yield from longest


def _accounts(text: str) -> Iterator[tuple[int, int]]:
    for match in _DIGITS.finditer(text):
        if not _COMPACT_DATE.match(match.group()) and not _is_amount(text, *match.span()):
            yield match.span()


def _groups(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _GROUPS.finditer(text) if not _YEARS.match(match.group()))


def _is_amount(text: str, start: int, end: int) -> bool:
    """Tell whether a number is one of money, of units, or with a decimal point."""
    before, after = text[max(0, start - 12) : start], text[end : end + 12]
    is_decimal = bool(re.search(r"\d[.,]\Z", before)) or bool(re.match(r"[.,]\d", after))
    return is_decimal or bool(_MONEY_BEFORE.search(before)) or bool(_UNIT_AFTER.match(after))


_RULES: tuple[tuple[str, Callable[[str], Iterator[tuple[int, int]]]], ...] = (
    ("[email]", _emails),
    ("[account]", _ibans),
    ("[id]", _identities),
    ("[card]", _cards),
    ("[phone]", _phones_after_a_word),
    ("[phone]", _phones),
    ("[account]", _accounts),
    ("[account]", _groups),
)
