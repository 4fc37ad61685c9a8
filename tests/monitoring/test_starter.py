"""The starter items: complete, in both languages, of the last day, and only into an empty table."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from lepton_app.lib.languages import detect
from monitoring.items import LANGUAGE_CODES
from monitoring.models import Item
from monitoring.starter import load_starter_items, read_starter_items


@pytest.mark.django_db
def test_they_fill_the_last_day_once() -> None:
    before = timezone.now()
    assert load_starter_items() == 40
    assert Counter(Item.objects.values_list("language", flat=True)) == {"en": 20, "zh-hans": 20}
    oldest, newest = Item.objects.last(), Item.objects.first()
    assert oldest is not None
    assert newest is not None
    assert before - timedelta(hours=24) < oldest.published_at
    assert before - timedelta(minutes=10) < newest.published_at < timezone.now()
    assert load_starter_items() == 0
    assert Item.objects.count() == 40


@pytest.mark.django_db
def test_they_stay_away_from_a_table_that_is_in_use() -> None:
    Item.objects.create(source="wire", guid="1", text="Real news", language="en", published_at=timezone.now())
    assert load_starter_items() == 0
    assert Item.objects.count() == 1


def test_each_says_the_language_it_is_written_in_and_links_nowhere_real() -> None:
    items = read_starter_items()
    assert len({(item["source"], item["guid"]) for item in items}) == 40
    assert len({item["text"] for item in items}) == 40
    for item in items:
        assert LANGUAGE_CODES[detect(item["text"])] == item["language"]
        assert item["url"].split("/")[2].endswith(".example")
