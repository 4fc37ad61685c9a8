"""What the pages of learning share: lists to look at, and steps that ask before they act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Count, IntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin

from lepton_app.learning.errors import LearningError
from lepton_app.learning.models import Run

TRAIN = "learning.add_run"
DEPLOY = "learning.deploy_run"
EXCERPT_CHARS = 100
STATUS_COLOURS = {
    Run.Status.QUEUED.value: "info",
    Run.Status.RUNNING.value: "warning",
    Run.Status.READY.value: "success",
    Run.Status.FAILED.value: "danger",
    Run.Status.CANCELLED.value: "primary",
}
VERDICT_COLOURS = {
    Run.Verdict.PASS.value: "success",
    Run.Verdict.PERSON.value: "warning",
    Run.Verdict.REFUSE.value: "danger",
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


def count_of(queryset: QuerySet[Any], key: str) -> Coalesce:
    """Count related rows in a subquery: joins of several relations would multiply each other."""
    counted = queryset.filter(**{key: OuterRef("pk")}).order_by().values(key).annotate(count=Count("pk"))
    return Coalesce(Subquery(counted.values("count"), output_field=IntegerField()), 0)


def person_of(request: HttpRequest) -> User:
    """Return who asks."""
    assert isinstance(request.user, User)  # admin_view lets nobody else in
    return request.user
