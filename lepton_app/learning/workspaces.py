"""Folders of runs at work: checkpoints lie there, survive a killed worker, and go when the run has ended."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from lepton_app.learning.models import Run


def folder_of(run_id: int) -> Path:
    """Return the folder of a run; it may not be there."""
    return _root() / str(run_id)


def remove(run_id: int) -> None:
    """Remove the folder of a run that has ended."""
    shutil.rmtree(folder_of(run_id), ignore_errors=True)


def sweep() -> list[int]:
    """Remove the folders of runs that neither wait nor work, and return their numbers."""
    # First the folders, then the rows: a folder is made after its run has begun to work.
    there = [int(path.name) for path in _root().glob("*") if path.name.isdecimal()]
    if not there:
        return []
    open_runs = Run.objects.filter(pk__in=there, status__in=[Run.Status.QUEUED, Run.Status.RUNNING])
    stale = sorted(set(there) - set(open_runs.values_list("pk", flat=True)))
    for run_id in stale:
        remove(run_id)
    return stale


def _root() -> Path:
    return Path(settings.DATA_DIR) / "runs"
