"""Load the starter content: ``manage.py load_starter``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app import starter


class Command(BaseCommand):
    """Load the fictional bank's intents, help articles and news items into an empty database."""

    help = "Load the starter content (intents, help articles, news items of a fictional bank) into an empty database."

    def handle(self, *args: Any, **options: Any) -> None:
        """Load all or nothing."""
        try:
            loaded = starter.load()
        except starter.NotEmpty as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{loaded.utterances} utterances, {loaded.articles} articles, {loaded.items} news items loaded."
        )
