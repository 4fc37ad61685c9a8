"""``manage.py sync_roles``: gives each group of staff exactly its permissions."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_app import roles


class Command(BaseCommand):
    """Brings the groups in line with the table in ``lepton_app/roles.py``."""

    help = "Give the groups of staff exactly the permissions they need, and take away all others."

    def handle(self, *args: Any, **options: Any) -> None:
        """Sync the groups and say what has changed."""
        try:
            done = roles.sync()
        except roles.UnknownPermission as error:
            raise CommandError(str(error)) from error
        names = ", ".join(roles.ROLES)
        self.stdout.write(f"{names}: {done.added} permissions given, {done.removed} taken away.")
