"""What the widget and the demo page look like and weigh: sizes, languages, light and dark, agreed words and colours."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import expect

from lepton_app.chat.models import Site
from lepton_app.chat.widget_strings import widget_strings
from tests.browser.conftest import BROWSER_MARKS, Assistant, Chat, OpenPage

STATIC = Path(settings.BASE_DIR) / "lepton_app" / "static"
SCRIPT = STATIC / "chat" / "widget.js"
# Asked until it holds: a page is laid out anew when its fonts and its widget arrive.
FITS = "width => document.documentElement.scrollWidth === width && innerWidth === width"


def test_the_script_is_under_20_kb_compressed() -> None:
    assert len(gzip.compress(SCRIPT.read_bytes(), 9, mtime=0)) < 20_000


def test_the_script_falls_back_to_the_words_of_the_server() -> None:
    block = re.search(r"const ENGLISH = \{(.*?)\n  \};", SCRIPT.read_text(), re.DOTALL)
    assert block is not None
    fallback = dict(re.findall(r"^    (\w+): '(.*)',$", block[1], re.MULTILINE))
    assert fallback == widget_strings("en")


def test_the_script_has_the_colours_of_the_tokens() -> None:
    tokens = (STATIC / "lepton" / "tokens.css").read_text()
    block = re.search(r"const TOKENS = \{(.*?)\n  \};", SCRIPT.read_text(), re.DOTALL)
    assert block is not None
    colours = re.findall(r"^    '?([\w-]+)'?: \['(#\w+)', '(#\w+)'\],$", block[1], re.MULTILINE)
    assert len(colours) == block[1].count("\n")
    for name, light, dark in colours:
        assert f"--lepton-{name}: light-dark({light}, {dark});" in tokens


def test_the_admin_has_the_accent_of_the_tokens() -> None:
    tokens = (STATIC / "lepton" / "tokens.css").read_text()
    for shade, colour in settings.UNFOLD["COLORS"]["primary"].items():
        assert f"--lepton-accent-{shade}: {colour};" in tokens


class TestInBrowser:
    pytestmark = BROWSER_MARKS

    @pytest.mark.parametrize("width", [320, 360, 768, 1440, 1920])
    @pytest.mark.parametrize("language", ["English", "中文"])
    def test_nothing_scrolls_sideways(
        self, open_page: OpenPage, assistant: Assistant, width: int, language: str
    ) -> None:
        assistant.script["long"] = ("Donaudampfschifffahrtsgesellschaftskapitaen" * 8, {})
        page = open_page(viewport={"width": width, "height": 740})
        other = page.get_by_role("button", name=language)
        if other.is_visible():
            other.click()
        page.wait_for_function(FITS, arg=width)
        chat = Chat(page).open()
        chat.say("x" * 400 + " long")
        expect(chat.bubbles("assistant")).to_have_count(1)
        page.wait_for_function(FITS, arg=width)
        box = chat.panel.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert (box["width"] == width) == (width < 480)
        page.wait_for_function("log => log.scrollWidth === log.clientWidth", arg=chat.log.element_handle())

    def test_dark_and_light_follow_the_page_and_else_the_system(self, open_page: OpenPage) -> None:
        surface = "node => getComputedStyle(node).backgroundColor"
        light, dark = "rgb(255, 255, 255)", "rgb(21, 30, 28)"
        page = open_page(color_scheme="dark")
        chat = Chat(page).open()
        assert chat.panel.evaluate(surface) == dark
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Switch between light and dark").click()
        assert page.evaluate("() => document.documentElement.dataset.theme") == "light"
        assert chat.open().panel.evaluate(surface) == light
        page.reload()
        assert page.evaluate("() => document.documentElement.dataset.theme") == "light"
        expect(chat.panel).to_be_visible()
        assert chat.panel.evaluate(surface) == light

    def test_nothing_moves_for_those_who_asked_for_it(self, open_page: OpenPage, assistant: Assistant) -> None:
        assistant.delay_seconds = 1
        chat = Chat(open_page(reduced_motion="reduce")).open()
        chat.say("hello")
        expect(chat.root.locator(".typing")).to_be_visible()
        running = chat.root.evaluate("node => node.shadowRoot.getAnimations().length")
        assert running == 0

    def test_the_demo_page_says_that_it_is_one(self, open_page: OpenPage) -> None:
        page = open_page()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        footer = page.get_by_role("contentinfo")
        expect(footer).to_contain_text("fictional bank")
        expect(footer.get_by_role("link", name="Administration")).to_have_attribute("href", "/admin/")
        expect(footer.get_by_role("link", name="Market monitor")).to_have_attribute("href", re.compile("^/monitoring/"))
        page.get_by_role("button", name="Ask the assistant").click()
        expect(Chat(page).panel).to_be_visible()

    def test_the_demo_page_stands_without_its_site(self, open_page: OpenPage, site: Site) -> None:
        site.is_active = False
        site.save()
        page = open_page()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("button", name="Ask the assistant")).to_have_count(0)
        assert page.locator("lepton-chat").count() == 0
