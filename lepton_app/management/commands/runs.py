"""List training runs: ``manage.py runs``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from lepton_app.learning.models import Deployment, Run


class Command(BaseCommand):
    """Print the newest runs, one a line."""

    help = "List the newest training runs; a star marks those at work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the filters."""
        parser.add_argument("--task", help="Only runs of this task.")
        parser.add_argument("--limit", type=int, default=20, help="How many at most (default: 20).")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the runs."""
        found = Run.objects.select_related("task")
        if options["task"]:
            found = found.filter(task__name=options["task"])
        at_work = set(Deployment.objects.filter(ended_at__isnull=True).values_list("run_id", flat=True))
        for run in found[: max(options["limit"], 0)]:
            accuracy = run.metrics.get("accuracy")
            figure = "" if accuracy is None else f"accuracy {accuracy:.3f}"
            mark = "*" if run.pk in at_work else " "
            said = run.error or run.step or figure
            self.stdout.write(f"{mark} #{run.pk:<5} {run.task.name:<12} {run.method:<12} {run.status:<8} {said}")
