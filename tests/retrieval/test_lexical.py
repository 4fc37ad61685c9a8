"""Tokens and BM25."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.lexical import LexicalIndex, content_tokens, tokenise

TEXTS = ["A replacement card costs 8 dollars", "Loans can be repaid early", "补办银行卡收取 8 美元", "冻结银行卡"]


@pytest.fixture(scope="module")
def index() -> LexicalIndex:
    return LexicalIndex.build(TEXTS)


@pytest.mark.parametrize(
    ("query", "best"), [("replacing cards", 0), ("Is a loan repaid?", 1), ("怎么冻结卡", 3), ("补办要多少钱", 2)]
)
def test_the_right_text_scores_highest(index: LexicalIndex, query: str, best: int) -> None:
    assert int(np.argmax(index.scores(query))) == best


@pytest.mark.parametrize("query", ["", "???", "xylophone", "🐟", "的", "比特币"])
def test_a_query_of_unknown_tokens_scores_nothing_and_raises_nothing(index: LexicalIndex, query: str) -> None:
    assert index.scores(query).tolist() == [0.0] * 4


def test_stop_words_weigh_little(index: LexicalIndex) -> None:
    assert 0.0 < index.scores("can be")[1] < 0.25 * index.scores("early")[1]


def test_no_score_passes_the_bound(index: LexicalIndex) -> None:
    for query in ("replacement card", "loan early", "冻结银行卡", "card xylophone"):
        assert 0.0 < float(index.scores(query).max()) < index.highest_possible(query)


@pytest.mark.parametrize("texts", [[], [""], ["", "???"]])
def test_an_index_without_tokens_scores_nothing(texts: list[str]) -> None:
    empty = LexicalIndex.build(texts)
    assert empty.scores("card").tolist() == [0.0] * len(texts)
    assert empty.highest_possible("card") == 0.0


def test_saved_and_opened_it_scores_the_same(index: LexicalIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    opened = LexicalIndex.load(tmp_path)
    for query in ("replacement card", "冻结银行卡", "xylophone", ""):
        assert opened.scores(query).tolist() == index.scores(query).tolist()
        assert opened.highest_possible(query) == index.highest_possible(query)


def test_an_empty_index_can_be_saved(tmp_path: Path) -> None:
    LexicalIndex.build([]).save(tmp_path)
    assert LexicalIndex.load(tmp_path).scores("card").tolist() == []


def test_full_width_letters_and_case_do_not_matter() -> None:
    assert tokenise("ＡＴＭ Fee") == tokenise("atm fee") == ["atm", "fee"]


@pytest.mark.parametrize("question", ["hi", "Hello!", "你好", "how are you", "请问一下", "?!", ""])
def test_small_talk_has_no_content(question: str) -> None:
    assert content_tokens(question) == []
