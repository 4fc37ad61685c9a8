"""Load the starter articles: Markdown files with a title and a category in front, ``<language>/<slug>.md``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction

from retrieval.indexing import request_build
from retrieval.markdown import parse_blocks
from retrieval.models import Article

FOLDER = Path(__file__).resolve().parent / "starter"
LANGUAGES = ("en", "zh")
_KEYS = {"title", "category"}
_FRONT = re.compile(r"\A---\n(?P<front>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_TITLE = 200
_LONGEST_CATEGORY = 50


class StarterContentError(Exception):
    """A starter article is wrong, or the table is not empty; nothing was loaded."""

    code = "starter_content"


@dataclass(frozen=True, slots=True)
class StarterArticle:
    """One file, read and checked."""

    slug: str
    language: str
    title: str
    category: str
    body: str


def load_starter_articles(folder: Path = FOLDER) -> int:
    """Load every article of a folder into an empty table and return how many there are; all or nothing.

    Raises `StarterContentError`, which names the file and what is wrong with it.
    """
    articles = read_starter_articles(folder)
    with transaction.atomic():
        if Article.objects.exists():
            raise StarterContentError("Starter articles go into an empty table only; this one has articles.")
        for article in articles:
            Article.objects.create(
                slug=article.slug,
                language=article.language,
                title=article.title,
                category=article.category,
                body=article.body,
            )
        request_build()
    return len(articles)


def read_starter_articles(folder: Path = FOLDER) -> list[StarterArticle]:
    """Read and check every article of a folder, in the order of language and slug."""
    articles: list[StarterArticle] = []
    slugs: dict[str, set[str]] = {}
    for language in LANGUAGES:
        paths = sorted((folder / language).glob("*.md"))
        if not paths:
            raise StarterContentError(f"{folder / language}: there is no article (*.md).")
        articles.extend(read_article(path, language) for path in paths)
        slugs[language] = {path.stem for path in paths}
    alone = sorted(slugs["en"] ^ slugs["zh"])
    if alone:
        raise StarterContentError(f"{folder}: in one language only: {', '.join(alone)}.")
    return articles


def read_article(path: Path, language: str) -> StarterArticle:
    """Read one file; raises `StarterContentError` with its name for whatever is wrong."""
    if not _SLUG.fullmatch(path.stem):
        raise StarterContentError(f"{path}: the name must be lower-case letters, digits and single hyphens.")
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise StarterContentError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}).") from error
    match = _FRONT.match(text)
    if match is None:
        raise StarterContentError(f"{path}: must begin with front matter between two lines of three hyphens.")
    try:
        front: Any = yaml.safe_load(match["front"])
    except yaml.YAMLError as error:
        raise StarterContentError(f"{path}: the front matter is no YAML: {error}") from error
    if not isinstance(front, dict) or set(front) != _KEYS:
        raise StarterContentError(f"{path}: the front matter must hold title and category, and nothing else.")
    title, category, body = front["title"], front["category"], match["body"].strip()
    for name, value, longest in (("title", title, _LONGEST_TITLE), ("category", category, _LONGEST_CATEGORY)):
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise StarterContentError(f"{path}: {name} must be a text of 1 to {longest} characters.")
    if not any(block.kind != "heading" for block in parse_blocks(body)):
        raise StarterContentError(f"{path}: the article has no text.")
    return StarterArticle(path.stem, language, title.strip(), category.strip(), body)
