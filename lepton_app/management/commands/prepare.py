"""Make the installation ready to serve: ``manage.py prepare``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app import preparation, reachable
from lepton_app.lib.artifacts import ArtifactError
from lepton_app.progress import Steps


class Command(BaseCommand):
    """Do what `start` does before it runs the processes; safe to run again at any time."""

    help = (
        "Migrate the database, load starter content into an empty one, export the encoder, train and deploy the intent "
        "classifier, build the index and make an administrator, each only where it is missing. `start` calls it; on "
        "several machines run it once after each update, before the processes start."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each step, and the administrator's password when one was made."""
        try:
            reachable.check()
            administrator = preparation.prepare(Steps())
        except (reachable.Unreachable, preparation.PreparationError, ArtifactError) as error:
            raise CommandError(str(error)) from None
        if administrator is not None:
            self.stdout.write(
                f"\n  Administrator   {administrator.name}\n  Password        {administrator.password}\n"
                "  The password is shown this once; change it in the admin."
            )
