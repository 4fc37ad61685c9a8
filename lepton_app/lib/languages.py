"""Which of our languages a text is in: "en" or "zh"; a decision over characters, without a model.

A Chinese character carries about as much as a short English word, so that characters of the one are weighed against
words of the other. Text in neither script counts as English.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Language = Literal["en", "zh"]

LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
# The codes under which Django and browsers know them.
LANGUAGE_CODES: Final[dict[Language, str]] = {"en": "en", "zh": "zh-hans"}

# Unified ideographs with extension A, the compatibility block and the supplementary planes (Unicode, Blocks.txt).
CJK_CLASS: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_CJK = re.compile(f"[{CJK_CLASS}]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+(?:['’][a-z]+)?")


def has_cjk(text: str) -> bool:
    """Tell whether the text holds a Chinese character.

    >>> has_cjk("我的app"), has_cjk("my app")
    (True, False)
    """
    return _CJK.search(text) is not None


def cjk_share(text: str) -> float:
    """Return the Chinese characters' share in Chinese characters and Latin words together, from 0 to 1.

    >>> cjk_share("我的 app 登不上"), cjk_share("hello"), cjk_share("123")
    (0.8333333333333334, 0.0, 0.0)
    """
    characters, words = len(_CJK.findall(text)), len(_LATIN_WORD.findall(text))
    return characters / (characters + words) if characters else 0.0


def detect(text: str) -> Language:
    """Return the language that most of the text is in.

    >>> detect("我的 Visa card 被拒了"), detect("What does 余额 mean in English?"), detect("12345 ?")
    ('zh', 'en', 'en')
    """
    return "zh" if cjk_share(text) >= 0.5 else "en"


def language_of_code(code: str) -> Language:
    """Return our language for a code as browsers and Django write it; English for every other one.

    >>> language_of_code("zh-hans"), language_of_code("zh-CN"), language_of_code("de")
    ('zh', 'zh', 'en')
    """
    return "zh" if code.lower().split("-")[0] == "zh" else "en"
