"""Look at training runs, and cancel them: ``manage.py runs``."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import localtime

from lepton_app.learning import reports, runs
from lepton_app.learning.config import TrainingConfig
from lepton_app.learning.errors import LearningError
from lepton_app.learning.models import Deployment, Run
from lepton_app.learning.trackers import tensorboard_folder

_OPEN = (Run.Status.QUEUED, Run.Status.RUNNING)


class Command(BaseCommand):
    """Print the newest runs, one a line, or everything about one."""

    help = "List the newest training runs; a star marks those at work. With RUN, tell everything about one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run and the filters."""
        parser.add_argument("run", metavar="RUN", nargs="?", type=int, help="Only this run, with all that is known.")
        parser.add_argument("--cancel", metavar="RUN", type=int, help="Cancel a run that waits or works.")
        parser.add_argument("--task", help="Only runs of this task.")
        parser.add_argument("--limit", type=int, default=20, help="How many at most (default: 20).")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the runs, or cancel one."""
        if options["cancel"] is not None:
            self._cancel(self._found(options["cancel"]))
        elif options["run"] is not None:
            self._print_one(self._found(options["run"]))
        else:
            self._print_list(options["task"], max(options["limit"], 0))

    def _found(self, number: int) -> Run:
        found = Run.objects.select_related("task", "snapshot", "base", "requested_by").filter(pk=number).first()
        if found is None:
            raise CommandError(f"There is no run #{number}; `manage.py runs` lists them.")
        return found

    def _cancel(self, run: Run) -> None:
        try:
            runs.cancel(run)
        except LearningError as error:
            raise CommandError(str(error)) from None
        run.refresh_from_db()
        ends = "is cancelled" if run.status == Run.Status.CANCELLED else "ends after the step that it is at"
        self.stdout.write(f"Run #{run.pk} {ends}.")

    def _print_list(self, task: str | None, limit: int) -> None:
        found = Run.objects.select_related("task").defer("history", "gate")
        if task:
            found = found.filter(task__name=task)
        at_work = set(Deployment.objects.filter(ended_at__isnull=True).values_list("run_id", flat=True))
        for run in found[:limit]:
            mark = "*" if run.pk in at_work else " "
            accuracy = reports.summary(run.metrics)
            self.stdout.write(
                f"{mark} #{run.pk:<5} {run.task.name:<12} {run.method:<12} {run.status:<10} {run.verdict:<7} "
                f"{accuracy:<7} {run.error or _progress(run)}".rstrip()
            )

    def _print_one(self, run: Run) -> None:
        is_at_work = Deployment.objects.filter(run=run, ended_at__isnull=True).exists()
        rows: list[tuple[str, str]] = [
            ("task", run.task.name),
            ("status", f"{run.status}{', at work' if is_at_work else ''}"),
            ("error", run.error),
            ("step", _progress(run) if run.status in _OPEN else ""),
            ("attempts", str(run.attempts)),
            ("requested", _time(run.created_at) + (f" by {run.requested_by}" if run.requested_by else "")),
            ("started", _time(run.started_at)),
            ("finished", _time(run.finished_at)),
            ("starts from", f"run #{run.base_id}" if run.base_id else ""),
            ("method", run.method),
            ("options", _options(run)),
            ("snapshot", _snapshot(run)),
            ("classifier", run.artifact),
            ("encoder", run.encoder_artifact),
            ("report", run.report_artifact),
            ("curves", str(tensorboard_folder(run)) if tensorboard_folder(run).is_dir() else ""),
        ]
        self.stdout.write(f"Run #{run.pk}")
        for name, value in rows:
            if value:
                self.stdout.write(f"  {name:<12} {value}")
        for line in reports.lines(run.metrics):
            self.stdout.write(f"  {'figures':<12} {line}")
        if run.verdict:
            against = f", beside run #{run.gate['against']}" if run.gate.get("against") else ""
            self.stdout.write(f"  {'gate':<12} {run.get_verdict_display()}{against}")
            for check in reports.checks(run.gate):
                self.stdout.write(f"    {check.said + ':':<17} {check.title}: {check.sentence}")


def _progress(run: Run) -> str:
    done, total = run.progress.get("done"), run.progress.get("total")
    return f"{run.step} ({done} of {total})" if done and total else run.step


def _time(moment: datetime | None) -> str:
    return localtime(moment).strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def _options(run: Run) -> str:
    """Return the options that differ from the method's preset."""
    preset = TrainingConfig.preset(run.method).model_dump()
    changed = [f"{name}={value}" for name, value in sorted(run.config.items()) if preset.get(name) != value]
    return " ".join(changed) or f"as the preset of {run.method}"


def _snapshot(run: Run) -> str:
    found = run.snapshot
    if found is None:
        return ""
    disputed = f", {found.disputed_rows} disputed ones left out" if found.disputed_rows else ""
    return (
        f"{found.sha256[:12]}: {found.rows} texts of {found.label_count} labels ({found.validation_rows} for "
        f"validation, {found.holdout_rows} held out), {found.out_of_scope_rows} out of scope{disputed}"
    )
