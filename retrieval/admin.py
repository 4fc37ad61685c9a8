"""The staff's face of the knowledge base: articles with a preview, their passages, and the builds of the index."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from retrieval import publishing
from retrieval.indexing import request_build
from retrieval.markdown import render_html
from retrieval.models import Article, IndexBuild, Passage
from retrieval.tasks import nudge_index_worker

_EXCERPT_CHARACTERS = 160


class PassageInline(TabularInline):
    """The passages of an article as last indexed, to look at."""

    model = Passage
    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = False
    tab = True
    verbose_name_plural = _("passages as last indexed")
    fields = ("ordinal", "section", "excerpt", "tokens")
    readonly_fields = fields

    @display(description=_("text"))
    def excerpt(self, passage: Passage) -> str:
        """Return the beginning of the text."""
        return Truncator(passage.text).chars(_EXCERPT_CHARACTERS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Passage]:
        """Leave the embeddings where they are."""
        return super().get_queryset(request).defer("embedding")

    def has_add_permission(self, request: HttpRequest, obj: Article | None = None) -> bool:
        """Passages are cut by the index build."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Article | None = None) -> bool:
        """Passages are cut by the index build."""
        return False


@admin.register(Article)
class ArticleAdmin(ModelAdmin):
    """Help articles; saving one schedules an index build."""

    list_display = ("title", "language_badge", "category", "published", "passage_count", "revision", "updated_at")
    list_filter = ("language", "category", "published", "audience")
    search_fields = ("title", "slug", "body")
    search_help_text = _("Title, slug or text")
    prepopulated_fields = {"slug": ("title",)}
    readonly_fields = ("preview", "revision", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": (("title", "slug"), ("language", "category"), ("audience", "published"), "body")}),
        (_("Preview"), {"fields": ("preview",), "classes": ("tab",)}),
        (_("History"), {"fields": (("revision", "created_at", "updated_at"),), "classes": ("tab",)}),
    )
    inlines = (PassageInline,)
    actions = ("publish_selected", "unpublish_selected")
    list_per_page = 50
    date_hierarchy = "updated_at"
    warn_unsaved_form = True

    @display(description=_("language"), ordering="language", label={"en": "info", "zh": "success"})
    def language_badge(self, article: Article) -> tuple[str, str]:
        """Return the language as a coloured badge."""
        return article.language, article.get_language_display()

    @display(description=_("passages"), ordering="held_passages")
    def passage_count(self, article: Article) -> int:
        """Return how many passages the article has in the index; 0 before it was first indexed."""
        return getattr(article, "held_passages", 0)

    @display(description=_("as the customer sees it"))
    def preview(self, article: Article) -> str | SafeString:
        """Return the article as saved, as sanitised HTML."""
        if not article.body:
            return "–"
        html = mark_safe(render_html(article.body))  # noqa: S308 - sanitised by render_html
        return format_html('<div class="prose dark:prose-invert max-w-none">{}</div>', html)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Article]:
        """Count the passages with the rows."""
        return super().get_queryset(request).annotate(held_passages=Count("passages"))

    def save_model(self, request: HttpRequest, obj: Article, form: ModelForm[Article], change: bool) -> None:
        """Save as an operation does, and have the index built."""
        publishing.save_article(obj)
        nudge_index_worker()

    def delete_model(self, request: HttpRequest, obj: Article) -> None:
        """Delete the article and have the index built without it."""
        super().delete_model(request, obj)
        _schedule_build()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Article]) -> None:
        """Delete the articles and have the index built without them."""
        super().delete_queryset(request, queryset)
        _schedule_build()

    @action(description=_("Publish the selected articles"), permissions=["change"])
    def publish_selected(self, request: HttpRequest, queryset: QuerySet[Article]) -> None:
        """Let the articles be found."""
        for article in queryset:
            publishing.publish_article(article)
        self._say_scheduled(request, queryset.count())

    @action(description=_("Unpublish the selected articles"), permissions=["change"])
    def unpublish_selected(self, request: HttpRequest, queryset: QuerySet[Article]) -> None:
        """Keep the articles out of every answer from now on."""
        for article in queryset:
            publishing.unpublish_article(article)
        self._say_scheduled(request, queryset.count())

    def _say_scheduled(self, request: HttpRequest, count: int) -> None:
        nudge_index_worker()
        text = ngettext(
            "%(count)d article changed; the index is being built.",
            "%(count)d articles changed; the index is being built.",
            count,
        )
        messages.success(request, text % {"count": count})


class ReadOnlyAdmin(ModelAdmin):
    """A list to look at: rows come and go by the operations alone."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes what has happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes what has happened."""
        return False


@admin.register(Passage)
class PassageAdmin(ReadOnlyAdmin):
    """What the index was built from."""

    list_display = ("article", "ordinal", "section", "excerpt", "tokens", "encoder_version")
    list_filter = ("article__language", "article__category", "encoder_version")
    search_fields = ("text", "section", "article__title")
    list_select_related = ("article",)
    fields = ("article", "ordinal", "section", "start", "end", "tokens", "encoder_version", "text")
    list_per_page = 50

    @display(description=_("text"))
    def excerpt(self, passage: Passage) -> str:
        """Return the beginning of the text."""
        return Truncator(passage.text).chars(_EXCERPT_CHARACTERS)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Passage]:
        """Leave the embeddings where they are."""
        return super().get_queryset(request).defer("embedding")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Passages go with their article alone: whoever may delete that may delete them with it."""
        return obj is not None and request.user.has_perm("retrieval.delete_article")


@admin.register(IndexBuild)
class IndexBuildAdmin(ReadOnlyAdmin):
    """Builds of the index: which one serves, what the others came to."""

    list_display = ("id", "status_badge", "is_live", "passages", "encoder_version", "created_at", "duration", "reason")
    list_filter = ("status", "is_live")
    search_fields = ("artifact", "error", "encoder_version")
    list_display_links = ("id",)
    list_per_page = 50

    @display(
        description=_("status"),
        ordering="status",
        label={"queued": "info", "running": "warning", "ready": "success", "failed": "danger"},
    )
    def status_badge(self, build: IndexBuild) -> tuple[str, str]:
        """Return the status as a coloured badge."""
        return build.status, build.get_status_display()

    @display(description=_("seconds"))
    def duration(self, build: IndexBuild) -> str:
        """Return how long the build took, in seconds."""
        if build.started_at is None or build.finished_at is None:
            return "–"
        return f"{(build.finished_at - build.started_at).total_seconds():.1f}"

    @display(description=_("error"), ordering="error")
    def reason(self, build: IndexBuild) -> str:
        """Return the beginning of the error."""
        return Truncator(build.error).chars(_EXCERPT_CHARACTERS)


def _schedule_build() -> None:
    request_build()
    nudge_index_worker()
