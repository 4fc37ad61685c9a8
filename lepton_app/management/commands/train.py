"""Train a classifier here and now: ``manage.py train TASK``."""

from __future__ import annotations

import sys
import textwrap
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app.learning import reports, runs
from lepton_app.learning.config import METHODS, TrainingConfig, configured, options, parsed
from lepton_app.learning.errors import LearningError
from lepton_app.learning.importing import read_csv
from lepton_app.learning.labelling import annotate, task_named
from lepton_app.learning.models import Annotation, Run
from lepton_app.learning.trackers import tensorboard_folder
from lepton_app.progress import Steps


class Command(BaseCommand):
    """Queue a run for a task and work on it in this process."""

    help = (
        "Train a classifier for TASK on its labels, in this process, and print the run with its figures and the gate's "
        "verdict. The model at work stays until another one is deployed. Ctrl-C cancels the run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the task, the method and the options."""
        parser.add_argument("task", metavar="TASK", nargs="?", help="The task's name, for example intent.")
        parser.add_argument("--method", choices=METHODS, default="head", help="How to train (default: head).")
        parser.add_argument(
            "--set",
            metavar="KEY=VALUE",
            dest="changes",
            action="append",
            nargs="+",
            default=[],
            help="Options that are to differ from the method's preset, for example epochs=4 seed=1.",
        )
        parser.add_argument(
            "--from",
            metavar="RUN",
            dest="base",
            type=int,
            help="A ready run of the task to start from: of the same method and shape, or a pre-training.",
        )
        parser.add_argument(
            "--csv",
            metavar="FILE",
            type=Path,
            help="First take in the labelled texts of a file with the columns text,label[,entity]; an empty label says "
            "that a text belongs to none.",
        )
        parser.add_argument("--options", action="store_true", help="Print every option with its range, and end.")

    def handle(self, *args: Any, **given: Any) -> None:
        """Train; a run that fails ends with its reason and exit status 1."""
        if given["options"]:
            self._print_options(given["method"])
            return
        if given["task"] is None:
            raise CommandError("Name the task to train, for example `manage.py train intent`.")
        try:
            task = task_named(given["task"])
            changes = parsed([word for words in given["changes"] for word in words])
            base = self._base(given["base"])
            configured(given["method"], changes)  # a typing error is said before anything is taken in
            if given["csv"] is not None:
                added = annotate(task, read_csv(given["csv"]), source=Annotation.Source.IMPORT)
                self.stdout.write(f"{added} annotations taken in from {given['csv']}.")
            run = runs.request_run(task, method=given["method"], changes=changes, base=base)
        except LearningError as error:
            raise CommandError(str(error)) from None
        is_terminal = sys.stderr.isatty()
        with Steps().step(f"Run #{run.pk} of {task.name}") as step:
            # Where nothing can be drawn over, a line for each stage is enough.
            runs.execute(run.pk, progress=lambda line: step(line if is_terminal else line.split("  [", 1)[0]))
        run.refresh_from_db()
        if run.status == Run.Status.RUNNING:
            raise CommandError(f"Another worker took run #{run.pk}; `manage.py runs {run.pk}` tells how it goes.")
        if run.status != Run.Status.READY:
            raise CommandError(f"Run #{run.pk} is {run.get_status_display().lower()}: {run.error}")
        self._print_end(run)

    def _base(self, number: int | None) -> Run | None:
        if number is None:
            return None
        found = Run.objects.filter(pk=number).first()
        if found is None:
            raise CommandError(f"There is no run #{number}; `manage.py runs` lists them.")
        return found

    def _print_end(self, run: Run) -> None:
        assert run.snapshot is not None
        self.stdout.write(f"Run #{run.pk} is ready.")
        for line in reports.lines(run.metrics):
            self.stdout.write(f"  {line}")
        if run.snapshot.disputed_rows:
            self.stdout.write(
                f"  {run.snapshot.disputed_rows} disputed texts were left out: their labels contradict each other, and "
                "the samples' page in the admin lists them."
            )
        self.stdout.write(f"  curves: {tensorboard_folder(run)}")
        if run.method == Run.Method.PRETRAIN:
            self.stdout.write(f"Start from it with `manage.py train {run.task.name} --method lora --from {run.pk}`.")
            return
        self.stdout.write(f"The gate: {run.get_verdict_display()}.")
        for check in reports.checks(run.gate):
            if check.verdict != Run.Verdict.PASS:
                self.stdout.write(f"  {check.said}: {check.title}: {check.sentence}")
        self.stdout.write(f"Put it to work with `manage.py deploy {run.pk}`.")

    def _print_options(self, method: str) -> None:
        preset = TrainingConfig.preset(method).model_dump()
        self.stdout.write(f"Options of --set, with what the method {method} takes when nothing is said:")
        for option in options():
            self.stdout.write(f"\n{option.name}={preset[option.name]}   ({option.allowed})")
            self.stdout.write(textwrap.indent(textwrap.fill(option.description, 100), "    "))
