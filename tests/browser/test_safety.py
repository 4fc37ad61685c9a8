"""The widget among enemies: markup in what is said and cited, hostile host pages, blocked storage, broken settings."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from lepton_app.chat import rendering
from lepton_app.chat.models import Site
from retrieval.models import Article
from tests.browser.conftest import BROWSER_MARKS, Assistant, Chat, HostPages, OpenPage, Server, size_of, stored

pytestmark = BROWSER_MARKS

ATTACKS = (
    "<script>window.__pwned = 'script'</script>",
    "<img src=x onerror=\"window.__pwned = 'image'\">",
    "<svg onload=\"window.__pwned = 'svg'\"><script>window.__pwned = 'svg script'</script></svg>",
    "<a href=\"javascript:window.__pwned = 'link'\" onclick=\"window.__pwned = 'click'\">press</a>",
    "<a href=\"&#106;ava\tscript:window.__pwned = 'entity'\">press</a>",
    "<iframe srcdoc=\"<script>parent.__pwned = 'frame'</script>\"></iframe>",
    "<math><mtext><style><img src=x onerror=\"window.__pwned = 'mutation'\"></style></mtext></math>",
    "<form action=\"javascript:window.__pwned = 'form'\"><button>press</button></form>",
    '<p style="position:fixed;inset:0" onmouseover="window.__pwned = \'hover\'">text</p>',
    "[press](javascript:window.__pwned='markdown')",
    "</textarea></div><template><script>window.__pwned = 'template'</script></template>",
)
NOTHING_SNEAKED_IN = """() => {
    const root = document.querySelector('lepton-chat').shadowRoot;
    const bad = [...root.querySelectorAll('.message *, .passage *')].filter((node) =>
        /^(script|img|iframe|form|style|template|object|embed|math)$/i.test(node.nodeName)
        || [...node.attributes].some(({ name }) => /^on|^style$|^src/.test(name))
        || (node.href && !/^(https?|mailto):/.test(node.href)));
    return [window.__pwned ?? null, bad.map((node) => node.outerHTML)];
}"""


def press_everything(page: Page, chat: Chat) -> None:
    """Click what looks like a link and hover over what looks like text."""
    for link in chat.root.locator(".bubble a, .passage a").all():
        link.dispatch_event("click")
    for text in chat.root.locator(".bubble *, .passage .text *").all():
        text.dispatch_event("mouseover")
    page.wait_for_timeout(100)


def test_markup_of_the_customer_is_text(open_page: OpenPage) -> None:
    page = open_page()
    chat = Chat(page).open()
    text = "\n".join(ATTACKS)
    chat.input.fill(text)
    chat.input.press("Enter")
    expect(chat.bubbles("assistant")).to_have_count(1)
    assert chat.bubbles("customer").inner_text() == text
    press_everything(page, chat)
    assert page.evaluate(NOTHING_SNEAKED_IN) == [None, []]
    page.reload()
    expect(chat.bubbles("customer")).to_have_count(1)
    assert page.evaluate(NOTHING_SNEAKED_IN) == [None, []]


def test_markup_in_replies_and_articles_is_text(open_page: OpenPage, assistant: Assistant, site: Site) -> None:
    body = "# Attacks\n\n" + "\n\n".join(ATTACKS) + "\n\nThe last sentence.\n"
    article = Article.objects.create(slug="attacks", language="en", title="<b>Attacks</b>", body=body)
    start = article.body.index("The last sentence.")
    url = f"/kb/{article.pk}.json?start={start}&end={start + 18}"
    citation = {"number": 1, "title": ATTACKS[1], "section": ATTACKS[0], "quote": "", "url": url}
    assistant.script["reply"] = ("\n\n".join(ATTACKS), {})
    assistant.script["cited"] = ("x", {"sentences": [{"text": ATTACKS[1], "citation": 1}], "citations": [citation]})
    assistant.script["others"] = (
        ATTACKS[0],
        {
            "choices": [{"label": ATTACKS[1], "text": ATTACKS[1]}],
            "near": [{"title": ATTACKS[1], "url": "javascript:window.__pwned = 'near'"}],
        },
    )
    page = open_page()
    chat = Chat(page).open()
    chat.say("reply")
    expect(chat.bubbles("assistant")).to_have_count(1)
    chat.say("cited")
    expect(chat.bubbles("assistant")).to_have_count(2)
    chat.log.locator(".cite").click()
    expect(chat.passage.locator("mark")).to_have_text("The last sentence.")
    press_everything(page, chat)
    assert page.evaluate(NOTHING_SNEAKED_IN) == [None, []]
    page.keyboard.press("Escape")
    chat.say("others")
    expect(chat.bubbles("assistant")).to_have_count(3)
    chat.log.locator(".links button").last.click()
    expect(chat.passage.get_by_role("alert")).to_be_visible()
    assert page.evaluate(NOTHING_SNEAKED_IN) == [None, []]


def test_html_that_the_server_failed_to_clean_is_cleaned_here(
    open_page: OpenPage, assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "message_html", lambda message: message.text)
    good = '<p>Read <strong>this</strong>, <a href="https://example.com/a">a page</a> or <a href="/kb/1/">here</a>.</p>'
    assistant.script["reply"] = (good + "".join(ATTACKS), {})
    page = open_page()
    chat = Chat(page).open()
    chat.say("reply")
    expect(chat.bubbles("assistant").locator("strong")).to_have_text("this")
    links = chat.bubbles("assistant").locator("a[href]")
    expect(links).to_have_count(2)
    for link in links.all():
        expect(link).to_have_attribute("rel", "noopener noreferrer")
        expect(link).to_have_attribute("target", "_blank")
    expect(links.first).to_have_attribute("href", "https://example.com/a")
    chat.bubbles("assistant").locator("a:not([href])").first.dispatch_event("click")
    page.wait_for_timeout(200)
    assert page.evaluate(NOTHING_SNEAKED_IN) == [None, []]


def test_a_passage_comes_from_the_own_server_alone(open_page: OpenPage, assistant: Assistant) -> None:
    asked: list[str] = []
    near = [{"title": "Elsewhere", "url": "https://evil.example/kb/1.json"}]
    assistant.script["reply"] = ("Nothing.", {"near": near})
    page = open_page()
    page.on("request", lambda request: asked.append(request.url))
    chat = Chat(page).open()
    chat.say("reply")
    chat.log.get_by_role("button", name="Elsewhere").click()
    expect(chat.passage.get_by_role("alert")).to_have_text("This could not be loaded.")
    assert not [url for url in asked if "evil.example" in url]


HOSTILE_PAGE = """<!doctype html><html lang="en"><head><title>Host</title><link rel="stylesheet" href="/hostile.css">
<script async src="{server}/widget.js" data-site="{key}"></script></head><body><p>A shop.</p></body></html>"""
HOSTILE_CSS = """
* { display: none !important; color: red !important; font: 60px fantasy !important; margin: 99px !important;
visibility: hidden; opacity: 0.1; transform: rotate(45deg); transition: all 9s }
html, body, p { display: block !important; opacity: 1 } button { display: none !important }
lepton-chat { display: none !important; position: absolute; width: 1px; height: 1px; overflow: hidden; opacity: 0 }
"""


def test_works_under_a_strict_policy_and_hostile_styles(
    open_page: OpenPage, server: Server, host_pages: HostPages, site: Site, assistant: Assistant
) -> None:
    """A page of another origin that allows no inline style, no inline script, and demands Trusted Types."""
    policy = (
        f"default-src 'none'; script-src {server.url}; style-src 'self'; "
        f"connect-src {server.url} {server.url.replace('http', 'ws')}; "
        "require-trusted-types-for 'script'; trusted-types lepton-chat"
    )
    html = HOSTILE_PAGE.format(server=server.url, key=site.public_key)
    host_pages.pages["/shop"] = (html, {"Content-Type": "text/html", "Content-Security-Policy": policy})
    host_pages.pages["/hostile.css"] = (HOSTILE_CSS, {"Content-Type": "text/css"})
    page = open_page("about:blank")
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    page.goto(host_pages.url("/shop"))
    chat = Chat(page)
    expect(chat.launcher).to_be_visible()
    assert size_of(chat.launcher) == (60, 60)
    chat.open()
    assistant.script["hello"] = ("Some **bold** words.", {})
    chat.say("hello")
    expect(chat.bubbles("assistant").locator("strong")).to_have_text("bold")
    assert size_of(chat.panel) == (400, 640)
    style = chat.bubbles("assistant").evaluate(
        "node => { const { color, fontSize, opacity } = getComputedStyle(node); return [color, fontSize, opacity]; }"
    )
    assert style == ["rgb(23, 33, 31)", "15px", "1"]
    assert refused == []


def test_a_page_of_an_unknown_origin_is_told_so(
    open_page: OpenPage, server: Server, host_pages: HostPages, site: Site
) -> None:
    html = HOSTILE_PAGE.format(server=server.url, key=site.public_key)
    host_pages.pages["/"] = (html, {"Content-Type": "text/html"})
    page = open_page(host_pages.url("/", host="stranger.localhost"))
    chat = Chat(page)
    chat.launcher.click()
    expect(chat.notice).to_have_text("The chat is not available on this page.")
    expect(chat.input).to_be_disabled()
    assert stored() == []


def test_works_without_storage(open_page: OpenPage) -> None:
    blocked = """for (const name of ['localStorage', 'sessionStorage'])
        Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });"""
    chat = Chat(open_page(init_script=blocked)).open()
    chat.say("hello")
    expect(chat.bubbles("assistant")).to_have_text("You wrote: hello")


def test_works_in_english_when_the_settings_cannot_be_loaded(open_page: OpenPage) -> None:
    page = open_page()
    page.route("**/chat/config/**", lambda route: route.abort())
    page.reload()
    chat = Chat(page).open()
    expect(chat.log).to_contain_text("Hello! How can we help you?")
    chat.say("hello")
    expect(chat.bubbles("assistant")).to_have_text("You wrote: hello")
