"""What the widget loads over HTTP, and the demo page."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.utils import translation

from lepton_app.chat import sites, views
from lepton_app.chat.models import Site
from lepton_app.chat.widget_strings import WIDGET_STRINGS
from tests.chat.conftest import SITE_ORIGIN

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(static_files: Path) -> Client:
    return Client(headers={"host": "localhost"})


def test_the_script_is_served_to_any_page(browser: Client) -> None:
    response = browser.get("/widget.js")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/javascript; charset=utf-8"
    assert response["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response["Cache-Control"] == "public, max-age=300"
    assert b"customElements.define('lepton-chat'" in response.content
    assert "Accept-Encoding" in response["Vary"]


def test_the_script_is_compressed_for_those_who_take_it(browser: Client) -> None:
    plain = browser.get("/widget.js", headers={"accept-encoding": "gzip;q=0, br"})
    packed = browser.get("/widget.js", headers={"accept-encoding": "gzip, br"})
    assert "Content-Encoding" not in plain
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert packed["ETag"] != plain["ETag"]
    assert len(packed.content) < 20_000


@pytest.mark.parametrize("weak", ["", "W/"])
def test_a_script_that_the_browser_has_is_not_sent_again(browser: Client, weak: str) -> None:
    first = browser.get("/widget.js")
    again = browser.get("/widget.js", headers={"if-none-match": weak + first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert browser.get("/widget.js", headers={"if-none-match": '"other"'}).status_code == 200


def test_a_changed_script_has_another_etag(browser: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "widget.js"
    script.write_text("one")
    monkeypatch.setattr(views.finders, "find", lambda name: str(script))
    first = browser.get("/widget.js")
    script.write_text("two!")
    second = browser.get("/widget.js", headers={"if-none-match": first["ETag"]})
    assert (second.status_code, second.content) == (200, b"two!")


def config(browser: Client, site: Site, **headers: str) -> Any:
    return browser.get(f"/chat/config/{site.public_key}.json", headers=headers)


@pytest.fixture
def shop() -> Site:
    return Site.objects.create(name="Shop", allowed_origins=[SITE_ORIGIN])


def test_the_settings_of_a_site(browser: Client, shop: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def suggestions(language: str) -> list[str]:
        asked.append(language)
        return ["Is it free?"]

    monkeypatch.setattr(views.catalogue, "suggestions", suggestions)
    content = json.loads(config(browser, shop).content)
    assert content["name"] == "Shop"
    assert content["language"] == "en"
    assert content["suggestions"] == ["Is it free?"]
    assert content["max_chars"] == 4000
    assert content["strings"]["send"] == "Send"
    for spelling in ("zh-hans", "zh-CN", "zh"):
        response = browser.get(f"/chat/config/{shop.public_key}.json?language={spelling}")
        assert json.loads(response.content)["language"] == response["Content-Language"] == "zh-hans"
    assert asked == ["en", "zh", "zh", "zh"]
    assert translation.get_language() == "en"


@pytest.mark.parametrize(
    ("origin", "may_read"),
    [(SITE_ORIGIN, True), ("http://localhost:8000", True), ("https://evil.example", False)],
)
def test_only_pages_of_the_site_may_read_its_settings(browser: Client, shop: Site, origin: str, may_read: bool) -> None:
    response = config(browser, shop, origin=origin)
    assert response.get("Access-Control-Allow-Origin") == (origin if may_read else None)
    assert "Origin" in response["Vary"]
    assert "Access-Control-Allow-Credentials" not in response


def test_a_site_that_is_unknown_or_switched_off_has_no_settings(browser: Client, shop: Site) -> None:
    Site.objects.update(is_active=False)
    for response in (config(browser, shop), browser.get("/chat/config/unknown.json")):
        assert response.status_code == 404
        assert json.loads(response.content) == {"error": "unknown_site"}


def test_the_words_are_those_that_the_script_carries() -> None:
    """The script has the English words for the case that the settings do not load; both must be the same."""
    source = Path(str(finders.find("chat/widget.js"))).read_text(encoding="utf-8")
    block = re.search(r"const ENGLISH = \{\n(.*?)\n  \};", source, re.DOTALL)
    assert block is not None
    in_script = dict(re.findall(r"^\s+(\w+): '((?:[^'\\]|\\.)*)',$", block[1], re.MULTILINE))
    assert in_script == {key: str(text) for key, text in WIDGET_STRINGS.items()}


def test_the_demo_page_carries_the_widget_of_its_site(browser: Client) -> None:
    site = sites.ensure_site()
    response = browser.get("/")
    assert response.status_code == 200
    assert f'data-site="{site.public_key}"' in response.text


@pytest.mark.parametrize("path", ["/", "/widget.js", "/chat/config/x.json"])
def test_nothing_can_be_posted(browser: Client, path: str) -> None:
    assert browser.post(path).status_code == 405
