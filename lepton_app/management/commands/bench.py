"""Every measurement of the project: ``manage.py bench NAME …``."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand

from lepton_app import benchmarks


class Command(BaseCommand):
    """Measure one part; progress goes to standard error, the figures are one JSON object in the last line."""

    help = "Measure one part of the system. The last line on standard output is one JSON object with the figures."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add a sub-command for each module of ``lepton_app.benchmarks``."""
        names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
        for found in pkgutil.iter_modules(benchmarks.__path__):
            if found.name.startswith("_"):
                continue
            module = importlib.import_module(f"{benchmarks.__name__}.{found.name}")
            if not hasattr(module, "run"):
                continue
            summary = (module.__doc__ or "").strip().splitlines()[0]
            sub = names.add_parser(
                found.name.replace("_", "-"),
                help=summary,
                description=module.__doc__,
                formatter_class=RawDescriptionHelpFormatter,
            )
            module.add_arguments(sub)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the measurement and print its figures."""
        module = importlib.import_module(f"{benchmarks.__name__}.{options['name'].replace('-', '_')}")
        figures = module.run(options, progress)
        self.stdout.write(json.dumps(figures, ensure_ascii=False))


def progress(line: str) -> None:
    """Print one line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)
