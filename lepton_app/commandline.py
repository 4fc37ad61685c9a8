"""The entry of ``manage.py``: embedded services around Django's commands, errors in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Commands that need no database and no Redis: they also work where neither can be started.
WITHOUT_SERVICES = frozenset(
    {"check", "collectstatic", "compilemessages", "diffsettings", "findstatic", "help", "makemessages", "version"}
)
_HELP_FLAGS = frozenset({"-h", "--help", "--version"})


def main(argv: list[str]) -> int:
    """Run the command in ``argv`` and return the process's exit status.

    Services that this process started end with it, unless another process has come to use them meanwhile.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_app.settings")
    try:
        import django
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError:
        print("Django is not installed here. Run `make run`, or use .venv/bin/python.", file=sys.stderr)
        return 1

    from lepton_app import embedded
    from lepton_app.lib import env

    lease: embedded.Lease | None = None
    try:
        data_dir = env.read_path("LEPTON_DATA_DIR", default=Path(__file__).resolve().parent.parent / "var")
        embedded.prepare_data_dir(embedded.Layout(data_dir))
        from django.conf import settings

        if _needs_services(argv) and (settings.EMBED_POSTGRES or settings.EMBED_REDIS):
            lease = embedded.acquire(
                settings.EMBEDDED, postgres=settings.EMBED_POSTGRES, redis=settings.EMBED_REDIS, report=_report
            )
        django.setup()
        execute_from_command_line(argv)
    except (embedded.EmbeddedError, env.EnvError, ImproperlyConfigured) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if lease is not None:
            lease.release()
    return 0


def _needs_services(argv: list[str]) -> bool:
    command = argv[1] if len(argv) > 1 else "help"
    return command not in WITHOUT_SERVICES and not _HELP_FLAGS.intersection(argv)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
