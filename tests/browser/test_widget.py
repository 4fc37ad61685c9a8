"""A customer talks to the assistant: opening, writing, reading, breaks of the connection, sources, both languages."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from lepton_app.chat import handover
from lepton_app.chat.models import Conversation, Message
from lepton_app.chat.widget_strings import widget_strings
from lepton_app.lib.languages import has_cjk
from retrieval.models import Article
from tests.browser.conftest import BROWSER_MARKS, Assistant, Chat, OpenPage, Server, elsewhere, stored

pytestmark = BROWSER_MARKS

BODY = (
    "# Freeze a card\n\nIntroduction.\n\n## In the app\n\n"
    + "Filler of the section.\n\n" * 40
    + ("Choose Cards > Freeze. It works **at once** and costs nothing.\n\nLater you unfreeze it there.\n")
)
QUOTE = "It works **at once** and costs nothing."


@pytest.fixture
def article(transactional_db: None) -> Article:
    return Article.objects.create(slug="freeze", language="en", title="Freeze a card", body=BODY)


@pytest.fixture
def cited(article: Article, assistant: Assistant) -> dict[str, Any]:
    """An answer of one sentence with its source, to any question with "freeze" in it."""
    start = article.body.index(QUOTE)
    url = f"/kb/{article.pk}.json?start={start}&end={start + len(QUOTE)}"
    attachments = {
        "sentences": [{"text": "It works at once and costs nothing.", "citation": 1}],
        "citations": [{"number": 1, "title": "Freeze a card", "section": "In the app", "quote": QUOTE, "url": url}],
    }
    assistant.script["freeze"] = ("It works at once and costs nothing.", attachments)
    return attachments


def focused(page: Page) -> str:
    """The class, or else the tag, of what has the focus inside the widget; the page's own element otherwise."""
    return page.evaluate(
        """() => {
            const inner = document.querySelector('lepton-chat').shadowRoot.activeElement;
            return inner ? inner.className || inner.tagName : document.activeElement.tagName;
        }"""
    )


def test_opens_by_keyboard_and_gives_the_focus_back_on_escape(open_page: OpenPage) -> None:
    page = open_page()
    chat = Chat(page)
    expect(chat.launcher).to_have_attribute("aria-label", "Open the chat")
    chat.launcher.focus()
    page.keyboard.press("Enter")
    expect(chat.panel).to_be_visible()
    assert focused(page) == "TEXTAREA"
    expect(chat.log).to_contain_text("Hello! How can we help you?")
    page.keyboard.press("Escape")
    expect(chat.panel).to_be_hidden()
    assert focused(page) == "launcher"


def test_a_message_is_stored_once_and_answered_with_typing_in_between(
    open_page: OpenPage, assistant: Assistant
) -> None:
    assistant.delay_seconds = 0.5
    chat = Chat(open_page()).open()
    chat.say("  What is a wire?  ")
    expect(chat.bubbles("customer")).to_have_text("What is a wire?")
    expect(chat.root.locator(".typing")).to_be_visible()
    expect(chat.bubbles("assistant")).to_have_text("You wrote: What is a wire?")
    expect(chat.root.locator(".typing")).to_be_hidden()
    assert stored() == [(1, "customer", "What is a wire?"), (2, "assistant", "You wrote: What is a wire?")]
    assert chat.input.input_value() == ""
    assert focused(chat.page) == "TEXTAREA"


def test_shift_and_enter_begin_a_new_line(open_page: OpenPage) -> None:
    chat = Chat(open_page()).open()
    chat.input.press_sequentially("one")
    chat.input.press("Shift+Enter")
    chat.input.press_sequentially("two")
    assert chat.input.input_value() == "one\ntwo"
    assert stored() == []
    chat.input.press("Enter")
    expect(chat.bubbles("assistant")).to_have_count(1)
    assert stored()[0] == (1, "customer", "one\ntwo")


def test_enter_that_ends_a_composition_does_not_send(open_page: OpenPage) -> None:
    chat = Chat(open_page()).open()
    chat.input.focus()
    devtools = chat.page.context.new_cdp_session(chat.page)
    devtools.send("Input.imeSetComposition", {"text": "nihao", "selectionStart": 5, "selectionEnd": 5})
    chat.page.keyboard.press("Enter")
    # Safari reports the same Enter after the composition, as key code 229.
    chat.input.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True, "composed": True})
    devtools.send("Input.insertText", {"text": "你好"})
    expect(chat.input).to_have_value(re.compile("你好"))
    expect(chat.log.locator(".message")).to_have_count(0)
    assert stored() == []
    chat.input.fill("你好")
    chat.page.keyboard.press("Enter")
    expect(chat.bubbles("assistant")).to_have_text("You wrote: 你好")


def test_a_reload_resumes_the_conversation_and_the_draft(open_page: OpenPage) -> None:
    page = open_page()
    chat = Chat(page).open()
    chat.say("first")
    expect(chat.bubbles("assistant")).to_have_count(1)
    chat.say("second")
    expect(chat.bubbles("assistant")).to_have_count(2)
    chat.input.fill("not yet sent")
    before = chat.texts()
    page.reload()
    expect(chat.panel).to_be_visible()
    expect(chat.bubbles("assistant")).to_have_count(2)
    assert chat.texts() == before == ["first", "You wrote: first", "second", "You wrote: second"]
    expect(chat.input).to_have_value("not yet sent")
    assert Conversation.objects.count() == 1


def test_what_is_written_without_a_server_is_delivered_once(open_page: OpenPage, server: Server) -> None:
    chat = Chat(open_page()).open()
    chat.say("before")
    expect(chat.bubbles("assistant")).to_have_count(1)
    server.stop()
    expect(chat.notice).to_have_text("Connecting again…")
    chat.say("meanwhile")
    chat.say("and more")
    expect(chat.log.locator(".message .state")).to_have_text(["Kept until the connection is back"] * 2)
    server.start()
    expect(chat.bubbles("assistant")).to_have_count(3, timeout=30_000)
    expect(chat.notice).to_be_hidden()
    expect(chat.log.locator(".message .state")).to_have_count(0)
    written = [text for _, author, text in stored() if author == "customer"]
    assert written == ["before", "meanwhile", "and more"]
    assert [row[0] for row in stored()] == [1, 2, 3, 4, 5, 6]
    assert chat.texts() == [text for _, _, text in stored()]


def test_the_outbox_survives_a_reload_and_a_lost_acknowledgement(open_page: OpenPage) -> None:
    page = open_page()
    muted: list[str] = []

    def swallow(socket: WebSocketRoute) -> None:
        """Let everything through to the server, and back nothing after the first message of the customer."""
        upstream = socket.connect_to_server()

        def forward(message: str | bytes) -> None:
            if '"send"' in str(message):
                muted.append(str(message))
            upstream.send(message)

        socket.on_message(forward)
        upstream.on_message(lambda message: None if muted else socket.send(message))

    page.route_web_socket(re.compile("/ws/chat/"), swallow)
    page.reload()
    chat = Chat(page).open()
    chat.say("only once")
    expect(chat.log.locator(".message .state")).to_have_text("Sending…")
    while len(stored()) < 2:
        page.wait_for_timeout(50)
    assert len(muted) == 1

    other = page.context.new_page()
    page.close()
    other.goto(page.url)
    chat = Chat(other).open()
    expect(chat.bubbles("assistant")).to_have_text("You wrote: only once")
    expect(chat.bubbles("customer")).to_have_count(1)
    expect(chat.log.locator(".message .state")).to_have_count(0)
    assert stored() == [(1, "customer", "only once"), (2, "assistant", "You wrote: only once")]


def test_a_number_opens_the_passage_at_the_marked_sentence(open_page: OpenPage, cited: dict[str, Any]) -> None:
    chat = Chat(open_page()).open()
    chat.say("How do I freeze it?")
    number = chat.log.locator(".cite")
    expect(number).to_have_text("1")
    expect(number).to_have_attribute("aria-label", "Source 1: Freeze a card")
    number.click()
    mark = chat.passage.locator("mark")
    expect(mark).to_have_text(["It works ", "at once", " and costs nothing."])
    expect(mark.first).to_be_in_viewport()
    expect(chat.passage.get_by_role("heading", name="Freeze a card")).to_be_visible()
    expect(chat.passage).not_to_contain_text("Introduction.")
    assert focused(chat.page) == "tool"
    chat.page.keyboard.press("Escape")
    expect(chat.passage).to_be_hidden()
    expect(chat.panel).to_be_visible()
    assert focused(chat.page) == "cite"


def test_a_passage_that_is_gone_says_so(open_page: OpenPage, article: Article, cited: dict[str, Any]) -> None:
    chat = Chat(open_page()).open()
    chat.say("How do I freeze it?")
    expect(chat.log.locator(".cite")).to_have_count(1)
    article.delete()
    chat.log.locator(".cite").click()
    expect(chat.passage.get_by_role("alert")).to_have_text("This could not be loaded.")


def test_choices_and_near_articles(open_page: OpenPage, article: Article, assistant: Assistant) -> None:
    choices = [{"label": "Lost card", "text": "I lost my card"}, {"label": "Blocked card", "text": "It is blocked"}]
    assistant.script["card?"] = ("Which do you mean?", {"choices": choices})
    near = {"near": [{"title": "Freeze a card", "url": f"/kb/{article.pk}.json"}], "offer_person": True}
    assistant.script["lost"] = ("I found nothing.", near)
    chat = Chat(open_page()).open()
    chat.say("card?")
    chat.log.get_by_role("button", name="Lost card").click()
    expect(chat.bubbles("assistant")).to_have_text(["Which do you mean?", "I found nothing."])
    expect(chat.log.get_by_role("button", name="Blocked card")).to_be_hidden()
    assert stored()[2] == (3, "customer", "I lost my card")
    chat.log.get_by_role("button", name="Freeze a card").click()
    expect(chat.passage).to_contain_text("Introduction.")


def test_a_person_is_asked_for_once_and_answers(open_page: OpenPage, assistant: Assistant, admin_user: Any) -> None:
    assistant.script["odd"] = ("I found nothing.", {"offer_person": True})
    chat = Chat(open_page()).open()
    chat.say("odd")
    chat.log.get_by_role("button", name="Talk to a person").click()
    expect(chat.root.locator("header").first).to_contain_text("Waiting for a person")
    expect(chat.bubbles("system")).to_have_count(1)
    expect(chat.log.get_by_role("button", name="Talk to a person")).to_be_hidden()
    expect(chat.menu("Talk to a person")).to_be_disabled()
    chat.page.keyboard.press("Escape")
    conversation = Conversation.objects.get()
    assert conversation.status == "waiting"
    elsewhere(handover.take_over, conversation.pk, staff=admin_user)
    expect(chat.root.locator("header").first).to_contain_text("A colleague is answering")
    elsewhere(handover.reply, conversation.pk, staff=admin_user, text="Good day.", client_id=uuid.uuid4())
    expect(chat.bubbles("person")).to_have_text("Good day.")
    chat.say("hello person")
    expect(chat.bubbles("customer")).to_have_text(["odd", "hello person"])
    expect(chat.log.locator(".message .state")).to_have_count(0)
    assert [author for _, author, _ in stored()] == ["customer", "assistant", "system", "system", "person", "customer"]


def test_unread_answers_are_counted_while_the_chat_is_closed(open_page: OpenPage, assistant: Assistant) -> None:
    assistant.delay_seconds = 0.5
    chat = Chat(open_page()).open()
    chat.say("answer me later")
    expect(chat.root.locator(".typing")).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(chat.root.locator(".badge")).to_have_text("1")
    expect(chat.launcher).to_have_attribute("aria-label", "Open the chat (1 unread)")
    chat.open()
    chat.page.keyboard.press("Escape")
    expect(chat.root.locator(".badge")).to_be_hidden()


def test_a_closed_conversation_can_be_followed_by_a_new_one(open_page: OpenPage, admin_user: Any) -> None:
    chat = Chat(open_page()).open()
    chat.say("hello")
    expect(chat.bubbles("assistant")).to_have_count(1)
    elsewhere(handover.close, Conversation.objects.get().pk, staff=admin_user)
    expect(chat.input).to_be_hidden()
    chat.root.get_by_role("button", name="Start a new conversation").click()
    expect(chat.log.locator(".message")).to_have_count(0)
    chat.say("anew")
    expect(chat.bubbles("assistant")).to_have_text("You wrote: anew")
    assert Conversation.objects.count() == 2


def test_a_token_that_no_longer_counts_begins_a_new_conversation(open_page: OpenPage) -> None:
    page = open_page()
    chat = Chat(page).open()
    chat.say("hello")
    expect(chat.bubbles("assistant")).to_have_count(1)
    page.evaluate(
        """() => {
            const key = Object.keys(localStorage).find((name) => name.startsWith('lepton-chat:'));
            localStorage[key] = JSON.stringify({ ...JSON.parse(localStorage[key]), token: 'forged' });
        }"""
    )
    page.reload()
    chat.say("still there?")
    expect(chat.bubbles("assistant")).to_have_text("You wrote: still there?")
    assert Conversation.objects.count() == 2


def test_a_long_text_is_counted_and_not_sent(open_page: OpenPage, settings: Any) -> None:
    settings.CHAT_MAX_MESSAGE_CHARS = 100
    chat = Chat(open_page()).open()
    chat.input.fill("字" * 95)
    expect(chat.root.locator(".counter")).to_have_text("5 characters left")
    chat.say("字" * 103)
    expect(chat.root.locator(".counter")).to_have_text("3 characters too many")
    expect(chat.root.get_by_role("button", name="Send")).to_be_disabled()
    expect(chat.log.locator(".message")).to_have_count(0)
    assert stored() == []


def test_chinese(open_page: OpenPage, assistant: Assistant) -> None:
    assistant.script["冻结"] = ("在 App 中冻结。", {})
    page = open_page()
    page.get_by_role("button", name="中文").click()
    chat = Chat(page).open()
    words = widget_strings("zh-hans")
    assert has_cjk(words["welcome"])
    expect(chat.root.locator(".root")).to_have_attribute("lang", "zh-Hans")
    expect(chat.log).to_contain_text(words["welcome"])
    expect(chat.input).to_have_attribute("placeholder", words["placeholder"])
    chat.say("怎么冻结？")
    expect(chat.bubbles("assistant")).to_have_text("在 App 中冻结。")
    assert Conversation.objects.get().language == "zh-hans"
    chat.root.locator("header .tool").first.click()
    chat.root.get_by_role("button", name="English").click()
    expect(chat.log).to_contain_text("Hello! How can we help you?")
    expect(chat.bubbles("assistant")).to_have_text("在 App 中冻结。")


def test_suggested_questions_are_sent_as_they_stand(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    from lepton_app.chat import views

    questions = ["What does a wire cost?", "Where is my card?"]
    monkeypatch.setattr(views.catalogue, "suggestions", lambda language: questions)
    chat = Chat(open_page()).open()
    chat.log.get_by_role("button", name="Where is my card?").click()
    expect(chat.bubbles("assistant")).to_have_text("You wrote: Where is my card?")
    expect(chat.log.get_by_role("button", name="What does a wire cost?")).to_be_hidden()
    assert Message.objects.filter(author="customer").count() == 1


def test_the_page_can_drive_the_chat(open_page: OpenPage) -> None:
    page = open_page()
    expect(Chat(page).launcher).to_be_visible()
    page.evaluate(
        """() => {
            window.heard = [];
            for (const name of ['open', 'close', 'message', 'unread']) LeptonChat.on(name, () => heard.push(name));
            window.stop = LeptonChat.on('open', () => heard.push('never'));
            stop();
            LeptonChat.open();
        }"""
    )
    chat = Chat(page)
    expect(chat.panel).to_be_visible()
    chat.say("hello")
    expect(chat.bubbles("assistant")).to_have_count(1)
    page.evaluate("() => LeptonChat.toggle()")
    expect(chat.panel).to_be_hidden()
    assert page.evaluate("() => heard") == ["open", "message", "message", "close"]
    page.evaluate("() => LeptonChat.reset()")
    expect(chat.log.locator(".message")).to_have_count(0)
