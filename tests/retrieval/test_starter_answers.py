"""The starter articles with the real encoder: known questions are answered, others are refused, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from lepton_app.lib.text_runtime import EncoderService, TextEncoder
from retrieval.answering import Answer, Source, compose_answer
from retrieval.assembly import assemble_index, heading_of
from retrieval.calibration import remembering
from retrieval.choosing import MOST_UNITS
from retrieval.chunking import chunk_article
from retrieval.models import hash_body
from retrieval.search import PassageEntry, SearchIndex
from retrieval.starter_content import read_starter_articles
from tests.retrieval.starter_questions import ANSWERABLE, UNANSWERABLE

pytestmark = [pytest.mark.weights, pytest.mark.slow]

# Shares of the questions in `starter_questions`.
LEAST_ANSWERED = 0.85
LEAST_ANSWERED_FIRST = 0.75
LEAST_REFUSED = 0.9
MOST_UNITS_ON_AVERAGE = 2.0


class KnowledgeBase:
    """The starter articles, indexed in memory as the builder does."""

    def __init__(self, encoder: EncoderService) -> None:
        self.embed = remembering(encoder.encode_sync)
        self.sources: dict[int, Source] = {}
        self.slugs: dict[int, str] = {}
        entries: list[PassageEntry] = []
        for number, read in enumerate(read_starter_articles()):
            source = Source(number, read.title, read.body, hash_body(read.body), read.language)
            self.sources[number], self.slugs[number] = source, read.slug
            for chunk in chunk_article(read.body):
                heading = heading_of(read.title, chunk.section)
                span = (heading, chunk.text, chunk.start, chunk.end)
                entries.append(PassageEntry(len(entries), number, read.language, "public", *span, source.body_sha256))
        self.index: SearchIndex = assemble_index(
            entries,
            self.embed([entry.full_text for entry in entries]),
            self.embed([entry.heading for entry in entries]),
            encode=self.embed,
            encoder_version=encoder.encoder.version,
            sources=self.sources,
        )

    def ask(self, question: str, language: str) -> Answer:
        partition = self.index.partitions[language]
        row = self.embed([question])[0]
        return compose_answer(
            question,
            row,
            self.index.search(question, row, language=language),
            self.sources,
            weigh=partition.lexical.weights,
            trust=partition.trust,
            calibration=partition.calibration,
            embed=self.embed,
        )


@pytest.fixture(scope="module")
def knowledge(encoder_folder: Path) -> Iterator[KnowledgeBase]:
    service = EncoderService(TextEncoder(encoder_folder, precision="int8"))
    yield KnowledgeBase(service)
    service.close()


@pytest.mark.parametrize(
    ("language", "question", "slugs", "fact"),
    [
        ("en", "How much does a replacement card cost?", {"card-replacement"}, "$8"),
        ("en", "How do I freeze my card?", {"card-freeze"}, "Freeze"),
        ("en", "what is the late fee on the credit card", {"credit-card-billing", "credit-card"}, "$25"),
        ("en", "how long does an international transfer take", {"transfers-international"}, "1 to 3 business days"),
        ("en", "when do I get my tax report", {"invest-tax-report"}, "15 February"),
        ("en", "is my money protected", {"deposit-protection"}, "$250,000"),
        ("zh", "信用卡逾期费是多少", {"credit-card-billing", "credit-card"}, "25 美元"),
        ("zh", "国际汇款手续费是多少", {"transfers-international", "fees-overview"}, "9 美元"),
        ("zh", "存款保障最高多少", {"deposit-protection"}, "250,000"),
    ],
)
def test_known_questions_are_answered_with_the_fact(
    knowledge: KnowledgeBase, language: str, question: str, slugs: set[str], fact: str
) -> None:
    answer = knowledge.ask(question, language)
    assert not answer.refused, (answer.support, answer.threshold)
    assert fact in answer.text
    assert slugs & {knowledge.slugs[sentence.citation.article_id] for sentence in answer.sentences}
    for sentence in answer.sentences:
        citation = sentence.citation
        source = knowledge.sources[citation.article_id]
        assert source.language == language
        assert source.body[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize("language", ["en", "zh"])
def test_most_questions_are_answered_briefly_and_with_the_fact_first(knowledge: KnowledgeBase, language: str) -> None:
    without, behind, units = [], [], 0
    for question, slugs, fact in ANSWERABLE[language]:
        answer = knowledge.ask(question, language)
        cited = {knowledge.slugs[sentence.citation.article_id] for sentence in answer.sentences}
        assert len(answer.sentences) <= MOST_UNITS
        units += len(answer.sentences)
        if fact not in answer.text or not cited & set(slugs):
            without.append(question)
        elif fact not in answer.sentences[0].text:
            behind.append(question)
    asked = len(ANSWERABLE[language])
    assert asked - len(without) >= LEAST_ANSWERED * asked, without
    assert asked - len(without) - len(behind) >= LEAST_ANSWERED_FIRST * asked, behind
    assert units <= MOST_UNITS_ON_AVERAGE * asked


@pytest.mark.parametrize("language", ["en", "zh"])
def test_arithmetic_gibberish_and_other_subjects_are_refused(knowledge: KnowledgeBase, language: str) -> None:
    answered = [question for question in UNANSWERABLE[language] if not knowledge.ask(question, language).refused]
    assert len(answered) <= (1.0 - LEAST_REFUSED) * len(UNANSWERABLE[language]), answered


@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_out_of_scope_are_refused(knowledge: KnowledgeBase, language: str) -> None:
    path = settings.BASE_DIR / "intents" / "starter" / "out_of_scope.yaml"
    questions = yaml.safe_load(path.read_text(encoding="utf-8"))["utterances"][language]
    answered = [question for question in questions if not knowledge.ask(question, language).refused]
    assert len(answered) <= 0.05 * len(questions), answered


def test_the_encoder_reads_english_and_not_chinese(knowledge: KnowledgeBase) -> None:
    assert knowledge.index.partitions["en"].trust.reads
    assert not knowledge.index.partitions["zh"].trust.reads
