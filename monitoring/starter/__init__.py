"""Starter items: fictional news and posts in English and Chinese, so that the dashboard is alive on a first start.

``items.jsonl`` holds one item a line; ``minutes_ago`` stands in place of ``published_at``, so that the last day is
full whenever they are loaded. Every company, source and person in it is invented.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from monitoring.items import parse_item
from monitoring.models import Item

ITEMS_FILE = Path(__file__).with_name("items.jsonl")


def read_starter_items() -> list[dict[str, Any]]:
    """Return the file's items as they stand there, newest first."""
    return [json.loads(line) for line in ITEMS_FILE.read_text(encoding="utf-8").splitlines()]


@transaction.atomic
def load_starter_items() -> int:
    """Store the starter items as if they had just been published, and return how many.

    Only into an empty table: where there is any item, nothing happens and 0 is returned.
    """
    if Item.objects.exists():
        return 0
    now = timezone.now()
    items = []
    for raw in read_starter_items():
        published_at = now - timedelta(minutes=raw.pop("minutes_ago"))
        item = parse_item(raw | {"published_at": published_at}, now=now)
        items.append(
            Item(
                source=item.source,
                guid=item.guid,
                title=item.title,
                text=item.text,
                url=item.url,
                language=item.language,
                published_at=item.published_at,
                received_at=now,
            )
        )
    Item.objects.bulk_create(items)
    return len(items)
