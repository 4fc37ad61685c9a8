"""The starter intents: enough of them, different from each other, and refused as a whole when one is wrong."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from intents import catalogue, starter_content
from intents.models import Intent
from lepton_app.learning.models import Sample
from lepton_app.learning.texts import normalise


def test_there_are_enough_intents_with_enough_different_utterances() -> None:
    intents = starter_content.read_intents()
    assert len(intents) >= 30
    for intent in intents:
        for language in ("en", "zh"):
            different = {normalise(text) for text in intent.utterances[language]}
            assert len(different) >= 25, (intent.name, language)
    outside = starter_content.read_out_of_scope()
    assert sum(len(texts) for texts in outside.values()) >= 100


def test_no_utterance_stands_twice() -> None:
    counts = Counter(
        normalise(text)
        for intent in starter_content.read_intents()
        for language in ("en", "zh")
        for text in intent.utterances[language]
    )
    counts.update(normalise(t) for texts in starter_content.read_out_of_scope().values() for t in texts)
    assert [text for text, count in counts.items() if count > 1] == []


@pytest.mark.django_db
def test_loading_fills_the_catalogue() -> None:
    count = starter_content.load()
    catalogue.forget()
    assert Sample.objects.count() == count > 2000
    entry = catalogue.entry("card_lost")
    assert entry is not None
    assert "card" in entry.reply("en").lower()
    assert "卡" in entry.reply("zh")
    assert entry.reply("de") == entry.reply("en")
    assert 3 <= len(catalogue.suggestions("zh")) <= 8
    person = catalogue.entry("talk_to_human")
    assert person is not None
    assert person.hands_over
    assert catalogue.entry("no_such_intent") is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: greeting", "name: hello", "greeting.yaml: the name is 'hello' and should be 'greeting'"),
        ("reply:", "answer:", r"greeting.yaml: missing keys \['reply'\], unknown keys \['answer'\]"),
        ("utterances:\n  en:", "utterances:\n  de:", "greeting.yaml: utterances.en must be a list"),
        ("name: greeting", "name: [greeting", "greeting.yaml: "),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_loaded(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = tmp_path / "starter"
    shutil.copytree(starter_content.FOLDER, folder)
    path = folder / "intents" / "greeting.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(starter_content.StarterError, match=message):
        starter_content.load(folder)
    assert not Intent.objects.exists()
    assert not Sample.objects.exists()
