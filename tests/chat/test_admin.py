"""Staff read and answer conversations in the admin, each with the permissions for it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from lepton_app.chat import delivery, handover
from lepton_app.chat.admin import LargeTablePaginator
from lepton_app.chat.models import Conversation, Message, Site
from tests.chat.conftest import FakeModels, OpenTab, on_thread

pytestmark = pytest.mark.django_db

LIST = "/admin/chat/conversation/"


@pytest.fixture
def agent_browser(agent: User, static_files: Path) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(agent)
    return client


def talk(site: Site, *texts: str) -> Conversation:
    conversation = Conversation.objects.create(site=site, visitor_id=uuid.uuid4())
    for text in texts:
        question = delivery.store_customer_message(conversation.pk, client_id=uuid.uuid4(), text=text).message
        citations = [{"number": 1, "title": "Fees", "section": "Abroad", "quote": "It costs <5>.", "url": "/kb/1.json"}]
        delivery.store_reply(
            question,
            text="It costs <5>.",
            attachments={"sentences": [{"text": "It costs <5>.", "citation": 1}], "citations": citations},
            lineage={"route": "answer", "support": 0.0, "retrieval": {"index_version": "index-1"}},
        )
    return conversation


def step(client: Client, conversation: Conversation, name: str, **data: str) -> Any:
    return client.post(f"{LIST}{conversation.pk}/step/{name}/", data, follow=True)


def test_the_list_shows_what_was_said_and_asks_no_query_for_each_row(agent_browser: Client, site: Site) -> None:
    talk(site, "first question")
    with CaptureQueriesContext(connection) as few:
        response = agent_browser.get(LIST)
    assert "It costs &lt;5&gt;." in response.text
    for number in range(8):
        talk(site, f"question {number}")
    with CaptureQueriesContext(connection) as many:
        assert agent_browser.get(LIST).text.count("It costs &lt;5&gt;.") >= 9
    assert len(many) == len(few)


def test_conversations_in_which_nothing_was_said_are_not_listed(agent_browser: Client, site: Site) -> None:
    empty = Conversation.objects.create(site=site, visitor_id=uuid.uuid4())
    assert str(empty.pk) not in agent_browser.get(LIST).text


def test_the_list_is_searched_by_words_and_filtered(agent_browser: Client, site: Site) -> None:
    wanted, other = talk(site, "a transfer to Norway", "and back"), talk(site, "my card")
    handover.ask_for_person(other.pk, reason="customer")
    for query, found in (
        ("?q=norway+back", [wanted]),
        ("?q=norway+card", []),
        (f"?q={other.pk}", [other]),
        ("?status__exact=waiting", [other]),
        ("?status__exact=assistant", [wanted]),
        ("?language__exact=zh-hans", []),
        (f"?site__id__exact={site.pk}", [wanted, other]),
    ):
        response = agent_browser.get(LIST + query)
        listed = {row.pk for row in response.context["cl"].result_list}
        assert listed == {conversation.pk for conversation in found}, query


def test_the_transcript_shows_texts_citations_and_lineage_as_text(agent_browser: Client, site: Site) -> None:
    conversation = talk(site, "<script>alert(1)</script>")
    page = agent_browser.get(f"{LIST}{conversation.pk}/change/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    assert "[1] Fees" in page
    assert "index-1" in page
    assert "support 0.00" in page


def test_the_transcript_asks_no_query_for_each_message(agent_browser: Client, site: Site) -> None:
    counts = []
    for texts in (("one",), ("one", "two", "three", "four")):
        address = f"{LIST}{talk(site, *texts).pk}/change/"
        with CaptureQueriesContext(connection) as queries:
            agent_browser.get(address)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_an_agent_takes_over_answers_gives_back_and_closes(agent_browser: Client, agent: User, site: Site) -> None:
    conversation = talk(site, "hello")
    step(agent_browser, conversation, "take-over")
    conversation.refresh_from_db()
    assert (conversation.status, conversation.assignee) == ("person", agent)

    client_id = str(uuid.uuid4())
    for _ in range(2):  # a double click
        response = step(agent_browser, conversation, "reply", text=" Hi\r\nthere ", client_id=client_id)
        assert response.status_code == 200
    assert list(conversation.messages.filter(author="person").values_list("text", "staff")) == [("Hi\nthere", agent.pk)]

    step(agent_browser, conversation, "give-back")
    conversation.refresh_from_db()
    assert (conversation.status, conversation.assignee) == ("assistant", None)
    step(agent_browser, conversation, "close")
    conversation.refresh_from_db()
    assert conversation.status == "closed"
    assert LogEntry.objects.count() == 3

    before = conversation.messages.count()
    response = step(agent_browser, conversation, "reply", text="too late", client_id=str(uuid.uuid4()))
    assert "The conversation is closed." in response.text
    assert conversation.messages.count() == before


def test_what_a_colleague_answers_is_left_to_the_colleague(agent_browser: Client, site: Site) -> None:
    conversation = talk(site, "hello")
    other = User.objects.create_user("other", is_staff=True)
    handover.take_over(conversation.pk, staff=other)
    before = conversation.messages.count()
    for name in ("take-over", "reply"):
        response = step(agent_browser, conversation, name, text="mine", client_id=str(uuid.uuid4()))
        assert "other answers this conversation." in response.text
    assert conversation.messages.count() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": "  "}, "This message is empty."),
        ({"text": "x" * 4001}, "too long"),
        ({"text": "x", "client_id": "1"}, "agreed"),
    ],
)
def test_a_reply_that_cannot_be_stored_is_refused_and_kept_in_the_form(
    agent_browser: Client, site: Site, data: dict[str, str], message: str
) -> None:
    conversation = talk(site, "hello")
    response = step(agent_browser, conversation, "reply", **{"client_id": str(uuid.uuid4()), **data})
    assert message in response.text
    assert data["text"].strip() in response.text
    assert conversation.messages.count() == 2


@pytest.mark.parametrize("permissions", [(), ("view_conversation",), ("answer_conversation",)])
@pytest.mark.parametrize("name", ["reply", "take-over", "give-back", "close"])
def test_without_the_permission_nothing_changes(
    static_files: Path, site: Site, agent: User, permissions: tuple[str, ...], name: str
) -> None:
    conversation = talk(site, "hello")
    handover.take_over(conversation.pk, staff=agent)
    before = (Conversation.objects.values().get(), Message.objects.count())
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    assert step(client, conversation, name, text="x", client_id=str(uuid.uuid4())).status_code == 403
    assert (Conversation.objects.values().get(), Message.objects.count()) == before


def test_who_may_only_read_sees_no_buttons(static_files: Path, site: Site) -> None:
    conversation = talk(site, "hello")
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    page = client.get(f"{LIST}{conversation.pk}/change/")
    assert page.status_code == 200
    assert "/step/" not in page.text


def test_a_step_is_no_get_and_needs_a_token(agent_browser: Client, agent: User, site: Site) -> None:
    conversation = talk(site, "hello")
    assert agent_browser.get(f"{LIST}{conversation.pk}/step/close/").status_code == 405
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    strict.force_login(agent)
    assert strict.post(f"{LIST}{conversation.pk}/step/close/").status_code == 403
    conversation.refresh_from_db()
    assert conversation.status == "assistant"


@pytest.mark.parametrize("address", [f"{uuid.UUID(int=1)}/change/", "nonsense/change/"])
def test_what_is_not_there_is_not_found(agent_browser: Client, site: Site, address: str) -> None:
    assert agent_browser.get(LIST + address).status_code == 404
    assert agent_browser.post(f"{LIST}{uuid.uuid4()}/step/close/").status_code == 404
    assert agent_browser.post(f"{LIST}{talk(site, 'x').pk}/step/explode/").status_code == 404


def test_messages_are_listed_filtered_and_read_only(agent_browser: Client, site: Site) -> None:
    talk(site, "a transfer to Norway")
    counts = {"": 2, "?q=norway": 1, "?route=answer": 1, "?route=refusal": 0, "?author__exact=customer": 1}
    for query, count in counts.items():
        response = agent_browser.get(f"/admin/chat/message/{query}")
        assert len(response.context["cl"].result_list) == count, query
    message = Message.objects.get(author="customer")
    page = agent_browser.get(reverse("admin:chat_message_change", args=[message.pk]))
    assert page.status_code == 200
    assert agent_browser.post(reverse("admin:chat_message_change", args=[message.pk]), {"text": "x"}).status_code == 403
    assert Message.objects.get(pk=message.pk).text == "a transfer to Norway"


def test_a_site_is_made_with_its_origins(static_files: Path) -> None:
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("root"))
    address = "/admin/chat/site/add/"
    refused = client.post(address, {"name": "Shop", "allowed_origins": "https://shop.example/path", "is_active": "on"})
    assert "without a path" in refused.text
    assert not Site.objects.exists()
    client.post(address, {"name": "Shop", "allowed_origins": "https://a.example, https://b.example", "is_active": "on"})
    site = Site.objects.get()
    assert site.allowed_origins == ["https://a.example", "https://b.example"]
    assert site.public_key in client.get(f"/admin/chat/site/{site.pk}/change/").text


def test_a_long_table_is_counted_by_estimate(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from lepton_app.chat import admin

    talk(site, "one", "two")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chat_message")
    monkeypatch.setattr(admin, "_COUNT_UP_TO", 1)
    with CaptureQueriesContext(connection) as queries:
        assert LargeTablePaginator(Message.objects.all(), 10).count == 4
    assert all("COUNT(" not in query["sql"] for query in queries)
    assert LargeTablePaginator(Message.objects.filter(author="customer"), 10).count == 2


async def test_what_staff_write_reaches_the_widget_at_once(
    open_tab: OpenTab, models: FakeModels, agent_browser: Client
) -> None:
    tab = await open_tab()
    welcome = await tab.hello()
    await tab.say("hello")
    await tab.message("assistant")
    conversation = await on_thread(Conversation.objects.get)(pk=welcome["conversation"])
    await on_thread(step)(agent_browser, conversation, "reply", text="I am here.", client_id=str(uuid.uuid4()))
    assert (await tab.message("person"))["text"] == "I am here."
