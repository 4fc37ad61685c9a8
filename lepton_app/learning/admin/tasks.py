"""Tasks: what they have, what is at work, and where training begins and is rolled back."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from lepton_app.learning import deployments, tasks
from lepton_app.learning.admin.base import STATUS_COLOURS, ConfirmedStepMixin, count_of, person_of
from lepton_app.learning.admin.training import TrainForm, presets
from lepton_app.learning.models import Deployment, Label, Run, Sample, Task
from lepton_app.lib.nudges import nudge_on_commit


@admin.register(Task)
class TaskAdmin(ConfirmedStepMixin, ModelAdmin):
    """Tasks with what they have and what is at work; training begins and is rolled back here."""

    list_display = ("title", "name", "label_count", "sample_count", "newest_run", "at_work")
    search_fields = ("name", "title")
    fields = ("name", "title", "description", "created_at")
    readonly_fields = ("created_at",)
    actions_detail = ("train", "roll_back")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """Count labels and samples, and find the newest run and the deployed one, with the rows."""
        newest = Run.objects.filter(task=OuterRef("pk")).order_by("-pk")
        at_work = Deployment.objects.filter(task=OuterRef("pk"), ended_at__isnull=True)
        queryset: QuerySet[Task] = super().get_queryset(request)
        return queryset.annotate(
            labels_there=count_of(Label.objects.all(), "task"),
            samples_there=count_of(Sample.objects.all(), "task"),
            newest_status=Subquery(newest.values("status")[:1]),
            run_at_work=Subquery(at_work.values("run_id")[:1]),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Task | None = None) -> tuple[str, ...]:
        """Keep the name, by which commands and code know the task, once it is there."""
        return ("name", "created_at") if obj is not None else ("created_at",)

    @display(description=_("labels"), ordering="labels_there")
    def label_count(self, task: Task) -> int:
        """Return how many labels the task has."""
        return getattr(task, "labels_there", 0)

    @display(description=_("samples"), ordering="samples_there")
    def sample_count(self, task: Task) -> int:
        """Return how many texts the task has."""
        return getattr(task, "samples_there", 0)

    @display(description=_("newest run"), label=STATUS_COLOURS)
    def newest_run(self, task: Task) -> tuple[str, str] | None:
        """Return the status of the newest run as a badge."""
        status = getattr(task, "newest_status", None)
        return (status, str(Run.Status(status).label)) if status else None

    @display(description=_("at work"))
    def at_work(self, task: Task) -> str:
        """Return the run whose model is deployed."""
        run_id = getattr(task, "run_at_work", None)
        return f"#{run_id}" if run_id is not None else "–"

    @action(
        description=_("Train"),
        url_path="train",
        permissions=["train"],
        icon="model_training",
        variant=ActionVariant.PRIMARY,
    )
    def train(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how to train; on POST queue a run on the labels as they are now, or say what is wrong."""
        task = self.found(request, object_id)
        form = TrainForm(request.POST or None, task=task, initial={"method": _usual_method(task)})
        if request.method == "POST" and form.is_valid():
            run = form.queue(by=person_of(request))
            if run is not None:
                # The row is the job: when the nudge cannot be sent, the sweep finds the row.
                nudge_on_commit(tasks.execute_run, run.pk)
                said = gettext("Run #%(number)s is queued.") % {"number": run.pk}
                self.log_change(request, task, said)
                messages.success(request, said)
                may_look = request.user.has_perm("learning.view_run")
                name, pk = ("run", run.pk) if may_look else ("task", task.pk)
                return HttpResponseRedirect(reverse(f"admin:learning_{name}_change", args=[pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Train “%(task)s” on its labels as they are now") % {"task": task},
            "opts": self.opts,
            "original": task,
            "form": form,
            "presets": presets(),
            "sizes": gettext("%(samples)s samples, %(labels)s labels.")
            % {"samples": self.sample_count(task), "labels": self.label_count(task)},
            "back": reverse("admin:learning_task_change", args=[task.pk]),
        }
        return TemplateResponse(request, "admin/learning/train.html", context)

    @action(
        description=_("Roll back"),
        url_path="roll-back",
        permissions=["deploy"],
        icon="undo",
        variant=ActionVariant.DANGER,
    )
    def roll_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put the model to work that was at work before."""
        task = self.found(request, object_id)

        def step() -> str:
            deployment = deployments.roll_back(task, by=person_of(request))
            return gettext("Run #%(number)s is at work again.") % {"number": deployment.run_id}

        return self.confirmed_step(
            request,
            task,
            step=step,
            question=gettext("Put the earlier model of “%(task)s” back to work?") % {"task": task},
            consequences=[
                gettext("At work now: %(run)s.") % {"run": self.at_work(task)},
                gettext("Every conversation is answered by the earlier model within a few seconds."),
            ],
            submit=gettext("Roll back"),
        )


def _usual_method(task: Task) -> str:
    """Return the method of the task's newest run that trained a classifier, which is likely to be wanted again."""
    newest = Run.objects.filter(task=task).exclude(method=Run.Method.PRETRAIN).order_by("-pk").first()
    return newest.method if newest is not None else Run.Method.HEAD.value
