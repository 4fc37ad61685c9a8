"""What the knowledge base keeps: articles, their passages with embeddings, and the builds of the index."""

from __future__ import annotations

import hashlib
import re
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

_LINE_END = re.compile(r"\r\n?")


def normalise_body(body: str) -> str:
    r"""Return the source as it is stored: line ends as ``\\n``, no NUL, no white space at the end.

    >>> normalise_body("One\r\ntwo\r\n")
    'One\ntwo'
    """
    return _LINE_END.sub("\n", body).replace("\x00", "").rstrip()


def hash_body(body: str) -> str:
    """Return the sha256 of a stored body, 64 hexadecimal digits."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


class Article(models.Model):
    """A help article in one language; ``body`` is Markdown, and citations are character spans of it."""

    class Language(models.TextChoices):
        """The languages that the house speaks."""

        ENGLISH = "en", _("English")
        CHINESE = "zh", _("Chinese")

    class Audience(models.TextChoices):
        """Who may be answered from the article."""

        PUBLIC = "public", _("Everyone")
        STAFF = "staff", _("Staff only")

    slug = models.SlugField(_("slug"), max_length=100)
    language = models.CharField(_("language"), max_length=2, choices=Language.choices)
    title = models.CharField(_("title"), max_length=200)
    category = models.CharField(_("category"), max_length=50, blank=True, db_index=True)
    body = models.TextField(_("text"), help_text=_("Markdown. Raw HTML is shown as text."))
    audience = models.CharField(
        _("audience"), max_length=10, choices=Audience.choices, default=Audience.PUBLIC, db_index=True
    )
    published = models.BooleanField(_("published"), default=True, db_index=True)
    revision = models.PositiveIntegerField(_("revision"), default=1, editable=False)
    body_sha256 = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("article")
        verbose_name_plural = _("articles")
        ordering = ("title", "language")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("slug", "language"), name="article_slug_once_per_language"),
            models.CheckConstraint(condition=Q(language__in=("en", "zh")), name="article_language_known"),
            models.CheckConstraint(condition=Q(audience__in=("public", "staff")), name="article_audience_known"),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.language})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the body normalised and with its hash, so that spans mean the same everywhere."""
        self.body = normalise_body(self.body)
        self.body_sha256 = hash_body(self.body)
        update_fields = kwargs.get("update_fields")
        if update_fields is not None and "body" in update_fields:
            kwargs["update_fields"] = {*update_fields, "body_sha256"}
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        """The public page of the article."""
        return reverse("retrieval:article", args=[self.pk])


class Passage(models.Model):
    """A passage of an article as last indexed, with its embedding.

    ``text`` is what was indexed, without Markdown; ``start`` and ``end`` are its characters in the body.
    ``source_sha256`` tells whether the article has to be cut again, ``text_sha256`` whether the passage has to be
    encoded again.
    ``embedding`` holds float16 numbers: one row of the text under its headings, then one of the headings.
    """

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="passages", verbose_name=_("article"))
    ordinal = models.PositiveIntegerField(_("number"))
    section = models.TextField(_("section"), blank=True)
    start = models.PositiveIntegerField(_("start"))
    end = models.PositiveIntegerField(_("end"))
    text = models.TextField(_("text"))
    tokens = models.PositiveIntegerField(_("tokens"))
    source_sha256 = models.CharField(max_length=64)  # of the rules of cutting, the title and the body
    text_sha256 = models.CharField(max_length=64)  # of heading and text: what the embedding was made of
    embedding = models.BinaryField(null=True)
    encoder_version = models.CharField(_("encoder"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("passage")
        verbose_name_plural = _("passages")
        ordering = ("article_id", "ordinal")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("article", "ordinal"), name="passage_ordinal_once_per_article"),
            models.CheckConstraint(condition=Q(start__lte=models.F("end")), name="passage_span_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.article_id}#{self.ordinal}"


class IndexBuild(models.Model):
    """One build of the index: the row is the job, and exactly one row at most is live."""

    class Status(models.TextChoices):
        """The states of a build; ready and failed are final."""

        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")

    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.QUEUED, db_index=True)
    is_live = models.BooleanField(_("live"), default=False)
    artifact = models.CharField(_("artifact"), max_length=500, blank=True)
    encoder_version = models.CharField(_("encoder"), max_length=200, blank=True)
    passages = models.PositiveIntegerField(_("passages"), default=0)
    error = models.TextField(_("error"), blank=True)
    created_at = models.DateTimeField(_("queued"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("index build")
        verbose_name_plural = _("index builds")
        ordering = ("-id",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=("is_live",), condition=Q(is_live=True), name="one_live_index_build"),
            # One build waits at most: a second save before it starts is covered by it.
            models.UniqueConstraint(fields=("status",), condition=Q(status="queued"), name="one_queued_index_build"),
            models.CheckConstraint(
                condition=Q(is_live=False) | Q(status="ready"), name="only_a_ready_index_build_is_live"
            ),
            models.CheckConstraint(
                condition=Q(status__in=("queued", "running", "ready", "failed")), name="index_build_status_known"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_status_display()}"
