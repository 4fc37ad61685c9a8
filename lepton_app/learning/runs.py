"""Training runs: the row is the job, a worker claims it, and every state is visible in it.

The life of a run: ``request_run`` makes it QUEUED -> a worker's ``execute`` claims it by a conditional UPDATE
(RUNNING) -> a snapshot is frozen -> the classifier is trained and measured -> its artifact is published (READY), or
the reason is kept (FAILED). A worker that is killed stops its heartbeat; ``recover`` queues the run again, and gives
up after ``MAX_ATTEMPTS``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext

from lepton_app.learning import snapshots
from lepton_app.learning.errors import AlreadyQueued, LearningError
from lepton_app.learning.models import Run, Task

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
SILENT_AFTER = timedelta(seconds=60)
MAX_ATTEMPTS = 3

Progress = Callable[[str], None]


def request_run(task: Task, *, method: str = Run.Method.HEAD, requested_by: User | None = None) -> Run:
    """Queue a run and return it; the caller nudges a worker after commit.

    Raises ``AlreadyQueued`` while another run of the task waits, ``NothingToLearn`` when the labels do not suffice.
    """
    waiting = Run.objects.filter(task=task, status=Run.Status.QUEUED).first()
    if waiting is not None:
        raise AlreadyQueued(
            gettext("Run #%(number)s of “%(task)s” waits already; it will learn the newest labels.")
            % {"number": waiting.pk, "task": task.name}
        )
    snapshots.freeze(task)  # refuses early, where a person reads it
    return Run.objects.create(task=task, method=method, requested_by=requested_by)


def execute(run_id: int, *, progress: Progress = lambda line: None) -> bool:
    """Run one queued job to its end and return True; False when somebody else has it or it is done.

    ``progress`` receives the step that begins. Failures end in the row, with the reason.
    """
    now = timezone.now()
    claimed = Run.objects.filter(pk=run_id, status=Run.Status.QUEUED).update(
        status=Run.Status.RUNNING, started_at=now, heartbeat_at=now, attempts=F("attempts") + 1, error=""
    )
    if not claimed:
        return False
    run = Run.objects.select_related("task").get(pk=run_id)

    def step(line: str) -> None:
        Run.objects.filter(pk=run.pk).update(step=line[:200])
        progress(line)

    try:
        with _heartbeat(run.pk):
            _train(run, step)
    except LearningError as error:
        _fail(run, str(error))
    except Exception as error:
        logger.exception("run #%s failed", run.pk)
        _fail(run, f"{type(error).__name__}: {error}")
    return True


def _train(run: Run, step: Progress) -> None:
    from lepton_app.learning.training import train_head

    step("Freezing the labels")
    run.snapshot = snapshots.freeze(run.task)
    run.save(update_fields=["snapshot"])
    path, metrics = train_head(snapshots.read(run.snapshot), root=settings.ARTIFACTS_DIR, progress=step)
    Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(
        status=Run.Status.READY, artifact=path.name, metrics=metrics, finished_at=timezone.now(), step=""
    )


def _fail(run: Run, reason: str) -> None:
    Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(
        status=Run.Status.FAILED, error=reason, finished_at=timezone.now(), step=""
    )


@contextmanager
def _heartbeat(run_id: int) -> Iterator[None]:
    """Write a sign of life into the row while the body works, from a thread with a connection of its own."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(HEARTBEAT_SECONDS):
            try:
                Run.objects.filter(pk=run_id).update(heartbeat_at=timezone.now())
            except Exception:  # a database that is away for a moment must not make a working run look dead
                logger.exception("heartbeat of run #%s missed", run_id)
            finally:
                connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat-{run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def recover(*, now: datetime) -> list[int]:
    """Queue runs again whose worker fell silent, give up on those that silenced too many, return what is queued."""
    silent = Run.objects.filter(status=Run.Status.RUNNING, heartbeat_at__lt=now - SILENT_AFTER)
    silent.filter(attempts__gte=MAX_ATTEMPTS).update(
        status=Run.Status.FAILED,
        finished_at=now,
        error=f"The worker was killed {MAX_ATTEMPTS} times while it worked on this run; see its log.",
    )
    silent.update(status=Run.Status.QUEUED, step="")
    return list(Run.objects.filter(status=Run.Status.QUEUED).order_by("pk").values_list("pk", flat=True))
