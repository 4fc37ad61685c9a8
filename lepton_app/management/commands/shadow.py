"""Run a candidate beside the deployed model: ``manage.py shadow RUN``, ``--stop TASK``, or nothing for the list."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app.learning import shadow
from lepton_app.learning.errors import LearningError
from lepton_app.learning.labelling import task_named
from lepton_app.learning.models import Disagreement, Run, Shadow


class Command(BaseCommand):
    """Start, stop and show shadows."""

    help = (
        "Let the model of run RUN read live texts beside the deployed one, without anybody being answered by it. "
        "Without RUN: list what has been compared, and the newest texts on which the two differ."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what to start or to stop."""
        parser.add_argument("run", metavar="RUN", type=int, nargs="?", help="The run to run in the shadow.")
        parser.add_argument("--stop", metavar="TASK", help="End the shadow of this task.")
        parser.add_argument("--limit", type=int, default=10, help="How many texts to list at most (default: 10).")

    def handle(self, *args: Any, **options: Any) -> None:
        """Start, stop or list; refuse both at once."""
        number, task = options["run"], options["stop"]
        if number is not None and task is not None:
            raise CommandError("Name a run to start, or a task with --stop, not both.")
        try:
            if task is not None:
                self._say(shadow.stop(task_named(task)))
            elif number is not None:
                run = Run.objects.filter(pk=number).first()
                if run is None:
                    raise CommandError(f"There is no run #{number}; `manage.py runs` lists them.")
                self._say(shadow.start(run))
            else:
                self._list(max(options["limit"], 0))
        except LearningError as error:
            raise CommandError(str(error)) from None

    def _list(self, limit: int) -> None:
        shadows = Shadow.objects.select_related("task", "run")[:20]
        if not shadows:
            self.stdout.write("No candidate has run beside a deployed model yet.")
        for one in shadows:
            self._say(one)
        for row in Disagreement.objects.filter(shadow__ended_at__isnull=True).select_related("shadow__task")[:limit]:
            said = (row.deployed_label or "out of scope", row.candidate_label or "out of scope")
            self.stdout.write(f"  {row.shadow.task.name}: {said[0]} / {said[1]}: {row.text}")

    def _say(self, one: Shadow) -> None:
        compared = one.agreed + one.disagreed
        share = f", {one.agreed / compared:.1%} agreed" if compared else ""
        state = "runs" if one.ended_at is None else "ended"
        missed = f", {one.dropped} not compared" if one.dropped else ""
        self.stdout.write(f"{one} {state}: {compared} compared{share}{missed}.")
