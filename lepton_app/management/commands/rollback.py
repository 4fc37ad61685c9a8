"""Put the previous model of a task back to work: ``manage.py rollback TASK``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app.learning import deployments
from lepton_app.learning.errors import LearningError
from lepton_app.learning.labelling import task_named


class Command(BaseCommand):
    """Move the mark back to the model that was at work before."""

    help = "Put the model to work that was at work before the present one of TASK."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the task."""
        parser.add_argument("task", metavar="TASK", help="The task's name, for example intent.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Roll back, or say why not."""
        try:
            deployment = deployments.roll_back(task_named(options["task"]))
        except LearningError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{deployment} is at work.")
