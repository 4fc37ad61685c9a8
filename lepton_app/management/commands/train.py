"""Train a classifier here and now: ``manage.py train TASK``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app.learning import runs
from lepton_app.learning.errors import LearningError
from lepton_app.learning.labelling import task_named
from lepton_app.learning.models import Run
from lepton_app.progress import Steps


class Command(BaseCommand):
    """Queue a run for a task and work on it in this process."""

    help = "Train a classifier for TASK on its labels, in this process, and print the run with its figures."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the task and the method."""
        parser.add_argument("task", metavar="TASK", help="The task's name, for example intent.")
        parser.add_argument("--method", choices=Run.Method.values, default=Run.Method.HEAD, help="How to train.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Train; a run that fails ends with its reason and exit status 1."""
        try:
            run = runs.request_run(task_named(options["task"]), method=options["method"])
        except LearningError as error:
            raise CommandError(str(error)) from None
        with Steps().step(f"Run #{run.pk} of {options['task']}") as step:
            runs.execute(run.pk, progress=step)
        run.refresh_from_db()
        if run.status != Run.Status.READY:
            raise CommandError(f"Run #{run.pk} failed: {run.error}")
        figures = ", ".join(f"{name} {value}" for name, value in run.metrics.items())
        self.stdout.write(f"Run #{run.pk} is ready: {figures}. Put it to work with `manage.py deploy {run.pk}`.")
