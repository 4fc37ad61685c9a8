"""Questions to the live index: published articles only, the old index on damage, the right language first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import serving
from retrieval.indexing import build_index
from retrieval.models import Article, IndexBuild
from retrieval.publishing import publish_article, save_article, unpublish_article
from retrieval.serving import EncoderMismatchError, IndexMissing, answer_question
from tests.retrieval.conftest import FakeService

pytestmark = pytest.mark.usefixtures("artifacts_folder", "unhurried")
QUESTION = "How much does a replacement card cost?"


@pytest.fixture
def built(articles: dict[str, Article], encoder: FakeService) -> dict[str, Article]:
    build_index()
    return articles


def test_answers_with_lineage(built: dict[str, Article], encoder: FakeService) -> None:
    answer = answer_question(QUESTION)
    assert answer.sentences[0].text == "A replacement card costs $8."
    assert answer.sentences[0].citation.article_id == built["cards"].pk
    build = IndexBuild.objects.get(is_live=True)
    assert answer.lineage["index_version"] == build.artifact
    assert answer.lineage["encoder_version"] == "words-1"
    assert answer.lineage["language"] == "en"
    assert answer.lineage["cited"]


def test_an_embedding_that_is_there_is_not_made_again(built: dict[str, Article], encoder: FakeService) -> None:
    row = encoder.encode_sync([QUESTION])[0]
    encoder.encoded.clear()
    answer = answer_question(QUESTION, embedding=row)
    assert not answer.refused
    assert QUESTION not in encoder.encoded


def test_languages_are_detected_or_given(built: dict[str, Article]) -> None:
    assert answer_question("补办银行卡多少钱？").sentences[0].text == "补办银行卡收取 8 美元。"
    assert answer_question("replacement card cost", language="zh").refused


@pytest.mark.parametrize("question", ["hi", "你好", "", "asdf jkl", "x" * 5000, "\x00\x01", "🐟🐟"])
def test_refuses_without_an_error(built: dict[str, Article], question: str) -> None:
    assert answer_question(question).refused


def test_what_is_unpublished_is_gone_from_the_next_answer(built: dict[str, Article]) -> None:
    assert not answer_question(QUESTION).refused
    unpublish_article(built["cards"])
    answer = answer_question(QUESTION)
    assert built["cards"].pk not in {sentence.citation.article_id for sentence in answer.sentences}
    assert built["cards"].pk not in dict(answer.near)
    assert built["cards"].pk not in {passage["article"] for passage in answer.lineage["passages"]}
    publish_article(built["cards"])
    assert not answer_question(QUESTION).refused


def test_articles_for_staff_are_for_staff(built: dict[str, Article]) -> None:
    cards = built["cards"]
    cards.audience = Article.Audience.STAFF
    save_article(cards)
    assert cards.pk not in {s.citation.article_id for s in answer_question(QUESTION).sentences}  # before the build
    build_index()
    assert cards.pk not in {s.citation.article_id for s in answer_question(QUESTION).sentences}  # and after it
    assert not answer_question(QUESTION, audiences={"staff"}).refused


def test_many_unpublished_articles_take_no_place_from_others(
    make_article: Callable[..., Article], encoder: FakeService
) -> None:
    hidden = [make_article(f"hidden-{n}", f"The tulip fee is {n} dollars. Pay it soon.") for n in range(20)]
    make_article("shown", "The tulip fee is paid in spring. It is a yearly one, and small.")
    build_index()
    Article.objects.filter(pk__in=[article.pk for article in hidden]).update(published=False)
    answer = answer_question("When is the tulip fee paid?")
    assert {sentence.citation.title for sentence in answer.sentences} == {"Shown"}


def test_an_edited_article_is_quoted_as_it_stands(built: dict[str, Article]) -> None:
    cards = built["cards"]
    cards.body = cards.body.replace("costs $8.", "costs $11.")
    save_article(cards)
    assert answer_question(QUESTION).sentences[0].text == "A replacement card costs $11."


def test_a_deleted_article_is_gone(built: dict[str, Article]) -> None:
    pk = built["cards"].pk
    built["cards"].delete()
    assert pk not in {sentence.citation.article_id for sentence in answer_question(QUESTION).sentences}


def test_a_corrupt_index_is_named_and_the_one_before_keeps_serving(
    built: dict[str, Article], artifacts_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = answer_question(QUESTION)
    second = build_index()
    (artifacts_folder / second.artifact / "en" / "vectors.faiss").write_bytes(b"damaged")
    with caplog.at_level(logging.ERROR):
        answer = answer_question(QUESTION)
    assert answer.lineage["index_version"] == before.lineage["index_version"] != second.artifact
    assert answer.sentences == before.sentences
    assert f"{second.artifact} could not be loaded (artifact_corrupt" in caplog.text
    assert "the one before keeps serving" in caplog.text


def test_without_an_index_the_error_has_a_name(db: None, encoder: FakeService) -> None:
    assert serving.current_index() is None
    with pytest.raises(IndexMissing, match="No search index is deployed"):
        answer_question(QUESTION)


def test_an_artifact_that_is_gone_is_named(db: None, encoder: FakeService) -> None:
    IndexBuild.objects.create(status="ready", is_live=True, artifact="index-gone")
    assert serving.current_index() is None
    with pytest.raises(IndexMissing, match="ArtifactMissing"):
        answer_question(QUESTION)


def test_an_index_of_another_encoder_is_refused_with_the_way_out(
    built: dict[str, Article], encoder: FakeService
) -> None:
    encoder.version = "words-2"
    with pytest.raises(EncoderMismatchError, match="build the index again"):
        answer_question(QUESTION)
    build_index()
    assert not answer_question(QUESTION).refused
