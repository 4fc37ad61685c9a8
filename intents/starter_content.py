"""Load the intents of the fictional bank: catalogue entries and their utterances, all or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction

from intents.classifier import TASK
from intents.models import Intent
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Label, Task

FOLDER = Path(__file__).parent / "starter"
_KEYS = {"name", "title", "description", "reply", "question", "utterances"}
_OPTIONAL_KEYS = {"suggested", "hands_over"}
_LANGUAGES = ("en", "zh")


class StarterError(ValueError):
    """A starter file is not as it should be; the message names the file and what is wrong."""


@dataclass(frozen=True)
class IntentFile:
    """One file of ``starter/intents``: texts per language under "en" and "zh"."""

    name: str
    title: dict[str, str]
    description: dict[str, str]
    reply: dict[str, str]
    question: dict[str, str]
    utterances: dict[str, list[str]]
    suggested: bool = False
    hands_over: bool = False


def read_intents(folder: Path = FOLDER) -> list[IntentFile]:
    """Return the intents of a folder, ordered by name. Raises ``StarterError``."""
    return [_read_intent(path) for path in sorted((folder / "intents").glob("*.yaml"))]


def read_out_of_scope(folder: Path = FOLDER) -> dict[str, list[str]]:
    """Return the utterances that belong to no intent, per language. Raises ``StarterError``."""
    path = folder / "out_of_scope.yaml"
    content = _mapping(path)
    return {language: _texts(path, content.get("utterances", {}), language) for language in _LANGUAGES}


@transaction.atomic
def load(folder: Path = FOLDER) -> int:
    """Store the intents with their labelled utterances and return how many utterances there are."""
    files = read_intents(folder)
    task, _made = Task.objects.get_or_create(
        name=TASK, defaults={"title": "Intent", "description": "What a customer wants from the support desk."}
    )
    rows = [Labelled(text, file.name) for file in files for text in _all(file.utterances)]
    rows += [Labelled(text, None) for text in _all(read_out_of_scope(folder))]
    count = annotate(task, rows, source=Annotation.Source.STARTER)
    labels = {label.name: label for label in Label.objects.filter(task=task)}
    Intent.objects.bulk_create(
        [
            Intent(
                label=labels[file.name],
                title_en=file.title["en"],
                title_zh=file.title["zh"],
                description_en=file.description["en"],
                description_zh=file.description["zh"],
                question_en=file.question["en"],
                question_zh=file.question["zh"],
                reply_en=file.reply["en"],
                reply_zh=file.reply["zh"],
                is_suggested=file.suggested,
                hands_over=file.hands_over,
            )
            for file in files
        ]
    )
    return count


def _all(texts: dict[str, list[str]]) -> Iterable[str]:
    return (text for language in _LANGUAGES for text in texts[language])


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StarterError(f"{path.name}: {error}") from error
    if not isinstance(content, dict):
        raise StarterError(f"{path.name}: a mapping of keys is expected")
    return content


def _read_intent(path: Path) -> IntentFile:
    content = _mapping(path)
    missing, unknown = _KEYS - content.keys(), content.keys() - _KEYS - _OPTIONAL_KEYS
    if missing or unknown:
        raise StarterError(f"{path.name}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}")
    if content["name"] != path.stem:
        raise StarterError(f"{path.name}: the name is {content['name']!r} and should be {path.stem!r}")
    texts: dict[str, dict[str, str]] = {}
    for key in ("title", "description", "reply", "question"):
        value = content[key]
        if not isinstance(value, dict) or any(not str(value.get(language, "")).strip() for language in _LANGUAGES):
            raise StarterError(f"{path.name}: {key} needs a text under en and one under zh")
        texts[key] = {language: str(value[language]).strip() for language in _LANGUAGES}
    return IntentFile(
        name=content["name"],
        utterances={language: _texts(path, content["utterances"], language) for language in _LANGUAGES},
        suggested=bool(content.get("suggested", False)),
        hands_over=bool(content.get("hands_over", False)),
        **texts,
    )


def _texts(path: Path, utterances: Any, language: str) -> list[str]:
    found = utterances.get(language) if isinstance(utterances, dict) else None
    if not isinstance(found, list) or not found or any(not isinstance(text, str) or not text.strip() for text in found):
        raise StarterError(f"{path.name}: utterances.{language} must be a list of texts that are not empty")
    return found
