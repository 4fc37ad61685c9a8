"""The websocket as a customer's browser uses it, on real PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from lepton_app.chat import consumers, delivery, handover, protocol
from lepton_app.chat.models import Conversation, Message, Site
from lepton_app.chat.tokens import make_token
from tests.chat.conftest import SITE_ORIGIN, FakeModels, OpenTab, on_thread

pytestmark = pytest.mark.django_db(transaction=True)

count_messages = on_thread(Message.objects.count)
count_conversations = on_thread(Conversation.objects.count)


async def test_a_known_intent_is_replied_to_with_its_lineage(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    assert (welcome["messages"], welcome["last_sequence"], welcome["more"]) == ([], 0, False)
    assert (welcome["status"], welcome["language"]) == ("assistant", "en")

    client_id = await tab.say("  hello <b>you</b>\n ")
    frames = [await tab.frame() for _ in range(4)]

    assert [frame["type"] for frame in frames] == ["message", "typing", "message", "typing"]
    assert [frames[1]["on"], frames[3]["on"]] == [True, False]
    said, reply = frames[0]["message"], frames[2]["message"]
    assert (said["sequence"], said["author"], said["client_id"]) == (1, "customer", client_id)
    assert (said["text"], said["html"]) == ("hello <b>you</b>", "<p>hello &lt;b&gt;you&lt;/b&gt;</p>")
    assert (reply["sequence"], reply["author"], reply["client_id"]) == (2, "assistant", None)
    assert reply["html"].strip() == "<p>Reply of <strong>greeting</strong>.</p>"
    stored = await on_thread(Message.objects.select_related("in_reply_to").get)(sequence=2)
    assert stored.in_reply_to is not None
    assert stored.in_reply_to.sequence == 1
    assert stored.lineage["route"] == "intent"
    assert stored.lineage["intent"] == "greeting"
    assert stored.lineage["classifier_version"] == "fake-classifier"
    assert stored.lineage["encoder_version"] == "fake-encoder"
    assert stored.lineage["scores"]["probability"] == 0.95
    assert models.asked == []


async def test_a_question_of_the_articles_gets_their_sentences_with_citations(
    open_tab: OpenTab, models: FakeModels
) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.say("What does a transfer cost?")
    reply = await tab.message("assistant")

    assert reply["text"] == "Transfers within the bank are free. Transfers within the bank are free."
    assert [sentence["citation"] for sentence in reply["attachments"]["sentences"]] == [1, 1]
    assert reply["attachments"]["citations"] == [
        {
            "number": 1,
            "title": "Transfers",
            "section": "Fees",
            "quote": "Transfers within the bank are **free**.",
            "url": "/kb/7.json?start=0&end=39",
        }
    ]
    stored = await on_thread(Message.objects.get)(sequence=2)
    assert stored.lineage["route"] == "answer"
    assert stored.lineage["retrieval"] == {"index_version": "fake-index"}
    assert (stored.lineage["support"], stored.lineage["support_threshold"]) == (0.9, 0.5)


async def test_what_nothing_supports_is_refused_honestly_and_a_person_is_offered(
    open_tab: OpenTab, models: FakeModels
) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.say("Where does money come from?")
    reply = await tab.message("assistant")
    assert "rather not guess" in reply["text"]
    assert reply["attachments"] == {"offer_person": True, "near": [{"title": "Transfers", "url": "/kb/7.json"}]}

    # Articles of something else are no help.
    await tab.say("Who won the world cup?")
    reply = await tab.message("assistant")
    assert "rather not guess" in reply["text"]
    assert reply["attachments"] == {"offer_person": True}


async def test_two_likely_intents_are_asked_about_and_the_choice_is_taken(
    open_tab: OpenTab, models: FakeModels
) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.say("my card")
    reply = await tab.message("assistant")
    choices = reply["attachments"]["choices"]
    assert [choice["text"] for choice in choices] == ["card_lost?", "card_freeze?"]

    await tab.say(choices[1]["text"])
    assert (await tab.message("assistant"))["text"] == "Reply of **card_freeze**."
    assert (await on_thread(Message.objects.get)(sequence=4)).lineage["reason"] == "chosen"


async def test_a_chinese_question_gets_chinese_whatever_the_conversations_language(
    open_tab: OpenTab, models: FakeModels
) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.say("你好")
    assert (await tab.message("assistant"))["text"] == "greeting的回复。"
    await tab.say("世界杯谁赢了？")
    await tab.message("assistant")
    assert models.asked == [("世界杯谁赢了？", "zh")]


async def test_an_intent_that_hands_over_replies_first_and_then_waits(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.say("a complaint")
    assert (await tab.message("assistant"))["text"] == "Reply of **complaint**."
    system = await tab.message("system")
    assert system["sequence"] == 3
    await tab.until_status("waiting")

    conversation = await on_thread(Conversation.objects.get)()
    assert conversation.waiting_since is not None
    await tab.say("hello")
    await tab.message("customer")
    assert await tab.is_quiet()
    assert await count_messages() == 4


async def test_a_message_that_is_sent_again_is_stored_and_answered_once(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    await tab.hello()
    client_id = await tab.say("hello")
    first = await tab.message("customer")
    await tab.message("assistant")
    await tab.say("hello, once more", client_id)
    again = await tab.message("customer")

    assert again == first
    assert await tab.is_quiet()
    assert await count_messages() == 2


async def test_the_tabs_of_a_visitor_agree(open_tab: OpenTab, models: FakeModels) -> None:
    first, second = await open_tab(), await open_tab()
    welcome = await first.hello()
    resumed = await second.hello(token=welcome["token"])
    assert resumed["conversation"] == welcome["conversation"]

    await first.say("hello")
    await second.say("What does a transfer cost?")
    seen = []
    for tab in (first, second):
        bodies: list[dict[str, Any]] = []
        while len(bodies) < 4:
            frame = await tab.frame()
            if frame["type"] == "message":
                bodies.append(frame["message"])
        seen.append(bodies)
    assert seen[0] == seen[1]
    assert [body["sequence"] for body in seen[0]] == [1, 2, 3, 4]


async def test_the_other_tab_sees_that_the_assistant_writes(open_tab: OpenTab, models: FakeModels) -> None:
    first, second = await open_tab(), await open_tab()
    welcome = await first.hello()
    await second.hello(token=welcome["token"], conversation=welcome["conversation"])
    await first.say("hello")
    typing = [await second.until(lambda frame: frame["type"] == "typing") for _ in range(2)]
    assert [frame["on"] for frame in typing] == [True, False]


async def test_a_reload_resumes_after_what_was_seen(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    await tab.say("hello")
    await tab.message("assistant")
    await tab.disconnect()

    for after, expected in ((0, [1, 2]), (1, [2]), (2, []), (99, [])):
        back = await open_tab()
        resumed = await back.hello(token=welcome["token"], conversation=welcome["conversation"], after=after)
        assert [message["sequence"] for message in resumed["messages"]] == expected
        assert resumed["last_sequence"] == 2
    assert await count_conversations() == 1


async def test_more_messages_than_a_welcome_holds_follow_in_order(
    open_tab: OpenTab, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "WELCOME_MESSAGES", 3)
    monkeypatch.setattr(consumers, "_PAGE", 2)
    tab = await open_tab()
    welcome = await tab.hello()
    for _ in range(4):
        await tab.say("hello")
        await tab.message("assistant")
    back = await open_tab()
    resumed = await back.hello(token=welcome["token"], conversation=welcome["conversation"])
    assert resumed["more"]
    assert [message["sequence"] for message in resumed["messages"]] == [1, 2, 3]
    assert [(await back.frame())["message"]["sequence"] for _ in range(5)] == [4, 5, 6, 7, 8]


async def test_a_reply_that_was_never_made_is_made_at_the_next_hello(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    # As a process leaves it that dies between storing the message and answering it.
    await on_thread(delivery.store_customer_message)(
        uuid.UUID(welcome["conversation"]), client_id=uuid.uuid4(), text="hello"
    )
    await tab.disconnect()
    assert await count_messages() == 1

    back = await open_tab()
    await back.hello(token=welcome["token"], conversation=welcome["conversation"], after=1)
    assert (await back.message("assistant"))["sequence"] == 2


async def test_a_frame_that_the_channel_layer_lost_is_made_up_for(
    open_tab: OpenTab, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await open_tab(), await open_tab()
    welcome = await first.hello()
    await second.hello(token=welcome["token"])
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "publish_on_commit", lambda group, event: None)
        await first.say("hello")
        # The sender gets its frames although nothing was published.
        await first.message("customer")
        await first.message("assistant")
    await first.say("hello again")
    seen = [await second.until(lambda frame: frame["type"] == "message") for _ in range(4)]
    assert [frame["message"]["sequence"] for frame in seen] == [1, 2, 3, 4]


async def test_the_reply_is_stored_although_the_customer_has_left(open_tab: OpenTab, models: FakeModels) -> None:
    is_encoding = asyncio.Event()

    async def slow() -> None:
        is_encoding.set()
        await asyncio.sleep(0.3)

    models.before_encode = slow
    tab = await open_tab()
    await tab.hello()
    await tab.say("hello")
    await is_encoding.wait()
    await tab.disconnect()
    assert await count_messages() == 2


async def test_a_slow_reply_does_not_hold_up_the_next_frame(open_tab: OpenTab, models: FakeModels) -> None:
    go_on = asyncio.Event()
    models.before_encode = go_on.wait
    tab = await open_tab()
    await tab.hello()
    await tab.say("hello")
    await tab.message("customer")
    await tab.say("hello again")
    assert (await tab.message("customer"))["sequence"] == 2
    go_on.set()
    assert [(await tab.message("assistant"))["sequence"] for _ in range(2)] == [3, 4]


async def test_the_assistant_is_silent_when_a_person_took_over_while_it_thought(
    open_tab: OpenTab, models: FakeModels, agent: User
) -> None:
    is_encoding, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        is_encoding.set()
        await go_on.wait()

    models.before_encode = wait
    tab = await open_tab()
    welcome = await tab.hello()
    await tab.say("hello")
    await is_encoding.wait()
    await on_thread(handover.take_over)(uuid.UUID(welcome["conversation"]), staff=agent)
    await tab.until_status("person")
    go_on.set()
    await tab.until(lambda frame: frame["type"] == "typing" and not frame["on"])
    assert await count_messages() == 2


async def test_the_customer_asks_for_a_person_who_answers_and_gives_back(
    open_tab: OpenTab, models: FakeModels, agent: User
) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    conversation_id = uuid.UUID(welcome["conversation"])
    for _ in range(2):
        await tab.send({"type": "handover"})
    assert "colleague" in (await tab.message("system"))["text"]
    await tab.until_status("waiting")

    await on_thread(handover.reply)(conversation_id, staff=agent, text="Hi,\nI am <Mei>.", client_id=uuid.uuid4())
    joined = await tab.message("system")
    assert joined["text"] == "Mei has joined and will answer from here on."
    assert "agent-login" not in joined["text"]
    answer = await tab.message("person")
    assert (answer["html"], answer["client_id"]) == ("<p>Hi,<br>I am &lt;Mei&gt;.</p>", None)

    await tab.until_status("person")
    await on_thread(handover.give_back)(conversation_id, staff=agent)
    await tab.until_status("assistant")
    await tab.say("hello")
    assert (await tab.message("assistant"))["text"] == "Reply of **greeting**."


async def test_nothing_is_added_to_a_closed_conversation(open_tab: OpenTab, models: FakeModels, agent: User) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    await on_thread(handover.close)(uuid.UUID(welcome["conversation"]), staff=agent)
    await tab.until_status("closed")
    client_id = await tab.say("hello")
    error = await tab.until(lambda frame: frame["type"] == "error")
    assert (error["code"], error["client_id"]) == ("closed", client_id)
    await tab.send({"type": "handover"})
    assert await tab.error() == "closed"
    assert await count_messages() == 1
    # Who comes back without naming a conversation begins a new one.
    back = await open_tab()
    assert (await back.hello(token=welcome["token"]))["conversation"] != welcome["conversation"]


# --- models that are missing or fail ----------------------------------------------------------------------------------


async def test_without_an_encoder_the_customer_is_told_and_offered_a_person(
    open_tab: OpenTab, models: FakeModels
) -> None:
    models.encoder_error = RuntimeError("no weights")
    tab = await open_tab()
    await tab.hello()
    await tab.say("hello")
    reply = await tab.message("assistant")
    assert reply["attachments"] == {"offer_person": True}
    assert "cannot look things up" in reply["text"]
    lineage = (await on_thread(Message.objects.get)(sequence=2)).lineage
    assert (lineage["route"], lineage["failures"]) == ("unavailable", {"encoder": "RuntimeError"})


@pytest.mark.parametrize("error", [RuntimeError("broken"), None])
async def test_without_a_classifier_the_articles_still_answer(
    open_tab: OpenTab, models: FakeModels, error: Exception | None
) -> None:
    models.classifier_error = error
    models.is_deployed = False
    tab = await open_tab()
    await tab.hello()
    await tab.say("hello, a transfer please")
    assert (await tab.message("assistant"))["attachments"]["citations"]
    lineage = (await on_thread(Message.objects.get)(sequence=2)).lineage
    assert lineage["failures"] == {"classifier": "not_deployed" if error is None else "RuntimeError"}


async def test_without_an_index_intents_are_replied_to_and_the_rest_is_told_so(
    open_tab: OpenTab, models: FakeModels
) -> None:
    models.search_error = RuntimeError("no index")
    tab = await open_tab()
    await tab.hello()
    await tab.say("hello")
    assert (await tab.message("assistant"))["text"] == "Reply of **greeting**."
    await tab.say("a transfer")
    assert (await tab.message("assistant"))["attachments"] == {"offer_person": True}


async def test_a_reply_that_could_not_be_stored_is_tried_again(
    open_tab: OpenTab, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_RETRY_SECONDS", (0.05, 0.05))
    real, calls = delivery.store_reply, []

    def fail_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise OperationalError("gone")
        return real(*args, **kwargs)

    monkeypatch.setattr(delivery, "store_reply", fail_once)
    tab = await open_tab()
    await tab.hello()
    await tab.say("hello")
    assert (await tab.message("assistant"))["sequence"] == 2
    assert len(calls) == 2


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("{", "bad_json"),
        ("", "bad_json"),
        ("[" * 60_000, "bad_json"),
        ('{"type": "send", "after": NaN}', "bad_json"),
        ("[1]", "bad_frame"),
        ("{}", "bad_frame"),
        ('{"type": ["send"]}', "bad_frame"),
        ('{"type": "shout"}', "unknown_type"),
        ('{"type": "handover", "to": "boss"}', "bad_frame"),
        ('{"type": "hello", "language": "en"}', "bad_frame"),  # a second greeting
        ('{"type": "send", "text": "no id"}', "bad_frame"),
        ('{"type": "send", "client_id": "1", "text": "bad id"}', "bad_frame"),
    ],
)
async def test_a_malformed_frame_is_refused_and_the_conversation_goes_on(
    open_tab: OpenTab, models: FakeModels, raw: str, code: str
) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.send_raw(text=raw)
    assert await tab.error() == code
    assert await count_messages() == 0
    await tab.say("hello")
    assert (await tab.message("assistant"))["sequence"] == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("x" * 4001, "too_long"),
        ("nul \x00", "bad_frame"),
        ("half a pair \ud83d", "bad_frame"),
        (7, "bad_frame"),
        (None, "bad_frame"),
    ],
)
async def test_a_text_that_cannot_be_stored_is_refused(
    open_tab: OpenTab, models: FakeModels, text: Any, code: str
) -> None:
    tab = await open_tab()
    await tab.hello()
    client_id = await tab.say(text)
    error = await tab.until(lambda frame: frame["type"] == "error")
    assert (error["code"], error["client_id"]) == (code, client_id)
    assert await count_messages() == 0


async def test_details_of_errors_are_in_the_visitors_language(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    await tab.hello(language="zh-hans")
    conversation = await on_thread(Conversation.objects.get)()
    assert conversation.language == "zh-hans"


async def test_binary_is_refused(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    await tab.hello()
    await tab.send_raw(data=b"\x00\x01")
    assert await tab.error() == "binary"
    assert await count_messages() == 0


@pytest.mark.parametrize("is_binary", [True, False])
async def test_100_kb_are_refused_and_the_socket_is_closed(
    open_tab: OpenTab, models: FakeModels, is_binary: bool
) -> None:
    tab = await open_tab()
    await tab.hello()
    frame = json.dumps({"type": "send", "client_id": str(uuid.uuid4()), "text": "x" * 100_000})
    await (tab.send_raw(data=frame.encode()) if is_binary else tab.send_raw(text=frame))
    assert await tab.error() == "too_long"
    assert await tab.close_code() == 1009
    assert await count_messages() == 0


async def test_nothing_is_taken_before_the_greeting(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    await tab.say("hello")
    assert await tab.error() == "not_greeted"
    assert (await count_messages(), await count_conversations()) == (0, 0)


async def test_who_never_greets_is_closed(
    open_tab: OpenTab, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "HELLO_SECONDS", 0.05)
    assert await (await open_tab()).close_code() == 4400


async def test_ten_bad_frames_close_the_socket(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    for _ in range(protocol.MAX_BAD_FRAMES):
        await tab.send_raw(text="{")
    assert await tab.close_code() == 4400


@pytest.mark.parametrize(
    "hello",
    [
        {"language": "fr"},
        {},
        {"language": "en", "after": -1},
        {"language": "en", "after": True},
        {"language": "en", "after": 2**40},
        {"language": "en", "conversation": "x"},
        {"language": "en", "token": 7},
        {"language": "en", "token": "x" * 5000},
        {"language": "en", "admin": True},
    ],
)
async def test_a_malformed_greeting_is_refused(open_tab: OpenTab, models: FakeModels, hello: dict[str, Any]) -> None:
    tab = await open_tab()
    await tab.send({"type": "hello", **hello})
    assert await tab.error() == "bad_frame"
    assert await count_conversations() == 0


async def test_a_forged_token_is_refused(open_tab: OpenTab, models: FakeModels, site: Site) -> None:
    cut, foreign = make_token(uuid.uuid4(), site_key=site.public_key)[:-1], make_token(uuid.uuid4(), site_key="x")
    for token in ("nonsense", cut, foreign):
        tab = await open_tab()
        await tab.send({"type": "hello", "language": "en", "token": token})
        assert await tab.close_code() == 4401
    assert await count_conversations() == 0


async def test_an_expired_token_is_refused(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    back = await open_tab()
    with override_settings(CHAT_TOKEN_DAYS=0):
        await asyncio.sleep(0.01)
        await back.send({"type": "hello", "language": "en", "token": welcome["token"]})
        assert await back.close_code() == 4401
    assert await count_conversations() == 1


@pytest.mark.parametrize("has_token", [True, False])
async def test_somebody_elses_conversation_is_refused(open_tab: OpenTab, models: FakeModels, has_token: bool) -> None:
    tab, stranger, thief = await open_tab(), await open_tab(), await open_tab()
    welcome = await tab.hello()
    own = await stranger.hello()
    hello = {"type": "hello", "language": "en", "conversation": welcome["conversation"]}
    await thief.send(hello | ({"token": own["token"]} if has_token else {}))
    assert await thief.close_code() == 4404
    assert await count_conversations() == 2
    await tab.say("hello")
    await tab.message("assistant")
    assert await stranger.is_quiet()


async def test_a_conversation_of_another_site_is_refused(open_tab: OpenTab, models: FakeModels, site: Site) -> None:
    other = await on_thread(Site.objects.create)(name="Other")
    visitor = uuid.uuid4()
    conversation = await on_thread(Conversation.objects.create)(site=other, visitor_id=visitor)
    tab = await open_tab()
    token = make_token(visitor, site_key=site.public_key)
    await tab.send({"type": "hello", "language": "en", "token": token, "conversation": str(conversation.pk)})
    assert await tab.close_code() == 4404


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "https://evil.example",
        "http://shop.example",
        "https://shop.example.evil.example",
        "file://",
        "http://[",
    ],
)
async def test_pages_of_other_origins_are_refused(open_tab: OpenTab, models: FakeModels, origin: str | None) -> None:
    tab = await open_tab(origin=origin)
    assert await tab.close_code() == 4403
    assert await count_conversations() == 0


async def test_pages_of_the_sites_origins_are_accepted(open_tab: OpenTab, models: FakeModels) -> None:
    assert (await (await open_tab(origin=SITE_ORIGIN)).hello())["conversation"]


async def test_a_site_that_is_unknown_or_switched_off_is_refused(
    open_tab: OpenTab, models: FakeModels, site: Site
) -> None:
    assert await (await open_tab(key="unknown")).close_code() == 4403
    await on_thread(Site.objects.filter(pk=site.pk).update)(is_active=False)
    assert await (await open_tab()).close_code() == 4403


async def test_a_client_id_of_a_colleagues_message_gives_nothing_away(
    open_tab: OpenTab, models: FakeModels, agent: User
) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    client_id = uuid.uuid4()
    await on_thread(handover.reply)(uuid.UUID(welcome["conversation"]), staff=agent, text="Hi", client_id=client_id)
    await tab.message("person")
    await tab.say("mine", str(client_id))
    assert await tab.error() == "bad_frame"
    assert await count_messages() == 2


async def test_a_database_that_is_away_is_said_and_the_socket_stays(
    open_tab: OpenTab, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = await open_tab()
    await tab.hello()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "lock", fail)
        client_id = await tab.say("hello")
        error = await tab.until(lambda frame: frame["type"] == "error")
        assert (error["code"], error["client_id"]) == ("unavailable", client_id)
    await tab.say("hello", client_id)
    assert (await tab.message("assistant"))["sequence"] == 2


async def test_a_conversation_that_was_deleted_is_closed(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    await tab.hello()
    await on_thread(Conversation.objects.all().delete)()
    await tab.say("hello")
    assert await tab.error() == "closed"


async def test_waiting_time_starts_once(open_tab: OpenTab, models: FakeModels) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    conversation_id = uuid.UUID(welcome["conversation"])
    first = await on_thread(handover.ask_for_person)(conversation_id, reason="customer")
    second = await on_thread(handover.ask_for_person)(conversation_id, reason="customer")
    assert first.waiting_since == second.waiting_since
    assert timezone.now() - first.waiting_since < timedelta(minutes=1)
    assert await count_messages() == 1
