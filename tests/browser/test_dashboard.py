"""The dashboard in a real browser: what is stored appears without a reload, as text, and survives a lost server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from monitoring import stream
from monitoring.stream import StreamWorker, add_items
from tests.browser.conftest import BROWSER_MARKS, Server

pytestmark = BROWSER_MARKS
INJECTION = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
Store = Callable[..., None]


@pytest.fixture
def store(clean_redis: Any) -> Iterator[Store]:
    """Send items through the stream and store them."""
    with stream.connect() as client, ThreadPoolExecutor(max_workers=1) as thread:
        worker = StreamWorker(client, block_milliseconds=20)

        def step() -> bool:
            try:
                return worker.step()
            finally:
                connections.close_all()

        def store(*titles: str, **changes: Any) -> None:
            now = timezone.now()
            fields = {"source": "wire", "text": f"A text. {INJECTION}", "language": "en", "url": "https://a.example/"}
            add_items(
                fields
                | {"guid": str(uuid.uuid4()), "title": title, "published_at": now - timedelta(minutes=number)}
                | changes
                for number, title in enumerate(titles)
            )
            # Playwright's event loop runs on this thread, and a worker sends frames where there is none.
            assert thread.submit(step).result(timeout=10) is True

        yield store


@pytest.fixture
def analyst(server: Server) -> User:
    user = User.objects.create_user("ana", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_item", content_type__app_label="monitoring"))
    return user


@pytest.fixture
def open_dashboard(browser: Browser, server: Server, analyst: User) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_dashboard(query: str = "", *, width: int = 1280, zone: str = "Asia/Shanghai") -> Page:
        client = Client()
        client.force_login(analyst)
        context = browser.new_context(viewport={"width": width, "height": 800}, timezone_id=zone)
        contexts.append(context)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": server.url}])
        page = context.new_page()
        page.goto(f"{server.url}/monitoring/{query}")
        expect(page.locator("#live")).to_have_text("Live")
        return page

    yield open_dashboard
    for context in contexts:
        context.close()


def test_what_is_stored_appears_without_a_reload_in_its_place(open_dashboard: Any, store: Store) -> None:
    now = timezone.now()
    store("First", published_at=now - timedelta(minutes=2))
    store("Second", published_at=now - timedelta(minutes=3))
    page = open_dashboard()
    headlines = page.locator("#list h3")
    expect(headlines).to_have_text(["First", "Second"])
    expect(page.locator("#total")).to_have_text("2")
    store("Newest")
    store("In between", published_at=now - timedelta(minutes=1))
    expect(headlines).to_have_text(["Newest", "In between", "First", "Second"], timeout=5000)
    expect(page.locator("#total")).to_have_text("4")
    expect(page.locator("#empty")).to_be_hidden()


def test_markup_in_items_is_text_on_the_page_and_over_the_socket(open_dashboard: Any, store: Store) -> None:
    store(INJECTION, source="<b>wire</b>")
    page = open_dashboard()
    store(INJECTION + " again", source="<b>wire</b>")
    expect(page.locator("#list h3")).to_have_text([INJECTION + " again", INJECTION])
    expect(page.locator("#list .source").first).to_have_text("<b>wire</b>")
    assert page.locator("#list img, #list script, #list b").count() == 0
    assert page.title() == "Monitoring · Lepton"


def test_a_pause_holds_the_list_still_and_what_was_missed_comes_after_it(open_dashboard: Any, store: Store) -> None:
    page = open_dashboard()
    expect(page.locator("#empty")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_have_text("Paused")
    store("Missed")
    page.wait_for_timeout(600)
    expect(page.locator("#list li")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#list h3")).to_have_text(["Missed"])


def test_a_lost_server_is_said_and_nothing_is_missing_afterwards(
    open_dashboard: Any, store: Store, server: Server
) -> None:
    page = open_dashboard()
    server.stop()
    expect(page.locator("#live")).to_have_text("Connection lost, trying again…")
    store("Meanwhile")
    server.start()
    expect(page.locator("#list h3")).to_have_text(["Meanwhile"], timeout=20_000)
    expect(page.locator("#live")).to_have_text("Live")


def test_who_lost_the_permission_is_told_so(open_dashboard: Any, analyst: User) -> None:
    page = open_dashboard()
    analyst.user_permissions.clear()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#live")).to_contain_text("may not see this")
    expect(page.locator("#pause")).to_be_hidden()


def test_times_are_in_the_reader_s_zone(open_dashboard: Any, store: Store) -> None:
    published_at = timezone.now().replace(hour=0, minute=30, second=0, microsecond=0)
    store("Early", published_at=published_at)
    times = {zone: open_dashboard(zone=zone).locator("#list time").inner_text() for zone in ("UTC", "Asia/Shanghai")}
    assert "00:30" in times["UTC"]
    assert "08:30" in times["Asia/Shanghai"]


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_scrolls_sideways_even_with_endless_words(open_dashboard: Any, store: Store, width: int) -> None:
    store("W" * 400, "短" * 400, source="s" * 100)
    page = open_dashboard(width=width)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
