"""Save, publish and unpublish articles: the one way in which an article changes.

An operation stores the article and makes sure that a build waits, in one transaction; the caller nudges the worker
after the commit (see `retrieval.tasks`). What is unpublished is left out of the next answer at once, for answers ask
the database; what is published or edited is found as soon as the next index is live.
"""

from __future__ import annotations

from django.db import transaction

from retrieval.indexing import request_build
from retrieval.models import Article, IndexBuild


@transaction.atomic
def save_article(article: Article) -> IndexBuild:
    """Store a new or edited article as its next revision and return the build that will have it.

    An article whose text, title, language, audience and publication are as stored keeps its revision.
    """
    if article.pk is None:
        article.revision = 1
    else:
        stored = Article.objects.select_for_update().get(pk=article.pk)
        if _content(stored) != _content(article):
            article.revision = stored.revision + 1
    article.save()
    return request_build()


def publish_article(article: Article) -> IndexBuild:
    """Let the article be found; does nothing but ask for a build when it is published already."""
    return _set_published(article, published=True)


def unpublish_article(article: Article) -> IndexBuild:
    """Keep the article out of every answer from now on."""
    return _set_published(article, published=False)


@transaction.atomic
def _set_published(article: Article, *, published: bool) -> IndexBuild:
    stored = Article.objects.select_for_update().get(pk=article.pk)
    if stored.published != published:
        stored.published = published
        stored.revision += 1
        stored.save(update_fields=["published", "revision", "updated_at"])
    article.published, article.revision = stored.published, stored.revision
    return request_build()


def _content(article: Article) -> tuple[object, ...]:
    return (
        article.slug,
        article.language,
        article.title,
        article.category,
        article.body,
        article.audience,
        article.published,
    )
