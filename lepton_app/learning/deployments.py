"""Which model is at work: one mark per task, moved in one transaction, in either direction."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from lepton_app.learning.classifier import LinearClassifier
from lepton_app.learning.errors import DeploymentRefused, NothingToRollBack, RunNotReady
from lepton_app.learning.models import Deployment, Run, Task
from lepton_app.lib.artifacts import ArtifactError


def current(task_name: str) -> Deployment | None:
    """Return the deployment that is at work, or None."""
    return Deployment.objects.filter(task__name=task_name, ended_at__isnull=True).select_related("run", "task").first()


def deploy(run: Run, *, by: User | None = None) -> Deployment:
    """Put the run's model to work and return the mark; the same model again changes nothing.

    The artifact is loaded before the mark moves. Raises ``RunNotReady`` or ``DeploymentRefused``; the model in place
    then goes on.
    """
    if run.status != Run.Status.READY:
        raise RunNotReady(
            gettext("Run #%(number)s is %(status)s; only a ready run can be deployed.")
            % {"number": run.pk, "status": run.get_status_display().lower()}
        )
    try:
        LinearClassifier.load(settings.ARTIFACTS_DIR / run.artifact)
    except ArtifactError as error:
        raise DeploymentRefused(
            gettext("The model of run #%(number)s cannot be loaded (%(code)s): %(error)s")
            % {"number": run.pk, "code": error.code, "error": error}
        ) from error
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=run.task_id)  # two deploys at once: one after the other
        active = Deployment.objects.filter(task_id=run.task_id, ended_at__isnull=True).first()
        if active is not None and active.run_id == run.pk:
            return active
        if active is not None:
            active.ended_at = timezone.now()
            active.save(update_fields=["ended_at"])
        return Deployment.objects.create(task_id=run.task_id, run=run, deployed_by=by)


def roll_back(task: Task, *, by: User | None = None) -> Deployment:
    """Put the model to work that was at work before the present one; called again, the one before that.

    Raises ``NothingToRollBack``.
    """
    history = Deployment.objects.filter(task=task).order_by("-pk")
    active = history.filter(ended_at__isnull=True).first()
    if active is not None:
        # Everything since the present model was first put to work has been tried and left.
        first = history.filter(run_id=active.run_id).last()
        assert first is not None
        history = history.filter(pk__lt=first.pk)
    found = history.select_related("run").first()
    if found is None:
        raise NothingToRollBack(gettext("No earlier model of '%(task)s' has been deployed.") % {"task": task.name})
    return deploy(found.run, by=by)
