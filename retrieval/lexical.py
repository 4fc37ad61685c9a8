"""BM25 over passages, with tokens for English and Chinese.

English: lower-cased words, lightly stemmed (plural, -ing, -ed), with stop words kept but weighing little, so that
"what is it" finds nothing loud and "to be" still finds something. Chinese: bigrams of characters; a character that
stands alone is a token by itself. Numbers keep their points and signs: "$0.50" is found by "0.50".

Scores are those of Lucene's BM25 (k1 = 1.5, b = .75) as `bm25s` computes them ahead of the query, see
https://arxiv.org/abs/2407.03618; its arrays are loaded memory-mapped.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]

STOP_WEIGHT = 0.1
_WORD = re.compile(
    r"(?P<cjk>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+)"
    r"|(?P<word>[^\W_\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+(?:['’.,][^\W_\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+)*)"
)
STOP_WORDS = frozenset(
    """a about am an and any are as at be been being but by can could did do does doing done for from get got had has
    have having he her here him his how i i'd i'll i'm i've if in into is it it's its just let's like may me might my
    need of off on or our out over please shall she should so some such than that that's the their them then there
    these they this those to too up us very want was way we were what what's when where whether which who whom whose why
    will with would yes you your yours don't doesn't didn't can't cannot isn't there's hi hello hey thanks thank""".split()
)
# Bigrams of questions and politeness; they say what kind of answer is wanted, not what it is about.
STOP_BIGRAMS = frozenset(
    """什么 怎么 么样 如何 多少 少钱 哪些 哪里 哪个 是否 可以 以吗 能否 请问 我想 想要 我要 我的 你们 我们 为什 是什 的是
    么办 办呢 了吗 是多 需要 要多 有什 有哪 没有 一下 一个 这个 那个 吗？ 怎样 几个 时候 么时 是哪 们的 想问 告诉 诉我 谢谢 您好
    你好 会不 不会 能不 不能 可不 不可 是不 不是 的话 应该 该怎 要怎""".split()
)
STOP_CHARACTERS = frozenset("的了吗呢吧啊是我你您他她它在有和与或就都也很把被给请哪几这那么什")


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
    if word.endswith("sses"):
        word = word[:-2]
    elif word.endswith("ies") and len(word) > 4:
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
    """Return the tokens of a text, in order, with repetition.

    >>> tokenise("What are the ATM fees?")
    ['what', 'are', 'the', 'atm', 'fee']
    >>> tokenise("银行卡 PIN 码")
    ['银行', '行卡', 'pin', '码']
    """
    tokens: list[str] = []
    for match in _WORD.finditer(unicodedata.normalize("NFKC", text).lower()):
        run = match["cjk"]
        if run is None:
            word = match["word"]
            tokens.append(word if word in STOP_WORDS else stem(word))
        elif len(run) == 1:
            tokens.append(run)
        else:
            tokens.extend(run[i : i + 2] for i in range(len(run) - 1))
    return tokens


def is_stop(token: str) -> bool:
    """Whether a token says little about what a text is about.

    >>> [is_stop(t) for t in ("the", "fee", "什么", "利率")]
    [True, False, True, False]
    """
    return token in STOP_WORDS or token in STOP_BIGRAMS or (len(token) == 1 and token in STOP_CHARACTERS)


def content_tokens(text: str) -> list[str]:
    """Return the distinct tokens of a text that carry meaning, in the order of their first appearance."""
    return [token for token in dict.fromkeys(tokenise(text)) if not is_stop(token)]


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
        """Return the ``(n,) float32`` BM25 scores, at least 0; stop words count a tenth.

        A query of which no token is in the index scores 0 everywhere.
        """
        if self._bm25 is None:
            return np.zeros(self.size, np.float32)
        content, stop = self._known(query)
        total = np.zeros(self.size, np.float32)
        if content:
            total += self._bm25.get_scores_from_ids(content)
        if stop:
            total += STOP_WEIGHT * self._bm25.get_scores_from_ids(stop)
        return total

    def highest_possible(self, query: str) -> float:
        """Return a bound for the score of this query: each token as often as one likes in the shortest passage.

        Tokens that are not in the index count as the rarest, so that a query of unknown words stays far below its
        bound.
        """
        if self._bm25 is None:
            return 0.0
        rarest = float(np.log1p(self.size - 0.5 + 0.5) if self.size else 0.0)
        total = 0.0
        for token in tokenise(query):
            number = self._bm25.vocab_dict.get(token)
            idf = float(self._idf[number]) if number is not None and number < len(self._idf) else rarest
            total += idf * (STOP_WEIGHT if is_stop(token) else 1.0)
        return total

    def idf(self, tokens: Iterable[str]) -> Scores:
        """Return each token's inverse document frequency, ``(len(tokens),) float32``; unknown tokens get the highest."""
        rarest = float(np.log1p(self.size / 0.5)) if self.size else 1.0
        vocabulary = self._bm25.vocab_dict if self._bm25 is not None else {}
        return np.array(
            [float(self._idf[vocabulary[token]]) if token in vocabulary else rarest for token in tokens], np.float32
        )

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

    def _known(self, query: str) -> tuple[list[int], list[int]]:
        assert self._bm25 is not None  # checked by the caller; keeps the type narrow here
        content: list[int] = []
        stop: list[int] = []
        for token in tokenise(query):
            number = self._bm25.vocab_dict.get(token)
            if number is not None:
                (stop if is_stop(token) else content).append(number)
        return content, stop
