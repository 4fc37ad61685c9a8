"""The chat behind the real web server: close codes as a browser sees them, and processes that end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from lepton_app.chat import delivery
from lepton_app.chat.models import Conversation, Message, Site

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Server:
    """A web process of its own on a free port, without any model."""

    data_dir: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    browsers: ExitStack = field(default_factory=ExitStack)
    log: Path = field(init=False)

    def start(self) -> None:
        self.log = self.data_dir / "web.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {
            **os.environ,
            "DATABASE_URL": settings.EMBEDDED.postgres_url(connection.settings_dict["NAME"]),
            "REDIS_URL": settings.REDIS_URL,
            "LEPTON_SECRET_KEY": settings.SECRET_KEY,
            "LEPTON_DATA_DIR": str(self.data_dir),
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, "-m", "uvicorn", "lepton_app.asgi:application", "--port", str(self.port)]
        command += ["--ws", "websockets-sansio", "--lifespan", "on", "--timeout-graceful-shutdown", "3"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.log.read_text())

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def open(
        self, site: Site, *, origin: str | None = "http://localhost:9999", path: str | None = None
    ) -> ClientConnection:
        address = f"ws://127.0.0.1:{self.port}{path or f'/ws/chat/{site.public_key}/'}"
        browser = connect(address, origin=Origin(origin) if origin else None, open_timeout=10, max_size=None)
        return self.browsers.enter_context(browser)


@pytest.fixture
def server(site: Site, clean_redis: Any, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    with server.browsers:
        yield server
    if server.process is not None and server.process.poll() is None:
        server.end(signal.SIGKILL)


def send(socket: ClientConnection, **frame: Any) -> None:
    socket.send(json.dumps(frame))


def frames_until(socket: ClientConnection, kind: str, author: str = "") -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(socket.recv(timeout=10))
        if frame["type"] == kind and (not author or frame["message"]["author"] == author):
            return frame


def close_code(socket: ClientConnection) -> int | None:
    try:
        while True:
            socket.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else None


def test_a_browser_sees_why_it_was_refused_and_the_server_goes_on(server: Server, site: Site) -> None:
    assert close_code(server.open(site, origin="https://evil.example")) == 4403
    assert close_code(server.open(site, origin=None)) == 4403
    assert close_code(server.open(site, path="/ws/chat/unknown/")) == 4403
    assert close_code(server.open(site, path="/ws/elsewhere/")) == 4404

    big = server.open(site)
    send(big, type="hello", language="en")
    frames_until(big, "welcome")
    send(big, type="send", client_id=str(uuid.uuid4()), text="x" * 100_000)
    assert frames_until(big, "error")["code"] == "too_long"
    assert close_code(big) == 1009

    token = server.open(site)
    send(token, type="hello", language="en", token="forged")
    assert close_code(token) == 4401
    assert Message.objects.count() == 0

    good = server.open(site)
    send(good, type="hello", language="en")
    assert frames_until(good, "welcome")["status"] == "assistant"
    # No model is deployed: the server has started all the same, and says so.
    send(good, type="send", client_id=str(uuid.uuid4()), text="hello")
    reply = frames_until(good, "message", "assistant")["message"]
    assert reply["attachments"] == {"offer_person": True}


def test_what_was_acknowledged_survives_a_killed_server_and_is_answered(server: Server, site: Site) -> None:
    first = server.open(site)
    send(first, type="hello", language="en")
    welcome = frames_until(first, "welcome")
    client_id = str(uuid.uuid4())
    send(first, type="send", client_id=client_id, text="hello")
    assert frames_until(first, "message", "customer")["message"]["client_id"] == client_id
    server.end(signal.SIGKILL)
    # As if it had died before the reply, whichever came first.
    Message.objects.filter(author="assistant").delete()
    Conversation.objects.update(last_sequence=1)

    server.start()
    back = server.open(site)
    send(back, type="hello", language="en", token=welcome["token"], conversation=welcome["conversation"], after=0)
    assert [message["client_id"] for message in frames_until(back, "welcome")["messages"]] == [client_id]
    # The client has not seen an acknowledgement either: it sends again.
    send(back, type="send", client_id=client_id, text="hello")
    frames_until(back, "message", "assistant")
    stored = Message.objects.order_by("sequence").values_list("sequence", "author")
    assert list(stored) == [(1, "customer"), (2, "assistant")]


def test_the_server_ends_in_time_with_open_sockets(server: Server, site: Site) -> None:
    open_socket = server.open(site)
    send(open_socket, type="hello", language="en")
    frames_until(open_socket, "welcome")
    started = time.monotonic()
    server.end(signal.SIGTERM)
    assert time.monotonic() - started < 8
    assert close_code(open_socket) == 1012
    assert "Traceback" not in server.log.read_text()


def test_two_processes_serve_one_conversation(server: Server, site: Site, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Server(tmp_path / "second")
    second.start()
    try:
        here, there = server.open(site), second.open(site)
        send(here, type="hello", language="en")
        welcome = frames_until(here, "welcome")
        send(there, type="hello", language="en", token=welcome["token"])
        assert frames_until(there, "welcome")["conversation"] == welcome["conversation"]
        send(here, type="send", client_id=str(uuid.uuid4()), text="hello")
        writers = ("customer", "assistant")
        seen = [frames_until(tab, "message", who)["message"] for tab in (here, there) for who in writers]
        assert seen[:2] == seen[2:]
        assert delivery.next_unanswered(uuid.UUID(welcome["conversation"])) is None
    finally:
        second.browsers.close()
        second.end(signal.SIGTERM)
