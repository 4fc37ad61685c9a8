"""Celery tasks of the knowledge base: nudges for builds, whose rows are the jobs."""

from __future__ import annotations

from celery import shared_task

from lepton_app.lib.nudges import nudge_on_commit
from retrieval.indexing import run_queued_build
from retrieval.models import IndexBuild


@shared_task
def rebuild_index() -> None:
    """Run the build that waits, if there is one and nobody else is building."""
    run_queued_build()


@shared_task
def sweep_index_builds() -> None:
    """Pick up a build whose nudge was lost, or whose process died."""
    if IndexBuild.objects.filter(status__in=(IndexBuild.Status.QUEUED, IndexBuild.Status.RUNNING)).exists():
        run_queued_build()


def nudge_index_worker() -> None:
    """Send `rebuild_index` to the worker once the current transaction has committed."""
    nudge_on_commit(rebuild_index)
