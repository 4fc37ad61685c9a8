"""Training runs: how far they are, what came out, and the steps to work: deploy, run in the shadow, cancel."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from lepton_app.learning import report_page, reports, runs
from lepton_app.learning.admin import run_parts
from lepton_app.learning.admin.base import STATUS_COLOURS, VERDICT_COLOURS, ReadOnlyAdmin, person_of
from lepton_app.learning.admin.steps import RunStepsMixin
from lepton_app.learning.errors import LearningError
from lepton_app.learning.evaluation import REPORT_FILE
from lepton_app.learning.models import Deployment, Run, Shadow

# A downloaded page runs nothing, loads nothing, sends nothing, and stands in no frame.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "sandbox"
)


@admin.register(Run)
class RunAdmin(RunStepsMixin, ReadOnlyAdmin):
    """Training runs, their state and their figures; a ready one can be deployed or run beside the model at work."""

    list_display = (
        *("number", "task", "status_badge", "at_work", "accuracy", "verdict_badge", "method"),
        *("requested_by", "created_at", "took"),
    )
    list_display_links = ("number",)
    list_filter = ("task", "status", "method", "verdict")
    list_select_related = ("task", "requested_by")
    readonly_fields = (
        *("task", "status", "method", "snapshot_link", "base_link", "learnt", "card_link"),
        *("requested_by", "created_at", "started_at", "finished_at", "took"),
        *("metrics_tables", "artifact", "encoder_artifact", "heartbeat_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Find with the rows which run is at work."""
        mark = Deployment.objects.filter(run=OuterRef("pk"), ended_at__isnull=True)
        queryset: QuerySet[Run] = super().get_queryset(request)
        return queryset.annotate(is_at_work=Exists(mark))

    def get_fieldsets(self, request: HttpRequest, obj: Run | None = None) -> list[tuple[Any, dict[str, Any]]]:
        """Fold the figures where the report shows them better."""
        folded = ["collapse"] if obj is not None and obj.report_artifact else []
        about = ["task", "status", "method", "snapshot_link", "base_link", "learnt", "card_link"]
        when = ["requested_by", "created_at", "started_at", "finished_at", "took"]
        files = ["artifact", "encoder_artifact", "heartbeat_at"]
        figures = [(_("Figures"), {"fields": ["metrics_tables"], "classes": folded})] if obj and obj.metrics else []
        return [
            (None, {"fields": [*about, *when]}),
            *figures,
            (_("On the disk"), {"fields": files, "classes": ["collapse"]}),
        ]

    def get_urls(self) -> list[URLPattern]:
        """Add what the page asks for while a run goes on, and the downloads."""
        views = (
            ("progress", self.progress_view),
            ("cancel", self.cancel_view),
            ("report.json", self.json_view),
            ("report.html", self.page_view),
            ("card.md", self.card_view),
        )
        own = [
            path(
                f"<int:object_id>/{name}" + ("" if "." in name else "/"),
                self.admin_site.admin_view(view),
                name=f"learning_run_{name.replace('.', '_')}",
            )
            for name, view in views
        ]
        return [*own, *super().get_urls()]

    # --- the list and the fields --------------------------------------------------------------------------------------

    @display(description=_("at work"), label={"now": "success"})
    def at_work(self, run: Run) -> tuple[str, str] | None:
        """Mark the run whose model is deployed."""
        return ("now", gettext("at work")) if getattr(run, "is_at_work", False) else None

    @display(description=_("run"), ordering="pk")
    def number(self, run: Run) -> str:
        """Return the run's number."""
        return f"#{run.pk}"

    @display(description=_("status"), ordering="status", label=STATUS_COLOURS)
    def status_badge(self, run: Run) -> tuple[str, str]:
        """Return the status as a badge."""
        return run.status, run.get_status_display()

    @display(description=_("gate"), ordering="verdict", label=VERDICT_COLOURS)
    def verdict_badge(self, run: Run) -> tuple[str, str] | None:
        """Return what the gate said, as a badge."""
        return (run.verdict, run.get_verdict_display()) if run.verdict else None

    @display(description=_("accuracy"))
    def accuracy(self, run: Run) -> str:
        """Return the share of right answers on texts that were held out."""
        return reports.summary(run.metrics) or "–"

    @display(description=_("took"))
    def took(self, run: Run) -> str:
        """Return how long the training took."""
        if run.started_at is None or run.finished_at is None:
            return "–"
        seconds = (run.finished_at - run.started_at).total_seconds()
        if seconds < 120:
            return gettext("%(number)s s") % {"number": f"{seconds:.1f}"}
        return gettext("%(number)s min") % {"number": f"{seconds / 60:.1f}"}

    @display(description=_("parameters learnt"))
    def learnt(self, run: Run) -> str:
        """Return how many parameters were learnt, of how many."""
        return run_parts.parameters(run.metrics) or "–"

    @display(description=_("snapshot"))
    def snapshot_link(self, run: Run) -> SafeString | str:
        """Return the snapshot with a link to it."""
        if run.snapshot is None:
            return "–"
        address = reverse("admin:learning_snapshot_change", args=[run.snapshot.pk])
        rows = gettext("%(count)s texts") % {"count": f"{run.snapshot.rows:,}"}
        return format_html('<a href="{}">{}</a> · {}', address, run.snapshot.sha256[:12], rows)

    @display(description=_("starts from"))
    def base_link(self, run: Run) -> SafeString | str:
        """Return the run that this one started from, with a link to it."""
        if run.base is None:
            return gettext("the encoder as it is")
        address = reverse("admin:learning_run_change", args=[run.base.pk])
        return format_html('<a href="{}">#{}</a> · {}', address, run.base.pk, run.base.get_method_display())

    @display(description=_("model card"))
    def card_link(self, run: Run) -> SafeString | str:
        """Return a link to the model card."""
        if run_parts.card_of(run) is None:
            return "–"
        address = reverse("admin:learning_run_card_md", args=[run.pk])
        return format_html('<a href="{}" download>{}</a>', address, gettext("Model card (Markdown)"))

    @display(description=_("metrics"))
    def metrics_tables(self, run: Run) -> SafeString:
        """Return the figures as tables."""
        return render_to_string("admin/learning/metrics.html", {"groups": reports.tables(run.metrics)})

    # --- the page -----------------------------------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a run with its progress, its gate and its report."""
        run = self.get_object(request, object_id)
        extra = self._page_context(request, run) if run is not None else {}
        return super().change_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def _page_context(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        if not self.has_view_permission(request, run):
            return {}
        found = run_parts.report_of(run)
        told = run_parts.options_of(run)
        shadow = Shadow.objects.filter(run=run, ended_at__isnull=True).first()
        may_see_shadow = request.user.has_perm("learning.view_shadow")
        return {
            "title": gettext("Training run #%(number)s") % {"number": run.pk},
            "live": run_parts.live(run),
            "live_url": reverse("admin:learning_run_progress", args=[run.pk]),
            "cancel_url": reverse("admin:learning_run_cancel", args=[run.pk]),
            "can_cancel": self.has_train_permission(request) and not run.is_cancel_requested,
            "gate": run_parts.gate_of(run),
            "shadow": shadow,
            "shadow_url": reverse("admin:learning_shadow_change", args=[shadow.pk])
            if shadow and may_see_shadow
            else "",
            "options": told,
            "changed": [row for row in told if row.differs],
            "usual": [row for row in told if not row.differs],
            "history_charts": run_parts.live_charts(run) if found.report is None else "",
            "report": (
                render_to_string("learning/report_body.html", report_page.context_of(found.report))
                if found.report is not None
                else ""
            ),
            "report_problem": found.problem,
            "json_url": reverse("admin:learning_run_report_json", args=[run.pk]),
            "page_url": reverse("admin:learning_run_report_html", args=[run.pk]),
        }

    def progress_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Tell a page how far the run is; it says how many points of the curves it shows."""
        run = self._visible(request, object_id)
        shown = request.GET.get("points", "")
        told = run_parts.live(run, points_shown=int(shown) if shown.isdecimal() and len(shown) < 10 else None)
        return JsonResponse(told, headers={"Cache-Control": "no-store"})

    def cancel_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """End a run that waits or works."""
        run = self._visible(request, object_id)
        if not self.has_train_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            runs.cancel(run, by=person_of(request))
        except LearningError as error:
            messages.error(request, str(error))
        else:
            said = gettext("Run #%(number)s is being cancelled.") % {"number": run.pk}
            self.log_change(request, run, said)
            messages.success(request, said)
        return HttpResponseRedirect(reverse("admin:learning_run_change", args=[run.pk]))

    def json_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Send the report as JSON, byte for byte as it was published."""
        run, _report = self._reported(request, object_id)
        content = (settings.ARTIFACTS_DIR / run.report_artifact / REPORT_FILE).read_bytes()
        return _download(content, f"run-{run.pk}-report.json", "application/json")

    def page_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Send the report as one HTML page in the reader's language."""
        run, report = self._reported(request, object_id)
        content = report_page.render(report).encode("utf-8", errors="replace")
        response = _download(content, f"run-{run.pk}-report.html", "text/html; charset=utf-8")
        response["Content-Security-Policy"] = PAGE_POLICY
        return response

    def card_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Send the model card."""
        run = self._visible(request, object_id)
        card = run_parts.card_of(run)
        if card is None:
            raise Http404
        return _download(card.read_bytes(), f"run-{run.pk}-model-card.md", "text/markdown; charset=utf-8")

    def _visible(self, request: HttpRequest, object_id: int) -> Run:
        """Return a run that this person may look at; 404 where there is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run: Run = self.found(request, str(object_id))
        return run

    def _reported(self, request: HttpRequest, object_id: int) -> tuple[Run, report_page.Report]:
        run = self._visible(request, object_id)
        found = run_parts.report_of(run)
        if found.report is None:
            raise Http404(found.problem)
        return run, found.report


def _download(content: bytes, name: str, content_type: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type=content_type, headers=headers)
