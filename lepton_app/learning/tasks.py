"""Nudges for the training worker."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from lepton_app.learning import runs

SWEEP_SECONDS = 15


@shared_task(name="lepton_app.learning.tasks.execute_run")
def execute_run(run_id: int) -> None:
    """Work on a run, unless somebody else does."""
    runs.execute(run_id)


@shared_task(name="lepton_app.learning.tasks.sweep_runs", expires=SWEEP_SECONDS)
def sweep_runs() -> None:
    """Pick up runs whose nudge was lost or whose worker was killed."""
    for run_id in runs.recover(now=timezone.now()):
        # The next sweep nudges again: while a long training is at work, old nudges must not pile up behind it.
        execute_run.apply_async((run_id,), expires=SWEEP_SECONDS)
