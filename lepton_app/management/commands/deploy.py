"""Put a run's model to work: ``manage.py deploy RUN``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app.learning import deployments
from lepton_app.learning.errors import LearningError
from lepton_app.learning.models import Run


class Command(BaseCommand):
    """Move the mark of the run's task to the run; serving processes swap within seconds."""

    help = (
        "Put the model of training run RUN to work, if the gate passes it beside the model that is at work now. "
        "Serving processes swap within seconds, without a restart."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run's number and the reason."""
        parser.add_argument("run", metavar="RUN", type=int, help="The run's number, as `manage.py runs` lists it.")
        parser.add_argument(
            "--reason",
            default="",
            help="Why it is to be deployed although the gate does not pass it; kept with the deployment.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Deploy, or say why not."""
        run = Run.objects.filter(pk=options["run"]).first()
        if run is None:
            raise CommandError(f"There is no run #{options['run']}; `manage.py runs` lists them.")
        try:
            deployment = deployments.deploy(run, reason=options["reason"])
        except LearningError as error:
            raise CommandError(str(error)) from None
        against = f" (the gate: {deployment.get_verdict_display()})" if deployment.verdict else ""
        self.stdout.write(f"{deployment} is at work{against}.")
