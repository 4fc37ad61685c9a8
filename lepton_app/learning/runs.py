"""Training runs: the row is the job, a worker claims it, and every state is visible in it.

The life of a run: ``request_run`` freezes the labels and makes it QUEUED -> a worker's ``execute`` claims it (RUNNING;
``claims``) -> it is trained, and says meanwhile where it stands (``progress``) -> it is measured on the hold-out and
judged by the gate -> READY, or FAILED with the reason, or CANCELLED by somebody. A worker that is killed stops its
heartbeat; ``recover`` queues the run again, which goes on from its checkpoint, and gives up after ``MAX_ATTEMPTS``.

What a run learns is decided when it is requested: labels that change afterwards are for the next one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from lepton_app.learning import bases, claims, measuring, snapshots, workspaces
from lepton_app.learning.claims import Claim
from lepton_app.learning.classifier import CLASSIFIER_FORMAT_VERSION
from lepton_app.learning.config import TrainingConfig, configured
from lepton_app.learning.errors import BadConfiguration, LearningError, NothingNew, RunCancelled, RunEnded, RunLost
from lepton_app.learning.models import Run, Snapshot, Task
from lepton_app.learning.progress import RowReporter
from lepton_app.learning.trackers import Tracker, trackers_of
from lepton_app.lib import artifacts
from lepton_app.lib.encoder_export import source_key
from lepton_app.lib.encoding import EncoderMissing, encoder_service

logger = logging.getLogger(__name__)

SILENT_AFTER = timedelta(seconds=60)
MAX_ATTEMPTS = 3
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

Progress = Callable[[str], None]


def request_run(
    task: Task,
    *,
    method: str = Run.Method.HEAD,
    changes: Mapping[str, Any] | None = None,
    base: Run | None = None,
    requested_by: User | None = None,
) -> Run:
    """Freeze the task's labels, queue a run on them and return it; the caller nudges a worker after commit.

    ``changes`` are options that differ from the method's preset; ``base`` is a ready run of the task to start from.
    Raises ``BadConfiguration``, ``BaseUnusable``, ``NothingToLearn`` when the labels do not suffice, and ``NothingNew``
    when a run that waits, works or is ready learns the same from the same; nothing is queued then.
    """
    changes = dict(changes or {})
    if changes.get("encoder") and requested_by is not None and not requested_by.is_superuser:
        # The worker reads any folder and fetches any address that this option names.
        raise BadConfiguration(
            gettext("encoder: only an administrator names another encoder, for the worker reads it. Leave it empty.")
        )
    config = configured(method, bases.inherited(base, method, changes) if base is not None else changes)
    if base is not None:
        bases.check(task, config, base)
    with transaction.atomic():
        # Freezing locks the task until the row is there, so that of two equal requests one is refused.
        snapshot = snapshots.freeze(task, for_pretraining=config.method == "pretrain")
        fingerprint = _fingerprint(snapshot, config, base)
        _refuse_repetition(task, fingerprint)
        return Run.objects.create(
            task=task,
            method=config.method,
            config=config.model_dump(),
            snapshot=snapshot,
            base=base,
            fingerprint=fingerprint,
            requested_by=requested_by,
        )


def execute(run_id: int, *, progress: Progress = lambda line: None) -> bool:
    """Run one queued job to its end and return True; False when somebody else has it or it is done.

    ``progress`` receives what the run does now, in one line, at most once a second. Failures end in the row, with the
    reason. ``KeyboardInterrupt`` cancels the run and is raised again.
    """
    claim = claims.take(run_id)
    if claim is None:
        return False
    run = Run.objects.select_related("task", "snapshot", "base").get(pk=run_id)
    published: list[Path] = []
    try:
        with claim.heartbeat():
            claim.finish(Run.Status.READY, **_work(run, claim, progress, published))
    except RunLost:
        # The other worker goes on from the checkpoints, which stay.
        logger.warning("run #%s was given to another worker; what this one did is dropped", run.pk)
        _discard(published)
        return True
    except RunCancelled:
        _end(claim, Run.Status.CANCELLED, published)
    except KeyboardInterrupt:
        _end(claim, Run.Status.CANCELLED, published, error=gettext("Interrupted at the terminal."))
        raise
    except Exception as error:
        if not isinstance(error, LearningError | artifacts.ArtifactError):
            logger.exception("run #%s failed", run.pk)
        _end(claim, Run.Status.FAILED, published, error=reason_of(error))
    workspaces.remove(run.pk)
    return True


def cancel(run: Run, *, by: User | None = None) -> None:
    """End a run that waits, at once, or one that works, between two of its steps. Raises ``RunEnded``."""
    who = by.get_username() if by is not None else gettext("the command line")
    said = gettext("Cancelled by %(person)s.") % {"person": who}
    waiting = Run.objects.filter(pk=run.pk, status=Run.Status.QUEUED)
    if waiting.update(status=Run.Status.CANCELLED, finished_at=timezone.now(), error=said):
        workspaces.remove(run.pk)
        return
    working = Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING)
    if not working.update(is_cancel_requested=True, error=said):
        run.refresh_from_db(fields=["status"])
        raise RunEnded(
            gettext("Run #%(number)s is %(status)s; only a run that waits or works can be cancelled.")
            % {"number": run.pk, "status": run.get_status_display().lower()}
        )


def recover(*, now: datetime) -> list[int]:
    """Queue runs again whose worker fell silent, give up on those that silenced too many, return what is queued.

    What runs that have ended left in their workspaces is removed.
    """
    silent = Run.objects.filter(status=Run.Status.RUNNING, heartbeat_at__lt=now - SILENT_AFTER)
    silent.filter(is_cancel_requested=True).update(
        status=Run.Status.CANCELLED, finished_at=now, step="", progress={}, is_cancel_requested=False
    )
    silent.filter(attempts__gte=MAX_ATTEMPTS).update(
        status=Run.Status.FAILED,
        finished_at=now,
        step="",
        progress={},
        error=gettext("The worker was killed %(count)s times while it worked on this run; see its log.")
        % {"count": MAX_ATTEMPTS},
    )
    silent.update(status=Run.Status.QUEUED, step="", progress={})
    workspaces.sweep()
    return list(Run.objects.filter(status=Run.Status.QUEUED).order_by("pk").values_list("pk", flat=True))


def reason_of(error: BaseException) -> str:
    """Return what went wrong in words that say how to mend it, where that is known."""
    if isinstance(error, LearningError):
        return str(error)
    if isinstance(error, artifacts.ArtifactError):
        return f"{error} ({error.code})"
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return gettext("The disk is full: make room in %(folder)s and train again. Nothing was published.") % {
            "folder": settings.DATA_DIR
        }
    if isinstance(error, MemoryError):
        return gettext("The memory does not suffice: train with a smaller batch_size or max_length.")
    return f"{type(error).__name__}: {error}"


def _work(run: Run, claim: Claim, progress: Progress, published: list[Path]) -> dict[str, Any]:
    """Train, measure and judge; return what the row is to hold. ``published`` collects the artifacts on the way."""
    from lepton_app.learning.training import train

    if run.snapshot is None:  # queued by an earlier version, which froze the labels only now
        run.snapshot = snapshots.freeze(run.task)
        claim.say(snapshot=run.snapshot)
    config = configured(run.method, {name: value for name, value in run.config.items() if name != "method"})
    dataset = snapshots.read(run.snapshot)
    workspace = workspaces.folder_of(run.pk)
    workspace.mkdir(parents=True, exist_ok=True)
    trackers = trackers_of(run, folder=workspace)
    reporter = RowReporter(claim, history=run.history, say=progress, trackers=trackers)
    try:
        trained = train(
            dataset,
            config,
            root=settings.ARTIFACTS_DIR,
            reporter=reporter,
            workspace=workspace,
            base=bases.base_of(run),
            task=run.task.name,
        )
        published += [path for path in (trained.classifier, trained.encoder) if path is not None]
        reporter.flush()
        run.artifact = trained.classifier.name if trained.classifier is not None else ""
        run.encoder_artifact = trained.encoder.name if trained.encoder is not None else ""
        run.metrics = {
            "rows": run.snapshot.rows,
            "labels": run.snapshot.label_count,
            "disputed_rows": run.snapshot.disputed_rows,
            **{name: value for name, value in trained.figures.items() if not isinstance(value, list | tuple)},
        }
        if trained.classifier is not None:
            measuring.measure_and_judge(run, dataset, trained, config, reporter, published)
        _tell(trackers, run.metrics)
    finally:
        for tracker in trackers:
            tracker.close()
    return {
        "artifact": run.artifact,
        "encoder_artifact": run.encoder_artifact,
        "report_artifact": run.report_artifact,
        "metrics": run.metrics,
        "history": reporter.history,
        "verdict": run.verdict,
        "gate": run.gate,
    }


def _tell(trackers: list[Tracker], figures: Mapping[str, Any]) -> None:
    for tracker in trackers:
        tracker.figures(figures)


def _end(claim: Claim, status: Run.Status, published: list[Path], **changes: Any) -> None:
    """End a run that did not become ready; its own artifacts, which nothing points to, go."""
    try:
        claim.finish(status, is_cancel_requested=False, **changes)
    except RunLost:
        logger.warning("run #%s was given to another worker before its end could be written", claim.run_id)
    finally:
        _discard(published)


def _discard(published: list[Path]) -> None:
    for path in published:
        shutil.rmtree(path, ignore_errors=True)


def _fingerprint(snapshot: Snapshot, config: TrainingConfig, base: Run | None) -> str:
    """Return what tells whether two runs would come to the same."""
    if config.method == "head":
        try:
            encoder = encoder_service().encoder.version
        except EncoderMissing:  # the run itself will say so
            encoder = ""
    else:
        encoder = source_key(config.encoder or settings.LEPTON_ENCODER or None)
    decides = {
        "snapshot": snapshot.sha256,
        "configuration": config.sha256,
        "base": base.pk if base is not None else None,
        "encoder": encoder,
        "format": CLASSIFIER_FORMAT_VERSION,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _refuse_repetition(task: Task, fingerprint: str) -> None:
    """Raise ``NothingNew`` when another run of the task does or did the same, and its artifacts are there."""
    known = Run.objects.filter(
        task=task, fingerprint=fingerprint, status__in=[Run.Status.QUEUED, Run.Status.RUNNING, Run.Status.READY]
    )
    for run in known.order_by("-pk"):
        if run.status == Run.Status.READY and not _has_artifacts(run):
            continue
        raise NothingNew(
            gettext(
                "Run #%(number)s (%(status)s) has the same labels and the same configuration. "
                "Label more texts, or change an option, for example seed=%(seed)s."
            )
            % {"number": run.pk, "status": run.get_status_display().lower(), "seed": run.config.get("seed", 0) + 1},
            run_id=run.pk,
        )


def _has_artifacts(run: Run) -> bool:
    try:
        for name in filter(None, (run.artifact, run.encoder_artifact)):
            artifacts.peek(settings.ARTIFACTS_DIR / name)
    except artifacts.ArtifactError:
        return False
    return True
