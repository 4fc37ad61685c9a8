"""Training runs: their state, their figures, and the step to work."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from lepton_app.learning import deployments, reports
from lepton_app.learning.admin.base import (
    STATUS_COLOURS,
    ConfirmedStepMixin,
    ReadOnlyAdmin,
    person_of,
)
from lepton_app.learning.models import Deployment, Run


@admin.register(Run)
class RunAdmin(ConfirmedStepMixin, ReadOnlyAdmin):
    """Training runs, their state and their figures; a ready one can be deployed."""

    list_display = (
        "number",
        "task",
        "status_badge",
        "at_work",
        "accuracy",
        "step",
        "requested_by",
        "created_at",
        "took",
    )
    list_display_links = ("number",)
    list_filter = ("task", "status", "method")
    list_select_related = ("task", "requested_by")
    fields = (
        *("task", "status", "step", "error", "method", "snapshot", "metrics_tables", "artifact"),
        *("requested_by", "created_at", "started_at", "heartbeat_at", "finished_at", "took"),
    )
    readonly_fields = fields
    actions_detail = ("deploy",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Find with the rows which run is at work."""
        mark = Deployment.objects.filter(run=OuterRef("pk"), ended_at__isnull=True)
        queryset: QuerySet[Run] = super().get_queryset(request)
        return queryset.annotate(is_at_work=Exists(mark))

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

    @display(description=_("metrics"))
    def metrics_tables(self, run: Run) -> SafeString:
        """Return the figures as tables."""
        return render_to_string("admin/learning/metrics.html", {"groups": reports.tables(run.metrics)})

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer *Deploy* where there is a model to deploy."""
        is_ready = Run.objects.filter(pk=object_id, status=Run.Status.READY).exists()
        return super().get_actions_detail(request, object_id) if is_ready else []

    @action(
        description=_("Deploy"),
        url_path="deploy",
        permissions=["deploy"],
        icon="rocket_launch",
        variant=ActionVariant.PRIMARY,
    )
    def deploy(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put the run's model to work."""
        run = self.found(request, object_id)
        at_work = deployments.current(run.task.name)

        def step() -> str:
            deployments.deploy(run, by=person_of(request))
            return gettext("Run #%(number)s is at work.") % {"number": run.pk}

        now = f"#{at_work.run_id}" if at_work is not None else "–"
        return self.confirmed_step(
            request,
            run,
            step=step,
            question=gettext("Put run #%(number)s of “%(task)s” to work?") % {"number": run.pk, "task": run.task},
            consequences=[
                gettext("At work now: %(run)s.") % {"run": now},
                gettext("Every conversation is answered by the new model within a few seconds."),
            ],
            submit=gettext("Deploy"),
        )
