"""Starter articles: all of them or none, and a clear word for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.models import Article, IndexBuild
from retrieval.starter_content import (
    FOLDER,
    StarterContentError,
    load_starter_articles,
    read_starter_articles,
)

GOOD = '---\ntitle: "Fees"\ncategory: money\n---\nIt costs $1.\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for language in ("en", "zh"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "fees.md").write_text(GOOD, encoding="utf-8")
    return tmp_path


def test_loads_everything_into_an_empty_table(db: None, folder: Path) -> None:
    assert load_starter_articles(folder) == 2
    article = Article.objects.get(language="en")
    assert (article.slug, article.title, article.category, article.body) == ("fees", "Fees", "money", "It costs $1.")
    assert IndexBuild.objects.get().status == "queued"


def test_a_table_with_articles_is_left_alone(db: None, folder: Path) -> None:
    load_starter_articles(folder)
    Article.objects.filter(language="zh").delete()
    with pytest.raises(StarterContentError, match="empty table only"):
        load_starter_articles(folder)
    assert Article.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no front matter", "must begin with front matter"),
        ("---\ntitle: [\n---\nText.", "no YAML"),
        ("---\ntitle: A\n---\nText.", "title and category, and nothing else"),
        ("---\ntitle: A\ncategory: b\nmore: c\n---\nText.", "title and category, and nothing else"),
        ("---\ntitle: 5\ncategory: b\n---\nText.", "title must be a text"),
        ("---\ntitle: A\ncategory: ''\n---\nText.", "category must be a text"),
        (f"---\ntitle: {'A' * 201}\ncategory: b\n---\nText.", "title must be a text of 1 to 200"),
        ("---\ntitle: A\ncategory: b\n---\n# Only a heading\n", "has no text"),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_loaded(db: None, folder: Path, text: str, message: str) -> None:
    (folder / "zh" / "fees.md").write_text(text, encoding="utf-8")
    with pytest.raises(StarterContentError, match=message) as caught:
        load_starter_articles(folder)
    assert "fees.md" in str(caught.value)
    assert not Article.objects.exists()


def test_names_encodings_and_missing_twins(folder: Path) -> None:
    (folder / "en" / "Bad Name.md").write_text(GOOD)
    with pytest.raises(StarterContentError, match="lower-case letters"):
        read_starter_articles(folder)
    (folder / "en" / "Bad Name.md").unlink()
    (folder / "en" / "alone.md").write_text(GOOD)
    with pytest.raises(StarterContentError, match="in one language only: alone"):
        read_starter_articles(folder)
    (folder / "en" / "alone.md").write_bytes(b"---\n\xff\n---\n")
    with pytest.raises(StarterContentError, match="not UTF-8"):
        read_starter_articles(folder)
    with pytest.raises(StarterContentError, match="there is no article"):
        read_starter_articles(folder / "nowhere")


def test_the_projects_own_articles_are_right() -> None:
    articles = read_starter_articles(FOLDER)
    assert sum(article.language == "en" for article in articles) >= 60
    assert sum(article.language == "zh" for article in articles) >= 60
    assert len({(article.language, article.title) for article in articles}) == len(articles)
