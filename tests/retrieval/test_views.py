"""The public page of an article and the passage behind a citation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from retrieval.models import Article
from tests.retrieval.conftest import CARDS

pytestmark = pytest.mark.usefixtures("static_files")
WORDS = "Express delivery costs **$18** in addition."


@pytest.fixture
def cards(make_article: Callable[..., Article]) -> Article:
    return make_article("cards", CARDS)


def test_the_page_marks_the_cited_words(client: Client, cards: Article) -> None:
    start = CARDS.index(WORDS)
    response = client.get(f"/kb/{cards.pk}/", {"start": start, "end": start + len(WORDS)})
    assertContains(
        response, "<mark>Express delivery costs </mark><strong><mark>$18</mark></strong><mark> in addition.</mark>"
    )
    assertContains(response, "<h1>Cards</h1>")
    assert "script" not in response["Content-Security-Policy"]
    assert response["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_page_without_a_span_marks_nothing(client: Client, cards: Article) -> None:
    assertNotContains(client.get(f"/kb/{cards.pk}/"), "<mark>")


def test_json_gives_the_section_with_the_cited_words_marked(client: Client, cards: Article) -> None:
    start = CARDS.index(WORDS)
    response = client.get(f"/kb/{cards.pk}.json", {"start": start, "end": start + len(WORDS)})
    data = response.json()
    assert (data["title"], data["section"], data["language"]) == ("Cards", "Fees", "en")
    assert data["text"] == WORDS
    assert data["url"] == f"/kb/{cards.pk}/"
    assert data["html"].startswith("<h2>Fees</h2>")
    assert "<mark>$18</mark>" in data["html"]
    assert "Freezing" not in data["html"]
    assert response["Access-Control-Allow-Origin"] == "*"


def test_json_without_a_span_gives_the_whole_article(client: Client, cards: Article) -> None:
    data = client.get(f"/kb/{cards.pk}.json").json()
    assert (data["section"], data["text"]) == ("", "")
    assert "Everything about cards." in data["html"]
    assert "Tap Freeze." in data["html"]


@pytest.mark.parametrize(
    "query",
    [
        {"start": "0"},
        {"end": "5"},
        {"start": "5", "end": "5"},
        {"start": "9", "end": "3"},
        {"start": "-1", "end": "3"},
        {"start": "0", "end": "99999"},
        {"start": "0", "end": "9" * 5000},
        {"start": "a", "end": "b"},
        {"start": "1.5", "end": "3"},
        {"start": "٣", "end": "٤"},
        {"start": "", "end": ""},
        {"start": "<script>", "end": "1"},
    ],
)
def test_a_span_that_is_none_is_refused(client: Client, cards: Article, query: dict[str, str]) -> None:
    page = client.get(f"/kb/{cards.pk}/", query)
    assert page.status_code == 400
    assert page["Content-Type"].startswith("text/plain")
    response = client.get(f"/kb/{cards.pk}.json", query)
    assert response.status_code == 400
    assert response.json()["error"] == "bad_span"


@pytest.mark.parametrize("change", [{"published": False}, {"audience": "staff"}])
def test_what_is_not_public_is_not_found(client: Client, cards: Article, change: dict[str, object]) -> None:
    Article.objects.filter(pk=cards.pk).update(**change)
    assert client.get(f"/kb/{cards.pk}/").status_code == 404
    assert client.get(f"/kb/{cards.pk}.json").status_code == 404


@pytest.mark.parametrize(
    "path", ["/kb/999999/", "/kb/999999.json", "/kb/99999999999999999999999/", "/kb/x/", "/kb/-1.json"]
)
def test_what_is_not_there_is_not_found(client: Client, db: None, path: str) -> None:
    assert client.get(path).status_code == 404


def test_only_reading_is_allowed(client: Client, cards: Article) -> None:
    assert client.post(f"/kb/{cards.pk}/").status_code == 405
    assert client.delete(f"/kb/{cards.pk}.json").status_code == 405


def test_injections_in_an_article_reach_nobody(client: Client, make_article: Callable[..., Article]) -> None:
    body = "<script>alert(1)</script> <img src=x onerror=alert(2)> [x](javascript:alert(3)) [y](data:text/html,z) end."
    article = make_article("bad", body, title="<script>alert(0)</script>")
    for query in ({}, {"start": "0", "end": "40"}, {"start": "30", "end": str(len(body))}):
        page = client.get(f"/kb/{article.pk}/", query).content.decode()
        html = client.get(f"/kb/{article.pk}.json", query).json()["html"]
        for text in (page, html):
            assert "<script" not in text
            assert "<img" not in text
            assert 'href="javascript' not in text
            assert 'href="data' not in text
