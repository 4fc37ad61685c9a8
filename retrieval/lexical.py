"""BM25 over passages, with tokens for English and Chinese.

English: lower-cased words, lightly stemmed (plural, -ing, -ed), with stop words kept but weighing little, so that
"what is it" finds nothing loud and "to be" still finds something. Chinese: pairs of neighbouring characters, and single
characters that weigh less; question words are cut out of questions first. Numbers keep their points: "0.50".

Scores are those of Lucene's BM25 (k1 = 1.5, b = .75) as `bm25s` computes them ahead of the query, see
https://arxiv.org/abs/2407.03618; its arrays are loaded memory-mapped.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from lepton_app.lib.languages import has_cjk

Scores = NDArray[np.float32]

# The library tells each step at a level of its own; that an index is built is told by whoever builds it.
logging.getLogger("bm25s").setLevel(logging.WARNING)

STOP_WEIGHT = 0.1
CHARACTER_WEIGHT = 0.5
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_WORD = re.compile(rf"(?P<cjk>[{_CJK}]+)|(?P<word>[^\W_{_CJK}]+(?:['’.,][^\W_{_CJK}]+)*)")
_ENGLISH_STOP_WORDS = """
a about am an and any are as at be been being but by can could did do does doing done for from get got had has have
having he her here him his how i i'd i'll i'm i've if in into is it it's its just let's like may me might my need of off
on or our out over please shall she should so some such than that that's the their them then there these they this those
to too up us very want was way we were what what's when where whether which who whom whose why will with would yes you
your yours don't doesn't didn't can't cannot isn't there's hi hello hey thanks thank
"""
STOP_WORDS = frozenset(_ENGLISH_STOP_WORDS.split())
# Words of questions and politeness; they say what kind of answer is wanted, not what it is about. No character that
# also begins or ends words of substance (还款, 会员, 功能) stands here alone.
_CHINESE_STOP_PHRASES = """
请问 您好 你好 谢谢 什么时候 为什么 为何 怎么样 怎么办 怎么 咋办 咋 怎样 如何 多少钱 多少 多久 多长时间 什么 啥
哪些 哪里 哪个 哪儿 是否 可不可以 可以 能否 能不能 会不会 是不是 有没有 要不要 需要 想要 我想 我要 想问 我们 你们
他们 咱们 一下 一个 这个 那个 几个 告诉 知道 应该 的话 吗 呢 吧 啊 呀 嘛 了 的 我 您 你 它 他 她
"""
# Alternatives are tried in order: the longest first.
_STOP_PHRASE = re.compile("|".join(sorted(_CHINESE_STOP_PHRASES.split(), key=len, reverse=True)))
STOP_CHARACTERS = frozenset("的了吗呢吧啊呀嘛是我你您他她它在有和与或就都也很把被给请哪几这那么什怎要想能会还")


def stem(word: str) -> str:
    """Cut the commonest English endings, so that "fees", "opening" and "charged" meet "fee", "open" and "charge".

    Only steps 1a and 1b of Porter's algorithm, without its later ones, which join words that differ in meaning.

    >>> [stem(w) for w in ("fees", "cards", "opening", "charged", "transferring", "policies", "address", "bring")]
    ['fee', 'card', 'open', 'charg', 'transfer', 'polici', 'address', 'bring']
    >>> stem("charge"), stem("policy"), stem("ISA's".lower())
    ('charg', 'polici', 'isa')
    """
    word = word.removesuffix("'s").removesuffix("’s")
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    if word.endswith("sses") or (word.endswith("ies") and len(word) > 4):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        base = word[: -len(ending)]
        if word.endswith(ending) and len(base) > 2 and re.search(r"[aeiouy]", base):
            word = base[:-1] if base[-1] == base[-2] and base[-1] not in "lsz" else base
            break
    if len(word) > 3 and word.endswith("y") and word[-2] not in "aeiou":
        word = word[:-1] + "i"
    if len(word) > 4 and word.endswith("e"):
        word = word[:-1]
    return word


def tokenise(text: str) -> list[str]:
    """Return the tokens of a passage, in order, with repetition: of Chinese, each character and each pair.

    >>> tokenise("What are the ATM fees?")
    ['what', 'are', 'the', 'atm', 'fee']
    >>> tokenise("银行卡 PIN 码")
    ['银', '行', '卡', '银行', '行卡', 'pin', '码']
    """
    tokens: list[str] = []
    for match in _WORD.finditer(_normalise(text)):
        run = match["cjk"]
        if run is None:
            word = match["word"]
            tokens.append(word if word in STOP_WORDS else stem(word))
        else:
            tokens.extend(run)
            tokens.extend(run[i : i + 2] for i in range(len(run) - 1))
    return tokens


def tokenise_query(text: str) -> list[str]:
    """Return the tokens of a question: as `tokenise`, but no pair of characters reaches into a question word.

    >>> tokenise_query("怎么冻结卡？")
    ['冻', '结', '卡', '冻结', '结卡']
    >>> tokenise_query("How do I freeze it?")
    ['how', 'do', 'i', 'freez', 'it']
    """
    return tokenise(_STOP_PHRASE.sub(" ", _normalise(text)))


def _normalise(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def token_weight(token: str) -> float:
    """Return how much a token of a question counts, in [0, 1]: words and pairs of characters fully.

    >>> [token_weight(t) for t in ("fee", "the", "利率", "利")]
    [1.0, 0.1, 1.0, 0.5]
    """
    if token in STOP_WORDS or token in STOP_CHARACTERS:
        return STOP_WEIGHT
    return CHARACTER_WEIGHT if len(token) == 1 and has_cjk(token) else 1.0


def content_tokens(text: str) -> list[str]:
    """Return the distinct tokens of a question that carry meaning, in the order of their first appearance.

    >>> content_tokens("What is the fee for the fee?"), content_tokens("你好，请问一下")
    (['fee'], [])
    """
    return [token for token in dict.fromkeys(tokenise_query(text)) if token_weight(token) > STOP_WEIGHT]


class LexicalIndex:
    """BM25 over ``n`` passages; passages are numbered from 0 in the order given to `build`."""

    def __init__(self, bm25: bm25s.BM25 | None, size: int, idf: Scores) -> None:
        self._bm25 = bm25
        self._idf = idf
        self.size = size

    @classmethod
    def build(cls, texts: Sequence[str]) -> LexicalIndex:
        """Index the texts; no text, or texts without any token, give an index that scores 0."""
        corpus = [tokenise(text) for text in texts]
        vocabulary: dict[str, int] = {}
        ids = [[vocabulary.setdefault(token, len(vocabulary)) for token in tokens] for tokens in corpus]
        if not vocabulary:
            return cls(None, len(texts), np.zeros(0, np.float32))
        bm25 = bm25s.BM25()
        bm25.index((ids, vocabulary), show_progress=False)
        counts = np.zeros(len(vocabulary), np.int64)
        for row in ids:
            counts[np.unique(np.asarray(row, np.int64))] += 1
        idf = np.log1p((len(texts) - counts + 0.5) / (counts + 0.5)).astype(np.float32)
        return cls(bm25, len(texts), idf)

    def scores(self, query: str) -> Scores:
        """Return the ``(n,) float32`` BM25 scores, at least 0, each token by its `token_weight`.

        A query of which no token is in the index scores 0 everywhere.
        """
        total = np.zeros(self.size, np.float32)
        if self._bm25 is None:
            return total
        groups: dict[float, list[int]] = {}
        for token in tokenise_query(query):
            number = self._bm25.vocab_dict.get(token)
            if number is not None:
                groups.setdefault(token_weight(token), []).append(number)
        for weight, numbers in groups.items():
            total += np.float32(weight) * self._bm25.get_scores_from_ids(numbers)
        return total

    def highest_possible(self, query: str) -> float:
        """Return a bound for the score of this query: what a passage would get that repeats each token endlessly.

        Tokens that are in no passage count as the rarest, so that a query of unknown words stays far below its bound.
        """
        tokens = tokenise_query(query)
        return float(self.weights(tokens).sum()) if self._bm25 is not None else 0.0

    def weights(self, tokens: Sequence[str]) -> Scores:
        """Return each token's inverse document frequency times its `token_weight`, ``(len(tokens),) float32``."""
        rarest = float(np.log1p((self.size + 0.5) / 0.5))
        vocabulary = self._bm25.vocab_dict if self._bm25 is not None else {}
        values = []
        for token in tokens:
            number = vocabulary.get(token)
            idf = float(self._idf[number]) if number is not None and number < len(self._idf) else rarest
            values.append(idf * token_weight(token))
        return np.array(values, np.float32)

    def save(self, directory: Path) -> None:
        """Write the arrays (``.npy``) and the vocabulary (JSON) into an existing directory."""
        (directory / "lexical.json").write_text(json.dumps({"size": self.size, "empty": self._bm25 is None}))
        np.save(directory / "idf.npy", self._idf, allow_pickle=False)
        if self._bm25 is not None:
            self._bm25.save(str(directory), show_progress=False)

    @classmethod
    def load(cls, directory: Path) -> LexicalIndex:
        """Open a saved index, memory-mapped."""
        about: dict[str, Any] = json.loads((directory / "lexical.json").read_text())
        idf = np.load(directory / "idf.npy", allow_pickle=False)
        bm25 = None if about["empty"] else bm25s.BM25.load(str(directory), mmap=True, load_corpus=False)
        return cls(bm25, int(about["size"]), idf)
