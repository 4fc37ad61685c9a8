"""The staff's face of learning: what is labelled, what was trained, what is at work, and the steps between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, IntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from lepton_app.learning import deployments, labelling, reports, runs, tasks
from lepton_app.learning.errors import LearningError
from lepton_app.learning.labelling import Labelled
from lepton_app.learning.models import Annotation, Deployment, Label, Run, Sample, Snapshot, Task
from lepton_app.lib.nudges import nudge_on_commit

TRAIN = "learning.add_run"
DEPLOY = "learning.deploy_run"
_EXCERPT_CHARS = 100
_STATUS_COLOURS = {
    Run.Status.QUEUED.value: "info",
    Run.Status.RUNNING.value: "warning",
    Run.Status.READY.value: "success",
    Run.Status.FAILED.value: "danger",
}


class ReadOnlyAdmin(ModelAdmin):
    """A list to look at: rows come and go by the operations alone."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes what has happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes what has happened."""
        return False


class ConfirmedStepMixin:
    """Steps that change what customers meet: GET asks, POST does.

    Their permissions go through the methods below. Unfold also takes a permission's dotted name, but then asks the
    database for it in a system check, which fails before the first migration.
    """

    def has_train_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        """Tell whether this person may queue a training run."""
        return request.user.has_perm(TRAIN)

    def has_deploy_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        """Tell whether this person may change which model is at work."""
        return request.user.has_perm(DEPLOY)

    def confirmed_step(
        self,
        request: HttpRequest,
        found: Model,
        *,
        step: Callable[[], str],
        question: str,
        consequences: list[str],
        submit: str,
    ) -> HttpResponse:
        """Ask on GET; on POST take ``step``, show what it returns or the learning error it raises, and go back."""
        assert isinstance(self, ModelAdmin)
        back = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[found.pk])
        if request.method == "POST":
            try:
                done = step()
            except LearningError as error:
                messages.error(request, str(error))
            else:
                self.log_change(request, found, done)
                messages.success(request, done)
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": question,
            "opts": self.opts,
            "original": found,
            "question": question,
            "consequences": consequences,
            "submit_text": submit,
            "back": back,
        }
        return TemplateResponse(request, "admin/learning/confirm.html", context)

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row that a step is about; 404 when there is none."""
        assert isinstance(self, ModelAdmin)
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404
        return found


def _count(queryset: QuerySet[Any], key: str) -> Coalesce:
    """Count related rows in a subquery: joins of several relations would multiply each other."""
    counted = queryset.filter(**{key: OuterRef("pk")}).order_by().values(key).annotate(count=Count("pk"))
    return Coalesce(Subquery(counted.values("count"), output_field=IntegerField()), 0)


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # admin_view lets nobody else in
    return request.user


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
            labels_there=_count(Label.objects.all(), "task"),
            samples_there=_count(Sample.objects.all(), "task"),
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

    @display(description=_("newest run"), label=_STATUS_COLOURS)
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
        """Queue a training run on the labels as they are now."""
        task = self.found(request, object_id)

        def step() -> str:
            run = runs.request_run(task, method=Run.Method.HEAD, requested_by=_person(request))
            # The row is the job: when the nudge cannot be sent, the sweep finds the row.
            nudge_on_commit(tasks.execute_run, run.pk)
            return gettext("Run #%(number)s is queued.") % {"number": run.pk}

        return self.confirmed_step(
            request,
            task,
            step=step,
            question=gettext("Train “%(task)s” on its labels as they are now?") % {"task": task},
            consequences=[
                gettext("%(samples)s samples, %(labels)s labels.")
                % {"samples": self.sample_count(task), "labels": self.label_count(task)},
                gettext("The model at work stays until the new one is deployed."),
            ],
            submit=gettext("Train"),
        )

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
            deployment = deployments.roll_back(task, by=_person(request))
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


class LabelForm(forms.ModelForm):
    """Refuses a name that another label of the task has, up to capitals and white space."""

    def clean_name(self) -> str:
        """Return the name with single spaces."""
        return " ".join(self.cleaned_data["name"].split())

    def clean(self) -> dict[str, Any] | None:
        """Compare with the task's other labels."""
        cleaned = super().clean() or self.cleaned_data
        task = cleaned.get("task") or (self.instance.task if self.instance.pk else None)
        others = Label.objects.filter(task=task, name__iexact=cleaned.get("name", "")).exclude(pk=self.instance.pk)
        if task is not None and (other := others.first()) is not None:
            raise ValidationError({"name": gettext("There is the label “%(name)s” already.") % {"name": other.name}})
        return cleaned


@admin.register(Label)
class LabelAdmin(ModelAdmin):
    """The classes of a task, and how many texts stand under each."""

    form = LabelForm
    list_display = ("name", "task", "samples_there", "is_active", "created_at")
    list_filter = ("task", "is_active")
    list_select_related = ("task",)
    list_per_page = 100
    search_fields = ("name",)
    fields = ("task", "name", "is_active", "created_at")
    ordering = ("task", "name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Label]:
        """Count samples with the rows."""
        queryset: QuerySet[Label] = super().get_queryset(request)
        return queryset.annotate(sample_count=_count(Sample.objects.all(), "label"))

    def get_readonly_fields(self, request: HttpRequest, obj: Label | None = None) -> tuple[str, ...]:
        """Keep a label in its task: its samples belong to that task too."""
        return ("task", "created_at") if obj is not None else ("created_at",)

    @display(description=_("samples"), ordering="sample_count")
    def samples_there(self, label: Label) -> SafeString:
        """Return how many texts have the label, with a link to them."""
        address = f"{reverse('admin:learning_sample_changelist')}?label__id__exact={label.pk}"
        return format_html('<a href="{}">{}</a>', address, getattr(label, "sample_count", 0))


class LabelOfTaskFilter(admin.RelatedFieldListFilter):
    """Labels with the task's name where there are several tasks, and a way to those without one."""

    include_empty_choice = True


class SampleForm(forms.ModelForm):
    """A text with what somebody says of it: one of its task's labels, or out of scope."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse what says nothing, two things, or something about another task; and a text that is there already."""
        cleaned = super().clean() or self.cleaned_data
        task = cleaned.get("task") or (self.instance.task if self.instance.pk else None)
        label, is_out_of_scope = cleaned.get("label"), cleaned.get("is_out_of_scope")
        if label is not None and is_out_of_scope:
            raise ValidationError(gettext("Choose a label or “out of scope”, not both."), code="both")
        if label is None and not is_out_of_scope:
            raise ValidationError(gettext("Choose a label or “out of scope”."), code="neither")
        if label is not None and task is not None and label.task_id != task.pk:
            raise ValidationError({"label": gettext("This label belongs to another task.")})
        text = cleaned.get("text", "")
        if len(text) > labelling.MAX_TEXT_CHARS:
            limit = {"limit": labelling.MAX_TEXT_CHARS}
            raise ValidationError({"text": gettext("At most %(limit)s characters are allowed.") % limit})
        if task is not None and text.strip() and self.instance.pk is None:
            known = Sample.objects.filter(task=task, digest=labelling.digest(text)).first()
            if known is not None:
                raise ValidationError({"text": gettext("Sample #%(number)s has this text.") % {"number": known.pk}})
        return cleaned


@admin.register(Sample)
class SampleAdmin(ModelAdmin):
    """Texts with the label that stands. Saving adds an annotation; what was said before is kept."""

    form = SampleForm
    list_display = ("excerpt", "said", "language", "task", "created_at")
    list_filter = ("task", "language", "is_out_of_scope", ("label", LabelOfTaskFilter))
    list_select_related = ("task", "label")
    list_per_page = 50
    search_fields = ("text", "label__name")
    search_help_text = _("Words of the text, or a label's name")
    show_full_result_count = False
    autocomplete_fields = ("label",)
    fields = ("task", "text", "label", "is_out_of_scope", "language", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Sample | None = None) -> tuple[str, ...]:
        """Keep the text and its task: another text is another sample."""
        return ("task", "text", "language", "created_at") if obj is not None else ("language", "created_at")

    @display(description=_("text"), ordering="text")
    def excerpt(self, sample: Sample) -> str:
        """Return the beginning of the text."""
        return Truncator(sample.text).chars(_EXCERPT_CHARS)

    @display(description=_("label"), ordering="label__name")
    def said(self, sample: Sample) -> str:
        """Return the label that stands."""
        if sample.label is not None:
            return sample.label.name
        return gettext("(out of scope)") if sample.is_out_of_scope else "–"

    def save_model(self, request: HttpRequest, obj: Sample, form: forms.ModelForm, change: bool) -> None:
        """Add an annotation of this person; it is what sets the sample's label."""
        if change and not form.changed_data:
            return
        label = obj.label.name if obj.label is not None else None
        labelling.annotate(
            obj.task, [Labelled(obj.text, label)], source=Annotation.Source.STAFF, annotator=_person(request)
        )
        stored = Sample.objects.get(task=obj.task, digest=labelling.digest(obj.text))
        obj.pk, obj._state.adding = stored.pk, False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes what somebody has annotated: what is not to be learnt is out of scope."""
        return False


@admin.register(Annotation)
class AnnotationAdmin(ReadOnlyAdmin):
    """Who said what of which text, and when."""

    list_display = ("excerpt", "said", "source", "annotator", "created_at")
    list_filter = ("sample__task", "source", "is_out_of_scope", "created_at")
    list_select_related = ("sample", "label", "annotator")
    list_per_page = 50
    search_fields = ("sample__text", "label__name")
    show_full_result_count = False
    fields = ("sample_link", "said", "source", "annotator", "created_at")
    readonly_fields = fields

    @display(description=_("text"))
    def excerpt(self, annotation: Annotation) -> str:
        """Return the beginning of the text."""
        return Truncator(annotation.sample.text).chars(_EXCERPT_CHARS)

    @display(description=_("said"), ordering="label__name")
    def said(self, annotation: Annotation) -> str:
        """Return what was said."""
        return annotation.label.name if annotation.label is not None else gettext("(out of scope)")

    @display(description=_("sample"))
    def sample_link(self, annotation: Annotation) -> SafeString:
        """Return the text with a link to its sample."""
        address = reverse("admin:learning_sample_change", args=[annotation.sample_id])
        return format_html('<a href="{}">{}</a>', address, annotation.sample.text)


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    """What runs have learnt from, frozen."""

    list_display = ("short_sha256", "task", "rows", "label_count", "run_count", "created_at")
    list_filter = ("task",)
    list_select_related = ("task",)
    search_fields = ("sha256",)
    fields = ("task", "sha256", "rows", "label_count", "artifact", "created_at")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Snapshot]:
        """Count runs with the rows."""
        queryset: QuerySet[Snapshot] = super().get_queryset(request)
        return queryset.annotate(runs_there=_count(Run.objects.all(), "snapshot"))

    @display(description=_("sha256"))
    def short_sha256(self, snapshot: Snapshot) -> str:
        """Return the beginning of the hash."""
        return snapshot.sha256[:12]

    @display(description=_("runs"), ordering="runs_there")
    def run_count(self, snapshot: Snapshot) -> int:
        """Return how many runs learnt from it."""
        return getattr(snapshot, "runs_there", 0)


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

    @display(description=_("status"), ordering="status", label=_STATUS_COLOURS)
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
            deployments.deploy(run, by=_person(request))
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


@admin.register(Deployment)
class DeploymentAdmin(ReadOnlyAdmin):
    """Which model was at work from when to when."""

    list_display = ("__str__", "state", "deployed_at", "ended_at", "deployed_by")
    list_filter = ("task",)
    list_select_related = ("task", "run", "deployed_by")
    fields = ("task", "run", "deployed_by", "deployed_at", "ended_at")
    readonly_fields = fields

    @display(description=_("state"), label={"now": "success", "ended": "info"})
    def state(self, deployment: Deployment) -> tuple[str, str]:
        """Return whether the model is at work, as a badge."""
        return (
            ("now", gettext("at work")) if deployment.ended_at is None else ("ended", pgettext("deployment", "ended"))
        )
