"""The index that is live, in this process, and the answer to a question from it.

Call these on a thread of one's own with no transaction open: they query the database a little and compute a lot.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from lepton_app.lib import languages
from lepton_app.lib.deployed import Deployed, NotDeployed
from lepton_app.lib.encoding import encoder_service
from retrieval.answering import Answer, Embed, Source, compose_answer
from retrieval.models import Article, IndexBuild
from retrieval.search import PUBLIC, Hit, SearchIndex

Rows = NDArray[np.float32]

POLL_SECONDS = 1.0
HITS = 8
# How often a search is repeated without the articles that turned out to be unpublished since the index was built.
MOST_SEARCHES = 4


class IndexMissing(NotDeployed):
    """There is no index to answer from, or the only one could not be opened."""

    code = "index_missing"


class EncoderMismatchError(Exception):
    """The live index was built with another encoder than this process runs; it must be built again."""

    code = "encoder_mismatch"


def _live_artifact() -> str | None:
    return IndexBuild.objects.filter(is_live=True).values_list("artifact", flat=True).first()


def _open(artifact: str) -> SearchIndex:
    return SearchIndex.load(Path(settings.ARTIFACTS_DIR) / artifact)


_index: Deployed[str, SearchIndex] = Deployed(_live_artifact, _open, name="search index", poll_seconds=POLL_SECONDS)


def current_index() -> SearchIndex | None:
    """Return the live index, noticing another one within about a second; None when there is none to serve.

    An index that cannot be opened is logged with its reason, and the one before goes on serving.
    """
    try:
        return _index.get()
    except NotDeployed:
        return None


def forget_index() -> None:
    """Let go of the index that is held, so that the next question opens the live one (for tests)."""
    _index.forget()


def answer_question(
    question: str,
    *,
    language: str | None = None,
    embedding: Rows | None = None,
    audiences: Collection[str] = PUBLIC,
) -> Answer:
    """Answer from the live index's published articles, or refuse.

    ``language`` is the question's own when None; ``embedding`` its ``(d,)`` unit row, computed when None. Raises
    `IndexMissing`, `EncoderMismatchError`, and what the database or the encoder raises.
    """
    try:
        index = _index.get()
    except NotDeployed as error:
        raise IndexMissing(str(error)) from error
    service = encoder_service()
    if index.encoder_version != service.encoder.version:
        raise EncoderMismatchError(
            f"The live index was built with {index.encoder_version}, this process runs {service.encoder.version}: "
            "build the index again (manage.py prepare)."
        )
    row = service.encode_sync([question])[0] if embedding is None else embedding
    return answer_from(index, question, row, language=language, embed=service.encode_sync, audiences=audiences)


def answer_from(
    index: SearchIndex,
    question: str,
    row: Rows,
    *,
    language: str | None,
    embed: Embed,
    audiences: Collection[str] = PUBLIC,
) -> Answer:
    """Answer from one index: from the articles of the question's language, and from others only if these support none.

    ``row`` is the question's ``(d,)`` unit row. Whether an article is published is asked of the database each time.
    """
    refusal: Answer | None = None
    for searched in index.languages_for(language or languages.detect(question)):
        partition = index.partitions[searched]
        hits, sources = published_hits(index, question, row, language=searched, audiences=audiences)
        answer = compose_answer(
            question,
            row,
            hits,
            sources,
            weigh=partition.lexical.weights,
            trust=partition.trust,
            calibration=partition.calibration,
            embed=embed,
        )
        answer.lineage.update(index_version=index.version, encoder_version=index.encoder_version, language=searched)
        if not answer.refused:
            return answer
        refusal = refusal or answer
    if refusal is not None:
        return refusal
    lineage = {"index_version": index.version, "encoder_version": index.encoder_version, "passages": []}
    return Answer((), 0.0, refused=True, threshold=1.0, lineage=lineage)


def published_hits(
    index: SearchIndex,
    question: str,
    row: Rows,
    *,
    language: str,
    limit: int = HITS,
    audiences: Collection[str] = PUBLIC,
) -> tuple[list[Hit], dict[int, Source]]:
    """Search, and look up the articles as they are now; what is not published now is left out and searched without."""
    gone: set[int] = set()
    hits: list[Hit] = []
    sources: dict[int, Source] = {}
    for _ in range(MOST_SEARCHES):
        hits = index.search(question, row, language=language, limit=limit, audiences=audiences, excluded_articles=gone)
        sources = _published({hit.article_id for hit in hits}, audiences)
        missing = {hit.article_id for hit in hits} - sources.keys()
        if not missing:
            break
        gone |= missing
    return [hit for hit in hits if hit.article_id in sources], sources


def _published(article_ids: Collection[int], audiences: Collection[str]) -> dict[int, Source]:
    articles = Article.objects.filter(pk__in=article_ids, published=True, audience__in=list(audiences))
    return {
        article.pk: Source(article.pk, article.title, article.body, article.body_sha256, article.language)
        for article in articles.only("title", "body", "body_sha256", "language")
    }
