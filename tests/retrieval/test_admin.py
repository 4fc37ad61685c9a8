"""The admin: lists, preview, and that saving schedules a build."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from retrieval import tasks
from retrieval.indexing import build_index
from retrieval.models import Article, IndexBuild, Passage
from tests.retrieval.conftest import FakeService


@pytest.fixture
def staff(client: Client, db: None, static_files: object) -> Client:
    client.force_login(User.objects.create_superuser("editor", password="x"))
    return client


@pytest.fixture
def nudges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(tasks.rebuild_index, "delay", lambda: sent.append("rebuild"))
    return sent


def form(**changes: str) -> dict[str, str]:
    fields = {"title": "Fees", "slug": "fees", "language": "en", "category": "money", "audience": "public"}
    inline = {"passages-TOTAL_FORMS": "0", "passages-INITIAL_FORMS": "0"}
    return {**fields, "published": "on", "body": "It costs **$1**.", **inline, **changes}


def test_saving_an_article_schedules_a_build(
    staff: Client, nudges: list[str], django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        response = staff.post("/admin/retrieval/article/add/", form())
    assert response.status_code == 302, response.content.decode()[:2000]
    article = Article.objects.get()
    assert (article.title, article.revision, article.published) == ("Fees", 1, True)
    assert IndexBuild.objects.get().status == "queued"
    assert nudges == ["rebuild"]
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        staff.post(f"/admin/retrieval/article/{article.pk}/change/", form(body="It costs $2."))
    article.refresh_from_db()
    assert (article.body, article.revision) == ("It costs $2.", 2)
    assert IndexBuild.objects.count() == 1


def test_a_form_that_is_wrong_changes_nothing(staff: Client, nudges: list[str]) -> None:
    assert staff.post("/admin/retrieval/article/add/", form(slug="not a slug")).status_code == 200
    assert not Article.objects.exists()
    assert not IndexBuild.objects.exists()


def test_lists_search_and_preview(
    staff: Client, articles: dict[str, Article], encoder: FakeService, artifacts_folder: object
) -> None:
    build_index()
    page = staff.get("/admin/retrieval/article/", {"q": "loan"}).content.decode()
    assert "Loans" in page
    assert "Cards</a>" not in page
    change = staff.get(f"/admin/retrieval/article/{articles['cards'].pk}/change/").content.decode()
    assert "<strong>$18</strong>" in change
    assert "A replacement card costs $8." in change
    assert staff.get("/admin/retrieval/passage/").status_code == 200
    passage = Passage.objects.earliest("pk")
    assert staff.get(f"/admin/retrieval/passage/{passage.pk}/change/").status_code == 200
    builds = staff.get("/admin/retrieval/indexbuild/").content.decode()
    assert "words-1" in builds
    assert staff.post("/admin/retrieval/indexbuild/add/").status_code == 403


def test_unpublishing_from_the_list(staff: Client, articles: dict[str, Article], nudges: list[str]) -> None:
    cards = articles["cards"]
    data = {"action": "unpublish_selected", "_selected_action": [str(cards.pk)]}
    assert staff.post("/admin/retrieval/article/", data).status_code == 302
    cards.refresh_from_db()
    assert not cards.published
    assert IndexBuild.objects.get().status == "queued"


def test_deleting_an_article_takes_its_passages_along(
    staff: Client, articles: dict[str, Article], encoder: FakeService, artifacts_folder: object, nudges: list[str]
) -> None:
    build_index()
    cards = articles["cards"]
    response = staff.post(f"/admin/retrieval/article/{cards.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302, response.content.decode()[:2000]
    assert not Passage.objects.filter(article_id=cards.pk).exists()
    assert IndexBuild.objects.filter(status="queued").count() == 1


def test_the_preview_is_sanitised(staff: Client, make_article: Callable[..., Article]) -> None:
    article = make_article("bad", "<img src=x onerror=alert(1)> [x](javascript:alert(2))")
    page = staff.get(f"/admin/retrieval/article/{article.pk}/change/").content.decode()
    assert "<img src=x" not in page
    assert 'href="javascript:alert(2)' not in page
