"""Revisions, and that every change leaves a build waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retrieval import tasks
from retrieval.models import Article, IndexBuild, hash_body
from retrieval.publishing import publish_article, save_article, unpublish_article
from tests.retrieval.conftest import FakeService


def test_a_change_makes_a_revision_and_a_waiting_build(make_article: Callable[..., Article]) -> None:
    article = make_article("fees", "It costs $1.")
    article.body = "It costs $2.\r\n"
    build = save_article(article)
    article.refresh_from_db()
    assert (article.revision, article.body, article.body_sha256) == (2, "It costs $2.", hash_body("It costs $2."))
    assert build.status == IndexBuild.Status.QUEUED


def test_saving_without_a_change_keeps_the_revision(make_article: Callable[..., Article]) -> None:
    article = make_article("fees", "It costs $1.")
    save_article(article)
    assert article.revision == 1


def test_a_new_article_is_revision_one(db: None) -> None:
    article = Article(slug="new", language="en", title="New", body="Text.", revision=7)
    save_article(article)
    assert (article.revision, article.published) == (1, True)


def test_unpublish_and_publish_once_each(make_article: Callable[..., Article]) -> None:
    article = make_article("fees", "It costs $1.")
    unpublish_article(article)
    unpublish_article(article)
    article.refresh_from_db()
    assert (article.published, article.revision) == (False, 2)
    publish_article(article)
    article.refresh_from_db()
    assert (article.published, article.revision) == (True, 3)
    assert IndexBuild.objects.count() == 1


def test_the_sweep_runs_what_waits(
    articles: dict[str, Article], encoder: FakeService, artifacts_folder: object
) -> None:
    tasks.sweep_index_builds()
    assert IndexBuild.objects.count() == 0
    save_article(articles["cards"])
    tasks.sweep_index_builds()
    assert IndexBuild.objects.get().is_live


def test_the_nudge_goes_out_after_the_commit(
    make_article: Callable[..., Article],
    django_capture_on_commit_callbacks: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(tasks.rebuild_index, "delay", lambda: sent.append("rebuild"))
    with django_capture_on_commit_callbacks() as callbacks:  # type: ignore[attr-defined]
        save_article(make_article("fees", "It costs $1."))
        tasks.nudge_index_worker()
        assert sent == []
    for callback in callbacks:
        callback()
    assert sent == ["rebuild"]
