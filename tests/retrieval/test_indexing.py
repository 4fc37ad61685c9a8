"""Builds: the row is the job, only what changed is encoded, a failure leaves the live index alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from retrieval import indexing, serving
from retrieval.indexing import IndexingError, artifact_path, build_index, live_build, request_build, run_queued_build
from retrieval.models import Article, IndexBuild, Passage
from retrieval.search import SearchIndex
from tests.retrieval.conftest import FakeService

pytestmark = pytest.mark.usefixtures("artifacts_folder")


def test_a_build_goes_live(articles: dict[str, Article], encoder: FakeService) -> None:
    lines: list[str] = []
    build = build_index(progress=lines.append)
    assert (build.status, build.is_live, build.error) == ("ready", True, "")
    assert build.passages == Passage.objects.count() == 8
    assert build.encoder_version == "words-1"
    assert live_build() == build
    assert lines[0] == "3 articles, 3 new or changed"
    assert "8 of 8 passages encoded" in lines
    index = SearchIndex.load(artifact_path(build))
    assert (index.size, sorted(index.partitions)) == (8, ["en", "zh"])
    assert index.version == build.artifact


def test_passages_are_spans_of_their_article(articles: dict[str, Article], encoder: FakeService) -> None:
    build_index()
    for passage in Passage.objects.select_related("article"):
        assert 0 <= passage.start < passage.end <= len(passage.article.body)
        assert passage.encoder_version == "words-1"
        assert len(bytes(passage.embedding or b"")) == 2 * 2 * encoder.encoder.dimension


def test_only_what_changed_is_encoded_again(articles: dict[str, Article], encoder: FakeService) -> None:
    build_index()
    kept = dict(Passage.objects.values_list("pk", "text"))
    encoder.encoded.clear()
    cards = articles["cards"]
    cards.body = cards.body.replace("$18", "$20") + "\n\n## More\n\nA new section."
    cards.save()
    lines: list[str] = []
    build_index(progress=lines.append)
    assert lines[:2] == ["3 articles, 1 new or changed", "2 of 2 passages encoded"]
    assert set(kept) < set(Passage.objects.values_list("pk", flat=True))
    assert any("A new section." in text for text in encoder.encoded)


def test_another_encoder_encodes_everything_again(articles: dict[str, Article], encoder: FakeService) -> None:
    build_index()
    encoder.version = "words-2"
    build = build_index()
    assert build.encoder_version == "words-2"
    assert set(Passage.objects.values_list("encoder_version", flat=True)) == {"words-2"}


def test_passages_that_are_gone_leave_the_table(articles: dict[str, Article], encoder: FakeService) -> None:
    build_index()
    articles["cards"].body = "Short now."
    articles["cards"].save()
    build = build_index()
    assert [p.text for p in Passage.objects.filter(article=articles["cards"])] == ["Short now."]
    assert build.passages == Passage.objects.count()


def test_unpublished_articles_are_not_built_in(articles: dict[str, Article], encoder: FakeService) -> None:
    Article.objects.filter(pk=articles["cards"].pk).update(published=False)
    index = SearchIndex.load(artifact_path(build_index()))
    assert articles["cards"].pk not in index.partitions["en"].articles.tolist()


def test_an_empty_knowledge_base_can_be_built(db: None, encoder: FakeService) -> None:
    build = build_index()
    assert build.passages == 0
    assert SearchIndex.load(artifact_path(build)).size == 0


def test_articles_without_words_and_ten_equal_ones_do_no_harm(
    make_article: Callable[..., Article], encoder: FakeService
) -> None:
    make_article("empty", "   ")
    make_article("signs", "***\n\n---\n\n???")
    for number in range(10):
        make_article(f"same-{number}", "The same words stand here.")
    build = build_index()
    assert build.status == "ready"
    assert build.passages >= 10


def test_a_failure_is_told_and_the_live_index_stays(articles: dict[str, Article], encoder: FakeService) -> None:
    first = build_index()
    encoder.version = "words-2"
    encoder.error = RuntimeError("out of memory")
    with pytest.raises(IndexingError, match="RuntimeError: out of memory"):
        build_index()
    failed = IndexBuild.objects.get(status="failed")
    assert failed.error == "RuntimeError: out of memory"
    assert failed.finished_at is not None
    assert live_build() == first
    encoder.error = None
    assert build_index().is_live


def test_a_request_is_one_row_and_a_worker_runs_it_once(articles: dict[str, Article], encoder: FakeService) -> None:
    assert request_build() == request_build()
    build = run_queued_build()
    assert build is not None
    assert build.is_live
    assert run_queued_build() is None
    assert IndexBuild.objects.count() == 1


def test_a_build_whose_process_died_is_told_and_made_up_for(articles: dict[str, Article], encoder: FakeService) -> None:
    dead = IndexBuild.objects.create(status="running", started_at=timezone.now())
    build = run_queued_build()
    dead.refresh_from_db()
    assert (dead.status, dead.error) == ("failed", "The process that ran this build ended.")
    assert build is not None
    assert build.is_live


def test_nobody_builds_beside_another(
    articles: dict[str, Article], encoder: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_build()
    other = connection.copy()

    def end_of_the_other(seconds: float) -> None:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")

    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [indexing._LOCK])
        assert run_queued_build() is None
        assert IndexBuild.objects.get().status == "queued"
        monkeypatch.setattr(time, "sleep", end_of_the_other)
        lines: list[str] = []
        assert build_index(progress=lines.append).is_live
        assert lines[0] == "another process builds the index; waiting for it"
    finally:
        end_of_the_other(0.0)
        other.close()


def test_old_artifacts_are_removed_and_the_live_one_is_kept(
    articles: dict[str, Article], encoder: FakeService, artifacts_folder: Path
) -> None:
    for _ in range(indexing.KEPT_BUILDS + 2):
        build = build_index()
    left = sorted(path.name for path in artifacts_folder.iterdir() if path.name.startswith("index-"))
    assert len(left) == indexing.KEPT_BUILDS
    assert build.artifact in left


def test_the_database_keeps_one_live_build_and_only_a_ready_one(db: None) -> None:
    IndexBuild.objects.create(status="ready", is_live=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        IndexBuild.objects.create(status="ready", is_live=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        IndexBuild.objects.create(status="failed", is_live=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        Article.objects.create(slug="a", language="fr", title="A", body="b")


def test_serving_holds_what_is_live(articles: dict[str, Article], encoder: FakeService, unhurried: None) -> None:
    assert serving.current_index() is None
    first = build_index()
    held = serving.current_index()
    assert held is not None
    assert held.version == first.artifact
    second = build_index()
    swapped = serving.current_index()
    assert swapped is not None
    assert swapped.version == second.artifact
    assert held.search("card", encoder.encode_sync(["card"])[0])  # what is in flight keeps the old one
