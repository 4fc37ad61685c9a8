"""The starter content of a fictional online bank and broker, loaded into an empty installation only."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from intents.models import Intent
from lepton_app.learning.models import Sample
from monitoring.models import Item
from retrieval.models import Article


class NotEmpty(Exception):
    """The installation holds content of its own, which starter content must not mix with."""


@dataclass(frozen=True)
class Loaded:
    """How much was loaded."""

    utterances: int
    articles: int
    items: int


def is_empty() -> bool:
    """Tell whether there are neither intents nor labelled texts, articles or news items."""
    return not any(model.objects.exists() for model in (Intent, Sample, Article, Item))


@transaction.atomic
def load() -> Loaded:
    """Load everything or nothing. Raises ``NotEmpty``, and each part's own error for a file that is wrong."""
    from intents import starter_content
    from monitoring.starter import load_starter_items
    from retrieval.starter_content import load_starter_articles

    if not is_empty():
        raise NotEmpty("The starter content goes into an empty database only; this one has content.")
    return Loaded(utterances=starter_content.load(), articles=load_starter_articles(), items=load_starter_items())
