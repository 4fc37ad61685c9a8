"""The admin's first page and the page of a training run, as a browser shows them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from lepton_app.chat.models import Conversation, Message
from lepton_app.chat.sites import ensure_site
from lepton_app.home import ROUTES
from lepton_app.learning.models import Run, Task
from tests.browser.conftest import BROWSER_MARKS, Server

pytestmark = BROWSER_MARKS
OpenAdmin = Callable[..., Page]


@pytest.fixture
def open_admin(browser: Browser, server: Server) -> Iterator[OpenAdmin]:
    """Open an address of the admin as an administrator."""
    contexts = []
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value

    def open_admin(address: str, *, width: int = 1280, locale: str = "en-US") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, locale=locale)
        contexts.append(context)
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": server.url}])
        page = context.new_page()
        page.goto(server.url + address)
        return page

    yield open_admin
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [360, 1024, 1440])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_nothing_scrolls_sideways(open_admin: OpenAdmin, width: int, locale: str) -> None:
    one = Conversation.objects.create(
        site=ensure_site(), visitor_id=uuid.uuid4(), last_sequence=5, status="waiting", waiting_since=timezone.now()
    )
    for place, route in enumerate(ROUTES, start=1):
        Message.objects.create(
            conversation=one, sequence=place, author=Message.Author.ASSISTANT, text="x", lineage={"route": route}
        )
    task = Task.objects.create(name="intent", title="W" * 100)
    Run.objects.create(task=task, status=Run.Status.FAILED, error="e" * 400, finished_at=timezone.now())
    page = open_admin(reverse("admin:index"), width=width, locale=locale)
    expect(page.locator("rect[class^=route-]")).to_have_count(len(ROUTES))
    page.locator("summary").click()
    expect(page.get_by_role("table")).to_be_visible()
    assert page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]") == [width, width]


def test_a_runs_page_follows_it_in_place_and_offers_to_deploy_at_the_end(open_admin: OpenAdmin) -> None:
    run = Run.objects.create(
        task=Task.objects.create(name="intent", title="Intent"), status=Run.Status.RUNNING, step="Encoding"
    )
    page = open_admin(reverse("admin:learning_run_change", args=[run.pk]))
    deploy = page.locator(f"a[href*='{reverse('admin:learning_run_deploy', args=[run.pk])}']")
    expect(page.get_by_text("Encoding", exact=True)).to_be_visible()
    expect(deploy).to_have_count(0)
    page.evaluate("() => { window.isStillHere = true }")
    Run.objects.filter(pk=run.pk).update(step="Measuring")
    expect(page.get_by_text("Measuring", exact=True)).to_be_visible(timeout=8000)
    assert page.evaluate("() => window.isStillHere") is True
    Run.objects.filter(pk=run.pk).update(step="", status=Run.Status.READY, metrics={"accuracy": 0.9})
    expect(deploy).to_be_visible(timeout=8000)
    expect(page.locator("[data-refresh-seconds]")).to_have_count(0)
    expect(page.get_by_text("0.9000")).to_be_visible()
