"""Who answers when an intent and the documents both have something to say."""

from __future__ import annotations

import asyncio

import pytest

from lepton_app.chat.models import Message
from lepton_app.chat.replies import language_of
from tests.chat.conftest import FakeClassifier, FakeModels, OpenTab, on_thread

pytestmark = pytest.mark.django_db(transaction=True)


async def ask(open_tab: OpenTab, text: str) -> Message:
    """Send a message in a new conversation and return the assistant's reply as it is stored."""
    tab = await open_tab()
    await tab.hello()
    await tab.say(text)
    await tab.message("assistant")
    return await on_thread(Message.objects.get)(author=Message.Author.ASSISTANT)


@pytest.mark.parametrize(
    ("text", "route", "searched"),
    [
        ("hello", "intent", False),  # typical of its intent: nobody looks further
        ("hello, a detail of a transfer", "answer", True),  # the documents strongly support an answer
        ("hello, a detail of money", "intent", True),  # they do not
        ("complaint about a detail of a transfer", "intent", True),  # an intent that hands over is never overruled
    ],
)
async def test_a_text_that_is_not_typical_is_looked_up_first(
    open_tab: OpenTab, models: FakeModels, text: str, route: str, searched: bool
) -> None:
    reply = await ask(open_tab, text)
    assert reply.lineage["route"] == route
    assert reply.lineage["reason"] == ("not_typical" if "detail" in text else "confident")
    assert bool(models.asked) is (searched and "complaint" not in text)


async def test_when_the_search_fails_the_intent_still_replies(open_tab: OpenTab, models: FakeModels) -> None:
    models.search_error = RuntimeError("index away")
    reply = await ask(open_tab, "hello, a detail of a transfer")
    assert reply.lineage["route"] == "intent"
    assert reply.lineage["failures"] == {"search": "RuntimeError"}


async def test_a_classifier_with_its_own_encoder_reads_its_own_rows(open_tab: OpenTab, models: FakeModels) -> None:
    models.owns_encoder = True
    reply = await ask(open_tab, "hello, a detail of a transfer")
    assert reply.lineage["route"] == "answer"  # found with the installation's encoder, as FakeModels asserts
    assert reply.lineage["classifier_version"] == "fake-classifier"
    assert "failures" not in reply.lineage


async def test_the_two_encoders_work_side_by_side(
    open_tab: OpenTab, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.owns_encoder = True
    both = asyncio.Barrier(2)
    encode = FakeClassifier.encode

    async def together(self: FakeClassifier, text: str) -> object:
        await both.wait()
        return await encode(self, text)

    models.before_encode = both.wait
    monkeypatch.setattr(FakeClassifier, "encode", together)
    async with asyncio.timeout(10):
        assert (await ask(open_tab, "hello")).lineage["route"] == "intent"


async def test_when_the_classifiers_own_encoder_fails_the_documents_answer(
    open_tab: OpenTab, models: FakeModels
) -> None:
    models.owns_encoder = True
    models.own_encoder_error = RuntimeError("closed")
    reply = await ask(open_tab, "hello, a detail of a transfer")
    assert reply.lineage["route"] == "answer"
    assert reply.lineage["failures"] == {"classifier": "RuntimeError"}
    assert models.offered == []


async def test_a_candidate_is_shown_what_was_classified_once_the_reply_is_stored(
    open_tab: OpenTab, models: FakeModels
) -> None:
    await ask(open_tab, "hello")
    assert models.offered == [("intent", 7, "hello", "greeting")]


@pytest.mark.parametrize(
    ("text", "conversation", "language"),
    [
        ("How much is it?", "zh-hans", "en"),
        ("多少钱", "en", "zh"),
        ("PIN", "zh-hans", "zh"),
        ("我的 app 登不上", "en", "zh"),
        ("?", "en", "en"),
    ],
)
def test_the_text_decides_the_language_and_the_conversation_where_it_says_nothing(
    text: str, conversation: str, language: str
) -> None:
    assert language_of(text, conversation_language=conversation) == language
