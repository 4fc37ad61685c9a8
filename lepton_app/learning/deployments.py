"""Which model is at work: one mark per task, moved in one transaction, in either direction.

The procedure of ``deploy``:

1. the model is loaded here, on its own and against the labels of its snapshot: what cannot serve is refused by name;
2. the gate's verdict is asked for; when another model went to work since it was given, both are judged again;
3. under the lock of the task, the mark moves, if the model at work is still the one that was judged against; else the
   procedure begins again.

Models are loaded and asked in steps 1 and 2, outside any transaction. Rolling back needs no gate: what is put back has
been at work before.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from lepton_app.learning import gate, snapshots
from lepton_app.learning.errors import DeploymentRefused, GateRefused, NothingToRollBack, RunNotReady
from lepton_app.learning.model import load_model
from lepton_app.learning.models import Deployment, Run, Shadow, Task
from lepton_app.lib.artifacts import ArtifactError, ArtifactIncompatible

OVERRIDE = "learning.override_gate"
LEAST_REASON_CHARACTERS = 10
# How often a deployment begins again because others move the mark meanwhile.
_ATTEMPTS = 3
_MOST_SENTENCES = 3


def current(task_name: str) -> Deployment | None:
    """Return the deployment that is at work, or None."""
    return Deployment.objects.filter(task__name=task_name, ended_at__isnull=True).select_related("run", "task").first()


def deploy(run: Run, *, by: User | None = None, reason: str = "") -> Deployment:
    """Put the run's model to work and return the mark; the same model again changes nothing.

    A verdict of the gate other than *pass* needs a ``reason`` of ten characters or more, which is kept, and the
    permission ``learning.override_gate``; ``by`` None stands for whoever operates the machine, who may. Raises
    ``RunNotReady``, ``DeploymentRefused`` or ``GateRefused``; the model in place then goes on. Call it outside any
    transaction.
    """
    run = Run.objects.select_related("task", "snapshot").get(pk=run.pk)
    reason = reason.strip()
    check_usable(run)
    for _ in range(_ATTEMPTS):
        at_work = current(run.task.name)
        if at_work is not None and at_work.run_id == run.pk:
            return at_work
        judged_against = at_work.run if at_work is not None else None
        judgement, problem = _judgement(run, judged_against)
        verdict = _verdict(judgement)
        if verdict != Run.Verdict.PASS:
            _check_override(run, judgement, problem, by=by, reason=reason)
        moved = _move_mark(run, expected=at_work, by=by, verdict=verdict, reason=reason)
        if moved is not None:
            return moved
    raise DeploymentRefused(
        gettext("Other models of '%(task)s' went to work meanwhile; look at them and try again.")
        % {"task": run.task.name}
    )


def roll_back(task: Task, *, by: User | None = None) -> Deployment:
    """Put the model to work that was at work before the present one; called again, the one before that.

    Raises ``NothingToRollBack``, or ``DeploymentRefused`` when that model cannot be loaded any more.
    """
    for _ in range(_ATTEMPTS):
        at_work, earlier = _present_and_earlier(task)
        if earlier is None:
            raise NothingToRollBack(gettext("No earlier model of '%(task)s' has been deployed.") % {"task": task.name})
        check_usable(earlier.run)
        moved = _move_mark(earlier.run, expected=at_work, by=by, verdict="", reason="")
        if moved is not None:
            return moved
    raise DeploymentRefused(
        gettext("Other models of '%(task)s' went to work meanwhile; look at them and try again.") % {"task": task.name}
    )


def check_usable(run: Run) -> None:
    """Load the run's model as serving processes do, and let go of it; raise ``RunNotReady`` or ``DeploymentRefused``.

    Refused are also a pre-training run, which has no classifier, and a model that gives labels which its snapshot does
    not hold: it was trained for something else.
    """
    if run.method == Run.Method.PRETRAIN:
        raise DeploymentRefused(
            gettext(
                "Run #%(number)s is a pre-training: it made an encoder and no classifier. Train a run that starts from "
                "it, and deploy that one."
            )
            % {"number": run.pk}
        )
    if run.status != Run.Status.READY:
        raise RunNotReady(
            gettext("Run #%(number)s is %(status)s; only a ready run can be deployed.")
            % {"number": run.pk, "status": run.get_status_display().lower()}
        )
    try:
        model = load_model(settings.ARTIFACTS_DIR, run.artifact, run.encoder_artifact)
        model.close()
        learnt = _labels_learnt(run)
        strange = sorted(set(model.classifier.labels) - learnt) if learnt is not None else []
        if strange:
            raise ArtifactIncompatible(
                gettext("it gives labels that the run has not learnt: %(labels)s") % {"labels": ", ".join(strange[:5])}
            )
    except ArtifactError as error:
        raise DeploymentRefused(
            gettext("The model of run #%(number)s cannot be loaded (%(code)s): %(error)s")
            % {"number": run.pk, "code": error.code, "error": error}
        ) from error


def _labels_learnt(run: Run) -> set[str] | None:
    """Return the labels of the run's snapshot; None when it cannot be read any more, which the gate does not pass."""
    try:
        return set(snapshots.read(run.snapshot).labels) if run.snapshot is not None else None
    except ArtifactError:
        return None


def _judgement(run: Run, at_work: Run | None) -> tuple[gate.Judgement | None, str]:
    """Return what the gate says of the run beside the model at work; None and the reason when it cannot say."""
    against = at_work.pk if at_work is not None else None
    if run.verdict and "against" in run.gate and run.gate["against"] == against:
        return gate.Judgement.from_json(run.gate), ""
    try:
        judgement = gate.compare(run, at_work)
    except ArtifactError as error:
        return None, f"{error.code}: {error}"
    run.gate, run.verdict = dict(judgement.as_json()), judgement.verdict
    run.save(update_fields=["gate", "verdict"])
    return judgement, ""


def _verdict(judgement: gate.Judgement | None) -> str:
    return judgement.verdict if judgement is not None else ""


def _check_override(run: Run, judgement: gate.Judgement | None, problem: str, *, by: User | None, reason: str) -> None:
    """Let a deployment against the gate pass only with the permission and a written reason; raise ``GateRefused``."""
    may = by is None or by.has_perm(OVERRIDE)
    if may and len(reason) >= LEAST_REASON_CHARACTERS:
        return
    if judgement is None:
        said = gettext("Run #%(number)s could not be judged (%(problem)s).") % {"number": run.pk, "problem": problem}
    else:
        verdict = Run.Verdict(judgement.verdict).label
        said = gettext("The gate says “%(verdict)s” of run #%(number)s.") % {"verdict": verdict, "number": run.pk}
        found = [f"{check.title}: {check.sentence}" for check in judgement.checks if check.verdict != "pass"]
        said = " ".join([said, *found[:_MOST_SENTENCES]])
    if may:
        mend = gettext("To deploy it all the same, write down why, in %(least)s characters or more.") % {
            "least": LEAST_REASON_CHARACTERS
        }
    else:
        mend = gettext("Only people who may override the gate can deploy it all the same, with a written reason.")
    raise GateRefused(f"{said} {mend}")


def _move_mark(
    run: Run, *, expected: Deployment | None, by: User | None, verdict: str, reason: str
) -> Deployment | None:
    """Move the mark to the run; None, and nothing changes, when another deployment than the expected is at work."""
    now = timezone.now()
    with transaction.atomic():
        Task.objects.select_for_update(no_key=True).get(pk=run.task_id)  # two deploys at once: one after the other
        active = Deployment.objects.filter(task_id=run.task_id, ended_at__isnull=True).first()
        if (active.pk if active is not None else None) != (expected.pk if expected is not None else None):
            return None
        if active is not None:
            active.ended_at = now
            active.save(update_fields=["ended_at"])
        # A candidate that is at work has nothing more to be compared with.
        Shadow.objects.filter(task_id=run.task_id, run=run, ended_at__isnull=True).update(ended_at=now)
        return Deployment.objects.create(task_id=run.task_id, run=run, deployed_by=by, verdict=verdict, reason=reason)


def _present_and_earlier(task: Task) -> tuple[Deployment | None, Deployment | None]:
    """Return the mark, and the newest deployment before the run at work was first put to work."""
    history = Deployment.objects.filter(task=task).order_by("-pk").select_related("run__snapshot", "run__task")
    active = history.filter(ended_at__isnull=True).first()
    if active is not None:
        # Everything since the present model was first put to work has been tried and left.
        first = history.filter(run_id=active.run_id).last()
        assert first is not None
        history = history.filter(pk__lt=first.pk)
    return active, history.first()
