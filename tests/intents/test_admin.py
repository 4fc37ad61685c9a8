"""The catalogue in the admin: an intent and its label are one thing to the people who edit it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from intents import catalogue
from intents.models import Intent
from lepton_app.learning.labelling import Labelled, annotate
from lepton_app.learning.models import Annotation, Label, Task

FIELDS = {
    "title_en": "Lost card",
    "title_zh": "卡片丢失",
    "question_en": "I lost my card",
    "question_zh": "我的卡丢了",
    "reply_en": "Freeze it in the app.",
    "reply_zh": "请在 App 中冻结。",
    "description_en": "",
    "description_zh": "",
    "is_active": "on",
}

pytestmark = pytest.mark.usefixtures("static_files")


@pytest.fixture
def editor(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("editor"))
    return client


def add(client: Client, **changes: str) -> int:
    return client.post(reverse("admin:intents_intent_add"), {**FIELDS, "name": "card_lost", **changes}).status_code


def test_a_new_intent_makes_its_label_and_takes_one_that_has_texts(editor: Client) -> None:
    task = Task.objects.create(name="intent", title="Intent")
    annotate(task, [Labelled("my card is gone", "card_lost")], source=Annotation.Source.IMPORT)
    assert add(editor) == 302
    assert add(editor, name="card_found") == 302
    assert sorted(Intent.objects.values_list("label__name", flat=True)) == ["card_found", "card_lost"]
    assert Label.objects.count() == 2
    page = editor.get(reverse("admin:intents_intent_changelist")).content.decode()
    assert "1 / 0" in page


@pytest.mark.django_db(transaction=True)
def test_renaming_keeps_the_texts_and_the_next_reply_knows_it(editor: Client) -> None:
    assert add(editor) == 302
    intent = Intent.objects.get()
    url = reverse("admin:intents_intent_change", args=[intent.pk])
    assert b'value="card_lost"' in editor.get(url).content
    catalogue.forget()
    assert catalogue.entry("card_lost") is not None
    assert editor.post(url, {**FIELDS, "name": "lost_card", "reply_en": "Call us."}).status_code == 302
    assert Label.objects.get().name == "lost_card"
    assert catalogue.entry("card_lost") is None
    entry = catalogue.entry("lost_card")
    assert entry is not None
    assert entry.reply("en") == "Call us."


@pytest.mark.parametrize(
    ("name", "message"),
    [("card_lost", "Another intent has this name already."), ("Card lost!", "Lower-case letters, digits")],
)
def test_a_name_that_is_taken_or_odd_is_refused_and_nothing_is_stored(editor: Client, name: str, message: str) -> None:
    assert add(editor) == 302
    answer = editor.post(reverse("admin:intents_intent_add"), {**FIELDS, "name": name})
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert Intent.objects.count() == Label.objects.count() == 1


def test_the_list_costs_as_many_queries_with_one_row_as_with_many(editor: Client) -> None:
    url = reverse("admin:intents_intent_changelist")
    add(editor, name="one")
    editor.get(url)
    with CaptureQueriesContext(connection) as few:
        editor.get(url)
    for number in range(6):
        add(editor, name=f"more_{number}")
    with CaptureQueriesContext(connection) as many:
        editor.get(url)
    assert len(many) == len(few)
