"""Snapshots: what runs have learnt from, frozen."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from lepton_app.learning.admin.base import ReadOnlyAdmin, count_of
from lepton_app.learning.models import Run, Snapshot


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    """What runs have learnt from, frozen."""

    list_display = ("short_sha256", "task", "rows", "label_count", "run_count", "created_at")
    list_filter = ("task",)
    list_select_related = ("task",)
    search_fields = ("sha256",)
    fields = (
        *("task", "sha256", "rows", "label_count", "validation_rows", "holdout_rows"),
        *("out_of_scope_rows", "disputed_rows", "artifact", "created_at"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Snapshot]:
        """Count runs with the rows."""
        queryset: QuerySet[Snapshot] = super().get_queryset(request)
        return queryset.annotate(runs_there=count_of(Run.objects.all(), "snapshot"))

    @display(description=_("sha256"))
    def short_sha256(self, snapshot: Snapshot) -> str:
        """Return the beginning of the hash."""
        return snapshot.sha256[:12]

    @display(description=_("runs"), ordering="runs_there")
    def run_count(self, snapshot: Snapshot) -> int:
        """Return how many runs learnt from it."""
        return getattr(snapshot, "runs_there", 0)
