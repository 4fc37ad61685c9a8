"""Build the index: cut the articles, encode what is new, publish an artifact, move the live mark.

An `IndexBuild` row is the job. The procedure of a build:

1. One process builds at a time: it holds an advisory lock of the database, which ends with its connection.
2. Articles whose title, text or rules of cutting have changed are cut; passages that stay the same keep their row.
3. Passages without an embedding of the current encoder are encoded and stored, batch by batch: a build that is
   interrupted starts over where it was.
4. The index is assembled and calibrated, published by rename, opened once, and marked live in one transaction.
5. Artifacts that no build needs any more are removed.

No transaction is open while texts are encoded.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from numpy.typing import NDArray

from lepton_app.lib import artifacts
from lepton_app.lib.encoding import encoder_service
from lepton_app.lib.text_runtime import EncoderService, TextEncoder
from retrieval.answering import Source
from retrieval.assembly import assemble_index, heading_of
from retrieval.chunking import DEFAULT_TOKEN_LIMIT, chunk_article
from retrieval.models import Article, IndexBuild, Passage
from retrieval.search import FORMAT_VERSION, KIND, PassageEntry, SearchIndex

logger = logging.getLogger(__name__)

Rows = NDArray[np.float32]
Progress = Callable[[str], None]

# Raise it when `chunking` cuts otherwise than before: every article is then cut again.
CUTTING_RULES = f"1/{DEFAULT_TOKEN_LIMIT}"
BATCH_PASSAGES = 256
KEPT_BUILDS = 3
_LOCK = 0x1E97_1DE5  # any number that no other advisory lock of this database uses
_LOCK_POLL_SECONDS = 0.5


class IndexingError(Exception):
    """An index could not be built; the one before stays live."""

    code = "indexing_failed"


def live_build() -> IndexBuild | None:
    """Return the build that serving processes use, or None."""
    return IndexBuild.objects.filter(is_live=True).first()


def request_build() -> IndexBuild:
    """Return the build that waits, making one if there is none; what is saved before it starts is part of it."""
    waiting = IndexBuild.objects.filter(status=IndexBuild.Status.QUEUED).first()
    if waiting is not None:
        return waiting
    try:
        with transaction.atomic():
            return IndexBuild.objects.create()
    except IntegrityError:  # another process asked at the same moment
        return IndexBuild.objects.get(status=IndexBuild.Status.QUEUED)


def run_queued_build(*, progress: Progress = lambda line: None) -> IndexBuild | None:
    """Run the waiting build and return it; None when none waits or another process is building.

    Safe to call twice and at any time. A build that fails is stored as failed and is not raised.
    """
    with _building_alone() as alone:
        if not alone:
            return None
        _give_up_abandoned()
        build = IndexBuild.objects.filter(status=IndexBuild.Status.QUEUED).first()
        if build is None or not _claim(build):
            return None
        _execute(build, progress)
        return build


def build_index(*, progress: Progress = lambda line: None) -> IndexBuild:
    """Build now and return the build, which is live; raises `IndexingError` when it failed.

    Waits for a build of another process to end first.
    """
    waited = False
    while True:
        with _building_alone() as alone:
            if alone:
                _give_up_abandoned()
                build = request_build()
                _claim(build)
                _execute(build, progress)
                break
        if not waited:
            progress("another process builds the index; waiting for it")
            waited = True
        time.sleep(_LOCK_POLL_SECONDS)
    if build.status != IndexBuild.Status.READY:
        raise IndexingError(build.error)
    return build


@contextmanager
def _building_alone() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        alone = bool(cursor.fetchone()[0])
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _claim(build: IndexBuild) -> bool:
    build.started_at = timezone.now()
    claimed = IndexBuild.objects.filter(pk=build.pk, status=IndexBuild.Status.QUEUED).update(
        status=IndexBuild.Status.RUNNING, started_at=build.started_at
    )
    build.status = IndexBuild.Status.RUNNING
    return claimed == 1


def _give_up_abandoned() -> None:
    """Nobody else builds while we hold the lock: a row that still says so was left by a process that died."""
    abandoned = IndexBuild.objects.filter(status=IndexBuild.Status.RUNNING).update(
        status=IndexBuild.Status.FAILED, error="The process that ran this build ended.", finished_at=timezone.now()
    )
    if abandoned and live_build() is None:
        request_build()


def _execute(build: IndexBuild, progress: Progress) -> None:
    try:
        path, index = _build(progress, encoder_service())
    except Exception as error:  # whatever stopped the build, its row must say so
        logger.exception("index build %s failed", build.pk)
        build.status, build.error = IndexBuild.Status.FAILED, f"{type(error).__name__}: {error}"
        build.finished_at = timezone.now()
        build.save(update_fields=["status", "error", "finished_at"])
        return
    build.status, build.error, build.artifact = IndexBuild.Status.READY, "", path.name
    build.encoder_version, build.passages = index.encoder_version, index.size
    build.finished_at, build.is_live = timezone.now(), True
    with transaction.atomic():
        IndexBuild.objects.filter(is_live=True).update(is_live=False)
        build.save()
    _remove_old()


def artifact_path(build: IndexBuild) -> Path:
    """Return the directory of a build's index."""
    return Path(settings.ARTIFACTS_DIR) / build.artifact


@dataclass(frozen=True, slots=True)
class _Cut:
    """The articles as they were when the build began."""

    sources: dict[int, Source]
    audiences: dict[int, str]


def _build(progress: Progress, service: EncoderService) -> tuple[Path, SearchIndex]:
    cut = _cut_articles(progress)
    _encode_passages(list(cut.sources), service, progress)
    entries, text_rows, heading_rows = _read_passages(cut, service.encoder)
    progress(f"assembling the index of {len(entries)} passages")
    index = assemble_index(
        entries,
        text_rows,
        heading_rows,
        encode=service.encode_sync,
        encoder_version=service.encoder.version,
        sources=cut.sources,
    )
    path = artifacts.publish(
        Path(settings.ARTIFACTS_DIR),
        kind=KIND,
        format_version=FORMAT_VERSION,
        meta=index.about,
        write=index.save,
    )
    return path, SearchIndex.load(path)


def _cut_articles(progress: Progress) -> _Cut:
    sources: dict[int, Source] = {}
    audiences: dict[int, str] = {}
    known: dict[int, set[str]] = {}
    for article_id, sha in Passage.objects.values_list("article_id", "source_sha256").distinct():
        known.setdefault(article_id, set()).add(sha)
    changed = 0
    for article in Article.objects.filter(published=True).order_by("pk").iterator(chunk_size=500):
        sources[article.pk] = Source(article.pk, article.title, article.body, article.body_sha256, article.language)
        audiences[article.pk] = article.audience
        sha = _sha(CUTTING_RULES, article.title, article.body)
        if known.get(article.pk) != {sha}:
            _cut_article(article, sha)
            changed += 1
    progress(f"{len(sources)} articles, {changed} new or changed")
    return _Cut(sources, audiences)


@transaction.atomic
def _cut_article(article: Article, source_sha: str) -> None:
    """Bring the passages of one article up to date; a passage whose words stay keeps its embedding."""
    old = {passage.ordinal: passage for passage in article.passages.all()}
    embedded = {passage.text_sha256: passage for passage in old.values() if passage.embedding is not None}
    kept: list[Passage] = []
    for chunk in chunk_article(article.body):
        passage = old.pop(chunk.ordinal, None) or Passage(article=article, ordinal=chunk.ordinal)
        sha = _sha(heading_of(article.title, chunk.section), chunk.text)
        if passage.pk is None or passage.text_sha256 != sha:
            same = embedded.get(sha)
            passage.embedding = same.embedding if same is not None else None
            passage.encoder_version = same.encoder_version if same is not None else ""
        passage.section, passage.start, passage.end = chunk.section, chunk.start, chunk.end
        passage.text, passage.tokens = chunk.text, chunk.tokens
        passage.source_sha256, passage.text_sha256 = source_sha, sha
        kept.append(passage)
    if old:
        Passage.objects.filter(pk__in=[passage.pk for passage in old.values()]).delete()
    fields = ["section", "start", "end", "text", "tokens", "embedding", "encoder_version"]
    fields += ["source_sha256", "text_sha256"]
    Passage.objects.bulk_update([passage for passage in kept if passage.pk is not None], fields)
    Passage.objects.bulk_create([passage for passage in kept if passage.pk is None])


def _encode_passages(article_ids: Sequence[int], service: EncoderService, progress: Progress) -> None:
    version = service.encoder.version
    titles = dict(Article.objects.filter(pk__in=article_ids).values_list("pk", "title"))
    missing = Passage.objects.filter(article_id__in=article_ids).exclude(
        encoder_version=version, embedding__isnull=False
    )
    waiting = list(missing.order_by("pk").values_list("pk", flat=True))
    for begin in range(0, len(waiting), BATCH_PASSAGES):
        batch = list(Passage.objects.filter(pk__in=waiting[begin : begin + BATCH_PASSAGES]).order_by("pk"))
        headings = [heading_of(titles[passage.article_id], passage.section) for passage in batch]
        distinct = list(dict.fromkeys(headings))
        rows = service.encode_sync(
            [*(f"{h}\n{p.text}" for h, p in zip(headings, batch, strict=True)), *distinct]
        ).astype(np.float16)
        place = {heading: len(batch) + i for i, heading in enumerate(distinct)}
        for i, (passage, heading) in enumerate(zip(batch, headings, strict=True)):
            passage.embedding = np.stack((rows[i], rows[place[heading]])).tobytes()
            passage.encoder_version = version
        Passage.objects.bulk_update(batch, ["embedding", "encoder_version"])
        progress(f"{min(begin + BATCH_PASSAGES, len(waiting))} of {len(waiting)} passages encoded")


def _read_passages(cut: _Cut, encoder: TextEncoder) -> tuple[list[PassageEntry], Rows, Rows]:
    entries: list[PassageEntry] = []
    rows: list[NDArray[np.float16]] = []
    passages = Passage.objects.filter(article_id__in=list(cut.sources), encoder_version=encoder.version)
    for passage in passages.order_by("article_id", "ordinal").iterator(chunk_size=2000):
        source = cut.sources[passage.article_id]
        entries.append(
            PassageEntry(
                id=passage.pk,
                article_id=passage.article_id,
                language=source.language,
                audience=cut.audiences[passage.article_id],
                heading=heading_of(source.title, passage.section),
                text=passage.text,
                start=passage.start,
                end=passage.end,
                body_sha256=source.body_sha256,
            )
        )
        rows.append(np.frombuffer(bytes(passage.embedding or b""), np.float16).reshape(2, encoder.dimension))
    both = np.array(rows, np.float32).reshape(-1, 2, encoder.dimension)
    # Rows that went through float16 are not quite of length 1.
    both /= np.maximum(np.linalg.norm(both, axis=2, keepdims=True), np.float32(1e-12))
    return entries, both[:, 0], both[:, 1]


def _remove_old() -> None:
    """Remove the artifacts of all but the newest few builds; processes that still have one open keep its files."""
    ready = IndexBuild.objects.filter(status=IndexBuild.Status.READY).exclude(artifact="").order_by("-is_live", "-pk")
    kept = set(ready.values_list("artifact", flat=True)[:KEPT_BUILDS])
    for path in artifacts.published(Path(settings.ARTIFACTS_DIR), kind=KIND):
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _sha(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
