"""Sentences of English and Chinese text, as spans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   \n ", []),
        ("One sentence", ["One sentence"]),
        ("It costs $1.50. Then it is $2.", ["It costs $1.50.", "Then it is $2."]),
        ("It costs 3.10 % a year.", ["It costs 3.10 % a year."]),
        ("Dr. Lee and Mrs. Fox came. They left.", ["Dr. Lee and Mrs. Fox came.", "They left."]),
        ("Use a document, e.g. a passport. Scan it.", ["Use a document, e.g. a passport.", "Scan it."]),
        ("See No. 5 for this. Done.", ["See No. 5 for this.", "Done."]),
        ("The answer is no. Try again.", ["The answer is no.", "Try again."]),
        ("J. Smith paid. So did A. Wu.", ["J. Smith paid.", "So did A. Wu."]),
        ("At 9 a.m. the bank opens. Come early.", ["At 9 a.m. the bank opens.", "Come early."]),
        ('She said "Stop!" Then she left.', ['She said "Stop!"', "Then she left."]),
        ("Is it free? Yes! Really.", ["Is it free?", "Yes!", "Really."]),
        ("Wait... what is this?", ["Wait... what is this?"]),
        ("1. Open the app.", ["1. Open the app."]),
        ("Go to silverbirch.example now.", ["Go to silverbirch.example now."]),
        ("First\n\nSecond", ["First", "Second"]),
        ("One line\nof one sentence.", ["One line\nof one sentence."]),
        ("费用是多少？8 美元。免费！", ["费用是多少？", "8 美元。", "免费！"]),
        ("他说：“可以。”我走了。", ["他说：“可以。”", "我走了。"]),
        ("年利率为 3.10%。每月付息。", ["年利率为 3.10%。", "每月付息。"]),
        ("先付款；再发货。", ["先付款；再发货。"]),
        ("等等……好吧。", ["等等……", "好吧。"]),
        ("可以吗?可以!好", ["可以吗?", "可以!", "好"]),
        ("在 App 里打开。Then tap it.", ["在 App 里打开。", "Then tap it."]),
        ("Stop. — Go.", ["Stop.", "— Go."]),
        ("Stop! ...", ["Stop! ..."]),
    ],
)
def test_splits(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet='aB1. !?。？！…\n"”’)，,的我$', max_size=60))
def test_spans_are_in_order_apart_and_leave_out_nothing_but_white_space(text: str) -> None:
    spans = split_sentences(text)
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(text)
        assert text[position:start].strip() == ""
        assert text[start:end] == text[start:end].strip()
        position = end
    assert text[position:].strip() == ""
