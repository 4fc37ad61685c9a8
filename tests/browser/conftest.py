"""The real server in a thread of its own, headless Chromium, and an assistant that answers by script.

The server runs inside the test's process, so that a test can make rows, read them and replace the assistant's models;
everything between the browser and the database is real.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from django.db import connections
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from lepton_app.chat import delivery, replies, sites
from lepton_app.chat.models import Message, Site
from lepton_app.chat.threads import on_database_thread

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP = {"width": 1280, "height": 800}

BROWSER_MARKS = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

expect.set_options(timeout=10_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. It lives as long as one module: its event loop would be in the way of async tests."""
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        reason = "there is no Chromium on the PATH (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    patch = pytest.MonkeyPatch()
    # Playwright's loop runs on this thread between calls; the tests' own queries are synchronous all the same.
    patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()
    patch.undo()


@dataclass
class Server:
    """The ASGI application under uvicorn on a port that stays the same over ``stop`` and ``start``."""

    port: int
    _uvicorn: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        from channels.routing import ProtocolTypeRouter
        from django.core.asgi import get_asgi_application

        from lepton_app.asgi import application

        # A new handler, for the static files may have been collected after the first one looked for them.
        mapping = {**application.application_mapping, "http": get_asgi_application()}
        config = uvicorn.Config(
            ProtocolTypeRouter(mapping),
            host="127.0.0.1",
            port=self.port,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=5,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, name="test-server", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._uvicorn.started:
            assert self._thread.is_alive(), "the server ended while starting"
            assert time.monotonic() < deadline, "the server has not started in time"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._uvicorn is None or self._thread is None:
            return
        self._uvicorn.should_exit = True
        self._thread.join(timeout=20)
        assert not self._thread.is_alive(), "the server has not stopped in time"
        self._uvicorn = self._thread = None


@pytest.fixture
def server(transactional_db: None, clean_redis: Any, static_files: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Server(port)
    running.start()
    yield running
    running.stop()


@dataclass
class HostPages:
    """Somebody else's web server, on this machine and another origin: a body and headers for each path."""

    port: int
    pages: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def host_pages() -> Iterator[HostPages]:
    served: HostPages

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, headers = served.pages.get(self.path, ("", {}))
            self.send_response(200 if self.path in served.pages else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = HostPages(http.server_port)
        thread = threading.Thread(target=http.serve_forever, name="host-pages")
        thread.start()
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def site(transactional_db: None) -> Site:
    """The demo page's site."""
    return sites.ensure_site()


@dataclass
class Assistant:
    """Answers in place of the models: by the first word of ``script`` that the question contains, else an echo."""

    script: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    delay_seconds: float = 0.0

    async def reply_to(self, question: Message) -> delivery.Stored | None:
        await asyncio.sleep(self.delay_seconds)
        found = (answer for word, answer in self.script.items() if word in question.text)
        text, attachments = next(found, (f"You wrote: {question.text}", {}))
        return await on_database_thread(delivery.store_reply)(
            question, text=text, attachments=attachments, lineage={"route": "script"}
        )


@pytest.fixture
def assistant(monkeypatch: pytest.MonkeyPatch) -> Assistant:
    scripted = Assistant()
    monkeypatch.setattr(replies, "reply_to", scripted.reply_to)
    return scripted


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, server: Server, site: Site, assistant: Assistant) -> Iterator[OpenPage]:
    """Open an address in a browser of its own; a script error on any page fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_one(path: str = "/", *, init_script: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        if init_script:
            page.add_init_script(init_script)
        page.goto(server.url + path if path.startswith("/") else path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert errors == []


class Chat:
    """The widget on a page, as a customer meets it. Locators look through the open shadow root."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.root = page.locator("lepton-chat")
        self.launcher = self.root.locator(".launcher")
        self.panel = self.root.get_by_role("dialog")
        self.log = self.root.get_by_role("log")
        self.input = self.root.locator("textarea")
        self.notice = self.root.locator(".notice")
        self.passage = self.root.locator(".passage")

    def open(self) -> Chat:
        self.launcher.click()
        expect(self.panel).to_be_visible()
        return self

    def say(self, text: str) -> None:
        self.input.fill(text)
        self.input.press("Enter")

    def bubbles(self, author: str) -> Locator:
        return self.log.locator(f".message.{author} .bubble")

    def menu(self, name: str) -> Locator:
        """Open the header's menu and return one of its entries."""
        self.root.locator("header .tool").first.click()
        return self.root.locator(".menu").get_by_role("button", name=name)

    def texts(self) -> list[str]:
        """What the log's bubbles say, from top to bottom."""
        return self.log.locator(".bubble").all_inner_texts()


def elsewhere(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call an operation as another process would: on a thread that has no event loop and a connection of its own."""

    def work() -> None:
        try:
            function(*args, **kwargs)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def stored() -> list[tuple[int, str, str]]:
    """Sequence number, author and text of every stored message."""
    return list(Message.objects.order_by("sequence").values_list("sequence", "author", "text"))


def size_of(locator: Locator) -> tuple[int, int]:
    """Width and height in pixels, once the element is laid out: the chat moves into the top layer as it appears."""
    deadline = time.monotonic() + 10
    while (box := locator.bounding_box()) is None:
        assert time.monotonic() < deadline, "the element has no box"
        time.sleep(0.05)
    return round(box["width"]), round(box["height"])
