"""Numbers without a gap and no message twice, whoever writes at the same time."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from lepton_app.chat import delivery, handover
from lepton_app.chat.models import Conversation, Message, Site

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def conversation(site: Site) -> Conversation:
    return Conversation.objects.create(site=site, visitor_id=uuid.uuid4())


def say(conversation: Conversation, text: str = "hello") -> Message:
    return delivery.store_customer_message(conversation.pk, client_id=uuid.uuid4(), text=text).message


def in_threads(function: Any, arguments: list[Any]) -> list[Any]:
    def run(argument: Any) -> Any:
        try:
            return function(argument)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(run, arguments))


def test_concurrent_writers_get_numbers_without_a_gap(conversation: Conversation) -> None:
    ids = [uuid.uuid4() for _ in range(20)]

    def store(client_id: uuid.UUID) -> bool:
        return delivery.store_customer_message(conversation.pk, client_id=client_id, text="x").is_new

    # Each is sent three times, as a client does that misses its acknowledgements.
    results = in_threads(store, ids * 3)
    assert sum(results) == 20
    assert list(Message.objects.values_list("sequence", flat=True).order_by("sequence")) == list(range(1, 21))
    conversation.refresh_from_db()
    assert conversation.last_sequence == 20


def test_a_question_is_answered_once(conversation: Conversation) -> None:
    question = say(conversation)

    def reply(number: int) -> bool:
        stored = delivery.store_reply(question, text=f"reply {number}", attachments={}, lineage={})
        return stored is not None and stored.is_new

    assert sum(in_threads(reply, list(range(6)))) == 1
    assert Message.objects.filter(author=Message.Author.ASSISTANT).count() == 1


def test_what_waits_for_an_answer(conversation: Conversation, agent: User) -> None:
    assert delivery.next_unanswered(conversation.pk) is None
    first, second = say(conversation, "one"), say(conversation, "two")
    assert delivery.next_unanswered(conversation.pk) == first
    delivery.store_reply(first, text="1", attachments={}, lineage={})
    assert delivery.next_unanswered(conversation.pk) == second

    handover.take_over(conversation.pk, staff=agent)
    assert delivery.next_unanswered(conversation.pk) is None
    assert delivery.store_reply(second, text="2", attachments={}, lineage={}) is None
    say(conversation, "to the colleague")
    handover.give_back(conversation.pk, staff=agent)
    # What was said to a person is not answered by the assistant afterwards.
    assert delivery.next_unanswered(conversation.pk) is None
    third = say(conversation, "three")
    assert delivery.next_unanswered(conversation.pk) == third


def test_frames_go_out_after_the_commit_and_never_for_what_was_undone(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lepton_app.lib import live

    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(live, "_send", lambda group, event: sent.append((group, event["type"])))
    with transaction.atomic():
        say(conversation)
        transaction.set_rollback(True)
    assert (sent, Message.objects.count()) == ([], 0)
    with transaction.atomic():
        say(conversation)
        assert sent == []
    assert sent == [(f"chat.{conversation.pk.hex}", "chat.message")]


def test_nothing_is_stored_in_a_closed_conversation(conversation: Conversation, agent: User) -> None:
    known = say(conversation)
    handover.close(conversation.pk, staff=agent)
    handover.close(conversation.pk, staff=agent)
    assert conversation.messages.count() == 2
    for refused in (
        lambda: say(conversation),
        lambda: handover.ask_for_person(conversation.pk, reason="customer"),
        lambda: handover.take_over(conversation.pk, staff=agent),
        lambda: handover.give_back(conversation.pk, staff=agent),
        lambda: handover.reply(conversation.pk, staff=agent, text="x", client_id=uuid.uuid4()),
    ):
        with pytest.raises(delivery.ConversationClosed):
            refused()
    # A message that was stored before is still acknowledged.
    again = delivery.store_customer_message(conversation.pk, client_id=known.client_id, text="hello")  # type: ignore[arg-type]
    assert (again.message, again.is_new) == (known, False)
    assert conversation.messages.count() == 2


def test_two_colleagues_do_not_answer_over_each_other(conversation: Conversation, agent: User) -> None:
    other = User.objects.create_user("other", is_staff=True)
    handover.take_over(conversation.pk, staff=agent)
    handover.take_over(conversation.pk, staff=agent)
    for refused in (
        lambda: handover.take_over(conversation.pk, staff=other),
        lambda: handover.reply(conversation.pk, staff=other, text="x", client_id=uuid.uuid4()),
    ):
        with pytest.raises(handover.TakenByAnother):
            refused()
    conversation.refresh_from_db()
    assert (conversation.assignee, conversation.messages.count()) == (agent, 1)


def test_a_colleague_who_left_does_not_lock_the_conversation(conversation: Conversation, agent: User) -> None:
    other = User.objects.create_user("other", is_staff=True)
    handover.take_over(conversation.pk, staff=other)
    other.delete()
    assert handover.take_over(conversation.pk, staff=agent).assignee == agent


def test_a_colleagues_reply_is_stored_once(conversation: Conversation, agent: User) -> None:
    client_id = uuid.uuid4()
    for is_new in (True, False):
        stored = handover.reply(conversation.pk, staff=agent, text="Hi", client_id=client_id)
        assert stored.is_new is is_new
    assert list(conversation.messages.values_list("author", flat=True)) == ["system", "person"]
    conversation.refresh_from_db()
    assert (conversation.status, conversation.assignee) == ("person", agent)


def test_system_messages_are_in_the_customers_language(conversation: Conversation) -> None:
    from django.utils import translation

    seen = []
    real = translation.override

    class Spy(real):  # type: ignore[misc, valid-type]
        def __init__(self, language: str) -> None:
            seen.append(language)
            super().__init__(language)

    Conversation.objects.update(language="zh-hans")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover.translation, "override", Spy)
        handover.ask_for_person(conversation.pk, reason="customer")
    assert seen == ["zh-hans"]
