"""The staff's face of monitoring: items are looked at, never changed here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from monitoring import dashboard
from monitoring.models import Item


class SourceFilter(admin.SimpleListFilter):
    """Sources by name, read by one index probe each; Django's own filter reads the whole table for them."""

    title = _("source")
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return every source there is."""
        return [(source, source) for source in dashboard.sources()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Item]) -> QuerySet[Item]:
        """Narrow the list to the chosen source."""
        return queryset.filter(source=self.value()) if self.value() else queryset


@admin.register(Item)
class ItemAdmin(ModelAdmin):
    """News items and posts as their sources published them; read-only."""

    list_display = ("headline", "source", "language", "published_at", "received_at")
    list_filter = (SourceFilter, "language", "published_at")
    search_fields = ("title", "text")
    search_help_text = _("Words in title or text")
    date_hierarchy = "published_at"
    ordering = ("-published_at", "-id")
    list_per_page = 50
    show_full_result_count = False
    paginator = InfinitePaginator  # counting a million rows takes longer than showing fifty
    fields = ("title", "text", "source", "guid", "address", "language", "published_at", "received_at")
    readonly_fields = fields

    @display(description=_("headline"), ordering="title")
    def headline(self, item: Item) -> str:
        """Return the title, or the beginning of a post."""
        return item.title or f"{item.text[:100]}{'…' if len(item.text) > 100 else ''}"

    @display(description=_("address"))
    def address(self, item: Item) -> str:
        """Return a link to where the item was published; the stream lets only http and https in."""
        if not item.url.startswith(("http://", "https://")):
            return item.url or "–"
        return format_html(
            '<a href="{}" target="_blank" rel="noopener noreferrer nofollow" class="text-link">{}</a>',
            item.url,
            item.url,
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds items by hand: they enter through the stream."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Item | None = None) -> bool:
        """Nobody changes what a source has published."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Item | None = None) -> bool:
        """Nobody deletes items here."""
        return False
