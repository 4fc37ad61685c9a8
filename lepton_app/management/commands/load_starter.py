"""Load the starter content: ``manage.py load_starter``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app import starter
from lepton_app.learning.errors import LearningError
from lepton_app.lib.artifacts import ArtifactError
from lepton_app.lib.encoder_export import ExportError
from monitoring.starter.model import deploy_starter_model


class Command(BaseCommand):
    """Load the fictional bank's intents, help articles and news items, and put the sentiment model to work."""

    help = (
        "Load the starter content (intents, help articles, news items of a fictional bank) into an empty database, "
        "and put the sentiment model that comes with it to work."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load all content or nothing; then deploy the model where no other one is at work."""
        try:
            loaded = starter.load()
        except starter.NotEmpty as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{loaded.utterances} utterances, {loaded.articles} articles, {loaded.items} news items loaded."
        )
        try:
            deployed = deploy_starter_model(progress=lambda line: self.stderr.write(line))
        except (LearningError, ArtifactError, ExportError) as error:
            raise CommandError(f"The sentiment model could not be put to work: {error}") from error
        if deployed is not None:
            self.stdout.write(f"Sentiment model deployed: {deployed}.")
