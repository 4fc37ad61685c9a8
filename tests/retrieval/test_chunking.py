"""Passages: along the structure, within the limit, and always a span of the source."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunking import DEFAULT_TOKEN_LIMIT, chunk_article, count_tokens, pieces_of
from tests.retrieval.conftest import CARDS, CARDS_ZH
from tests.retrieval.test_markdown import MARKDOWN

STEPS = "Open the app.\nTap Cards.\nTap Freeze."


def test_sections_make_passages() -> None:
    assert [(c.ordinal, c.section, c.text, CARDS[c.start : c.end][:12]) for c in chunk_article(CARDS)] == [
        (0, "", "Everything about cards.", "Everything a"),
        (
            1,
            "Fees",
            "A replacement card costs $8. Express delivery costs $18 in addition.\nBirch Credit: $48\nDebit card: $0",
            "A replacemen",
        ),
        (
            2,
            "Freezing",
            "You can freeze a card at once. Do it like this:\n" + STEPS + "\nA frozen card declines every payment.",
            "You can free",
        ),
    ]


def test_chinese_sentences_join_without_spaces() -> None:
    assert [chunk.text for chunk in chunk_article(CARDS_ZH)][1] == "补办银行卡收取 8 美元。加急寄送另收 18 美元。"


def test_a_long_section_is_cut_between_sentences() -> None:
    body = " ".join(f"Sentence number {number} stands here alone." for number in range(60))
    chunks = chunk_article(body, token_limit=50)
    assert max(chunk.tokens for chunk in chunks) <= 50
    assert len(chunks) > 5
    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("alone.") for chunk in chunks)
    assert " ".join(chunk.text for chunk in chunks) == body


def test_a_sentence_that_is_too_long_is_cut_at_a_break() -> None:
    body = "word, " * 400 + "end"
    pieces = pieces_of(body)
    assert len(pieces) > 3
    assert all(count_tokens(piece.text) <= DEFAULT_TOKEN_LIMIT for piece in pieces)
    assert "".join(piece.text for piece in pieces).replace(" ", "") == body.replace(" ", "")


def test_a_sentence_without_any_break_is_cut_all_the_same() -> None:
    pieces = pieces_of("银" * 500)
    assert [len(piece.text) for piece in pieces] == [160, 160, 160, 20]


def test_a_lead_in_stays_with_its_list() -> None:
    body = "Some words that fill the passage well.\n\nYou need:\n\n- a passport\n- an address\n"
    chunks = chunk_article(body, token_limit=12)
    assert [chunk.text for chunk in chunks] == [
        "Some words that fill the passage well.",
        "You need:\na passport\nan address",
    ]


def test_an_article_of_headings_only_can_still_be_found() -> None:
    assert [(c.section, c.text) for c in chunk_article("# Fees\n## Cards")] == [
        ("Fees", "Fees"),
        ("Fees > Cards", "Cards"),
    ]
    assert chunk_article("") == []


@given(MARKDOWN, st.integers(1, 40))
def test_every_passage_and_piece_is_a_span_of_the_source(body: str, limit: int) -> None:
    pieces = pieces_of(body)
    for piece in pieces:
        assert 0 <= piece.start < piece.end <= len(body)
    chunks = chunk_article(body, token_limit=limit)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= len(body)
    for piece in pieces:
        assert any(chunk.start <= piece.start and piece.end <= chunk.end for chunk in chunks)
