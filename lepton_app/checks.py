"""System checks: what would go wrong later is said at the start, with an id and a hint."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution

_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@register(Tags.security)
def data_directory_is_private(app_configs: Sequence[Any] | None, **options: Any) -> list[CheckMessage]:
    """The data directory holds the secret key, customers' words and models: nobody else may read it."""
    folder: Path = settings.DATA_DIR
    if folder.exists() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return [
            Error(
                f"Others can read the data directory {folder}.",
                hint=f"Run `chmod 700 {folder}`.",
                id="lepton.E001",
            )
        ]
    return []


@register(Tags.translation)
def translations_are_compiled(app_configs: Sequence[Any] | None, **options: Any) -> list[CheckMessage]:
    """Without compiled catalogues everybody reads English, and nothing else would say so."""
    messages: list[CheckMessage] = []
    for folder in settings.LOCALE_PATHS:
        for catalogue in sorted(Path(folder).glob("*/LC_MESSAGES/django.po")):
            compiled = catalogue.with_suffix(".mo")
            if not compiled.exists() or compiled.stat().st_mtime < catalogue.stat().st_mtime:
                messages.append(
                    Caution(
                        f"The translation {catalogue.parent.parent.name} is not compiled.",
                        hint="Run `make messages`.",
                        id="lepton.W001",
                    )
                )
    return messages


@register
def encoder_exists(app_configs: Sequence[Any] | None, **options: Any) -> list[CheckMessage]:
    """An encoder that is named as a folder must be one."""
    source = settings.LEPTON_ENCODER
    if source.startswith(("/", ".", "~")) and not (Path(source).expanduser() / "config.json").exists():
        return [
            Error(
                f"LEPTON_ENCODER names the folder {source!r}, which holds no model.",
                hint="Name a folder with config.json, tokenizer.json and weights, or remove the variable.",
                id="lepton.E002",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def production_has_services_of_its_own(app_configs: Sequence[Any] | None, **options: Any) -> list[CheckMessage]:
    """Embedded services serve one machine: other machines cannot reach them, and nobody backs them up."""
    missing = [
        name
        for name, embedded in (("DATABASE_URL", settings.EMBED_POSTGRES), ("REDIS_URL", settings.EMBED_REDIS))
        if embedded
    ]
    if not missing:
        return []
    return [
        Caution(
            f"Embedded services are used, because of what is not set: {', '.join(missing)}.",
            hint="Point them to servers that you run and back up.",
            id="lepton.W002",
        )
    ]


@register(Tags.security, deploy=True)
def hosts_are_named(app_configs: Sequence[Any] | None, **options: Any) -> list[CheckMessage]:
    """The defaults answer on this machine alone, and a star answers for everybody."""
    hosts = set(settings.ALLOWED_HOSTS)
    if "*" in hosts or hosts <= _OWN_HOSTS:
        return [
            Caution(
                f"LEPTON_ALLOWED_HOSTS is {', '.join(sorted(hosts))}.",
                hint="List the host names under which people reach this installation.",
                id="lepton.W003",
            )
        ]
    return []
