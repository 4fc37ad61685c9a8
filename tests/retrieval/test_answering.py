"""Answers made of the articles' own sentences: what is picked, what is cited, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.answering import Answer, CitationError, Source, compose_answer, verified_citation
from retrieval.assembly import assemble_index, heading_of
from retrieval.choosing import MOST_UNITS
from retrieval.chunking import chunk_article, pieces_of
from retrieval.models import hash_body
from retrieval.search import Calibration, PassageEntry, SearchIndex
from tests.retrieval.conftest import CARDS, CARDS_ZH, LOANS, FakeService, word_row
from tests.retrieval.test_markdown import MARKDOWN

encode = FakeService().encode_sync


def source(number: int, title: str, body: str, language: str = "en") -> Source:
    return Source(number, title, body, hash_body(body), language)


def index_of(sources: dict[int, Source], *, calibrated: bool = False) -> SearchIndex:
    entries: list[PassageEntry] = []
    for number, article in sources.items():
        for chunk in chunk_article(article.body):
            heading = heading_of(article.title, chunk.section)
            entries.append(
                PassageEntry(
                    len(entries),
                    number,
                    article.language,
                    "public",
                    heading,
                    chunk.text,
                    chunk.start,
                    chunk.end,
                    article.body_sha256,
                )
            )
    rows, headings = encode([e.full_text for e in entries]), encode([e.heading for e in entries])
    return assemble_index(
        entries, rows, headings, encode=encode, encoder_version="words-1", sources=sources if calibrated else None
    )


SOURCES = {
    1: source(1, "Cards", CARDS),
    2: source(2, "Personal loans", LOANS),
    3: source(3, "银行卡", CARDS_ZH, "zh"),
}
INDEX = index_of(SOURCES, calibrated=True)


def ask(
    question: str,
    *,
    language: str = "en",
    threshold: float | None = None,
    sources: dict[int, Source] = SOURCES,
    index: SearchIndex = INDEX,
) -> Answer:
    partition = index.partitions[language]
    calibration = partition.calibration if threshold is None else Calibration(threshold, 0.0, 0.0)
    row = word_row(question)
    return compose_answer(
        question,
        row,
        index.search(question, row, language=language),
        sources,
        weigh=partition.lexical.weights,
        trust=partition.trust,
        calibration=calibration,
        embed=encode,
    )


def texts(answer: Answer) -> list[str]:
    return [sentence.text for sentence in answer.sentences]


def test_answers_with_the_sentence_and_its_citation() -> None:
    answer = ask("How much does a replacement card cost?")
    assert not answer.refused
    assert texts(answer)[0] == "A replacement card costs $8."
    citation = answer.sentences[0].citation
    assert (citation.article_id, citation.title, citation.section) == (1, "Cards", "Fees")
    assert CARDS[citation.start : citation.end] == citation.quote == "A replacement card costs $8."
    assert answer.support >= answer.threshold
    assert answer.near[0] == (1, "Cards")


def test_the_quote_is_the_source_and_the_text_reads_without_markdown() -> None:
    answer = ask("express delivery costs in addition")
    assert texts(answer)[0] == "Express delivery costs $18 in addition."
    assert answer.sentences[0].citation.quote == "Express delivery costs **$18** in addition."


def test_a_table_row_reads_with_its_subject_and_is_cited_as_it_stands() -> None:
    answer = ask("yearly fee of Birch Credit")
    row = next(sentence for sentence in answer.sentences if sentence.text.startswith("Birch"))
    assert row.text == "Birch Credit: $48"
    assert row.citation.quote == "Birch Credit | $48"


def test_steps_come_in_order_and_with_their_lead_in_where_the_question_asks_how() -> None:
    answer = ask("How do I tap freeze in the app?")
    assert texts(answer) == ["Do it like this:", "Open the app.", "Tap Cards.", "Tap Freeze."]


def test_a_step_stands_alone_where_the_question_does_not_ask_how() -> None:
    assert texts(ask("app tap freeze")) == ["Do it like this:", "Tap Freeze."]


def test_a_long_procedure_is_cut_to_four_with_what_each_step_says_first() -> None:
    body = "# Moving\n\n" + "\n".join(f"{n}. Pack box {word}. It is heavy." for n, word in enumerate("abcdefg", 1))
    sources = {1: source(1, "Moving", body)}
    answer = ask("how do I pack a box for moving", sources=sources, index=index_of(sources), threshold=0.0)
    assert texts(answer) == [f"Pack box {word}." for word in "abcd"]


def test_a_price_answers_where_a_price_is_asked() -> None:
    body = "A certificate is signed by hand. A certificate costs $10. A certificate works for 90 days."
    sources = {1: source(1, "Certificate", body)}
    index = index_of(sources)
    priced = ask("certificate price", sources=sources, index=index, threshold=0.0)
    assert texts(priced)[0] == "A certificate costs $10."
    timed = ask("how long certificate", sources=sources, index=index, threshold=0.0)
    assert texts(timed)[0] == "A certificate works for 90 days."


def test_a_sentence_that_only_points_elsewhere_does_not_answer() -> None:
    body = "补办银行卡请看下一页。网点九点开门。补办银行卡要付 8 美元。"
    sources = {1: source(1, "卡", body, "zh")}
    answer = ask("补办银行卡", language="zh", sources=sources, index=index_of(sources), threshold=0.0)
    assert texts(answer)[0] == "补办银行卡要付 8 美元。"


def test_the_best_sentence_comes_before_what_does_not_stand_beside_it() -> None:
    body = "A card is free.\n\nA shop is near.\n\nA metal card costs $8 a year."
    sources = {1: source(1, "Shop", body)}
    answer = ask("metal card price a year", sources=sources, index=index_of(sources), threshold=0.0)
    assert texts(answer)[0] == "A metal card costs $8 a year."


def test_a_chinese_question_gets_a_chinese_answer() -> None:
    answer = ask("补办银行卡多少钱？", language="zh")
    assert texts(answer)[0] == "补办银行卡收取 8 美元。"
    assert answer.sentences[0].citation.article_id == 3


def test_sentences_from_two_articles_are_kept_together_by_article() -> None:
    answer = ask("personal loan early repayment and replacement card", threshold=0.0)
    articles = [sentence.citation.article_id for sentence in answer.sentences]
    assert articles == sorted(articles, key=articles.index)


def test_nothing_is_said_twice() -> None:
    same = "A replacement card costs $8."
    body = f"{same}\n\n## Again\n\n{same}\n\n## More\n\nReplacement card: costs $8."
    sources = {1: source(1, "Cards", body)}
    answer = ask("replacement card costs", sources=sources, index=index_of(sources), threshold=0.0)
    assert len(answer.sentences) == 1


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("hi", "en"),
        ("Hello!", "en"),
        ("how are you", "en"),
        ("", "en"),
        ("???", "en"),
        ("asdf qwer zxcv", "en"),
        ("what is 2+2", "en"),
        ("8 12 72 18", "en"),
        ("how much is 8 times 12", "en"),
        ("x 8", "en"),
        ("9 days", "en"),
        ("what day is it", "en"),
        ("what's the weather in Boston tomorrow", "en"),
        ("banana bread without eggs", "en"),
        ("你好", "zh"),
        ("今天天气怎么样", "zh"),
        ("啊啊啊", "zh"),
        ("8 加上 18 等于几", "zh"),
        ("一加一等于几", "zh"),
        ("卡", "zh"),
    ],
)
def test_refuses_what_no_article_supports(question: str, language: str) -> None:
    answer = ask(question, language=language)
    assert answer.refused
    assert answer.sentences == ()
    assert answer.support < answer.threshold
    assert answer.text == ""


def test_a_refusal_names_what_came_near() -> None:
    answer = ask("replacement card", threshold=1.01)
    assert answer.refused
    assert answer.near[0] == (1, "Cards")
    assert answer.lineage["passages"][0]["article"] == 1
    assert "cited" not in answer.lineage


def test_small_talk_is_refused_without_anything_near() -> None:
    assert ask("hello").near == ()


@pytest.mark.parametrize("question", ["今天天气怎么样", "明天可以吃多少", "what is 2+2"])
def test_nothing_is_near_what_has_no_word_in_common(question: str) -> None:
    assert ask(question, language="zh").near == ()


def test_a_chinese_article_is_near_by_a_word_in_common() -> None:
    answer = ask("加急寄送的颜色", language="zh", threshold=1.01)
    assert answer.near == ((3, "银行卡"),)


def test_hits_of_articles_that_are_gone_are_ignored() -> None:
    answer = ask("replacement card", sources={2: SOURCES[2]}, threshold=0.0)
    assert {sentence.citation.article_id for sentence in answer.sentences} <= {2}
    assert ask("replacement card", sources={}).refused


def test_an_article_edited_since_is_quoted_as_it_stands_now() -> None:
    edited = source(1, "Cards", "Something new stands in front now.\n\n" + CARDS.replace("$8", "$9"))
    answer = ask("How much does a replacement card cost?", sources={**SOURCES, 1: edited})
    assert texts(answer)[0] == "A replacement card costs $9."
    for sentence in answer.sentences:
        assert edited.body[sentence.citation.start : sentence.citation.end] == sentence.citation.quote


def test_a_span_outside_the_article_is_never_cited() -> None:
    piece = pieces_of(CARDS)[0]
    with pytest.raises(CitationError):
        verified_citation(SOURCES[1], replace(piece, end=len(CARDS) + 1), 1)
    with pytest.raises(CitationError):
        verified_citation(SOURCES[1], replace(piece, start=piece.end), 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(MARKDOWN, MARKDOWN, st.text(alphabet="ab 1银卡?", min_size=1, max_size=20))
def test_every_quote_is_a_span_of_the_article_whatever_it_holds(first: str, second: str, question: str) -> None:
    sources = {1: source(1, "a 银", first), 2: source(2, "b", second)}
    if not any(chunk_article(article.body) for article in sources.values()):
        return
    answer = ask(question, sources=sources, index=index_of(sources), threshold=0.0)
    for sentence in answer.sentences:
        citation = sentence.citation
        body = sources[citation.article_id].body
        assert body[citation.start : citation.end] == citation.quote != ""
        assert sentence.text.strip()
    assert 0.0 <= answer.support <= 1.0
    assert len(answer.sentences) <= MOST_UNITS
    assert answer.refused == (answer.sentences == ())
    starts = [(sentence.citation.article_id, sentence.citation.start) for sentence in answer.sentences]
    assert len(set(starts)) == len(starts)
