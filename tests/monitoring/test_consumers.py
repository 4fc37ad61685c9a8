"""The dashboard's socket: who may open it, and that snapshot and events tell the same story."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from channels.layers import channel_layers
from channels.routing import URLRouter
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from django.utils import timezone

from monitoring import consumers, stream
from monitoring.consumers import DashboardConsumer
from monitoring.models import Item
from monitoring.stream import StreamWorker, add_items

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 5


class Socket(ApplicationCommunicator):
    """A browser's end of the socket. (channels.testing cannot be imported without a server of its own.)"""

    def __init__(self, application: Any, query: str = "", **scope: Any) -> None:
        path = {"type": "websocket", "path": "/ws/monitoring/", "query_string": query.encode(), "headers": []}
        super().__init__(application, path | scope)

    async def connect(self) -> bool:
        """Open the socket and tell whether it was accepted."""
        await self.send_input({"type": "websocket.connect"})
        return (await self.receive_output(SECONDS))["type"] == "websocket.accept"

    async def send(self, *, text: str | None = None, data: bytes | None = None) -> None:
        await self.send_input({"type": "websocket.receive", "text": text, "bytes": data})

    async def receive(self) -> dict[str, Any]:
        output = await self.receive_output(SECONDS)
        assert output["type"] == "websocket.send"
        return json.loads(output["text"])

    async def close_code(self) -> int:
        output = await self.receive_output(SECONDS)
        assert output["type"] == "websocket.close"
        return output["code"]

    async def disconnect(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(SECONDS)


@pytest.fixture
def analyst(clean_redis: Any) -> User:
    user = User.objects.create_user("ana")
    user.user_permissions.add(Permission.objects.get(codename="view_item", content_type__app_label="monitoring"))
    return user


@pytest.fixture
def worker(clean_redis: Any) -> Iterator[StreamWorker]:
    with stream.connect() as client:
        yield StreamWorker(client, block_milliseconds=20)


@pytest.fixture
async def open_socket() -> AsyncIterator[Any]:
    opened: list[Socket] = []

    async def open_socket(user: Any, query: str = "") -> Socket:
        browser = Socket(DashboardConsumer.as_asgi(), query, user=user)
        opened.append(browser)
        assert await browser.connect()
        return browser

    yield open_socket
    for browser in opened:
        await browser.disconnect()
    await channel_layers["default"].flush()  # its connections belong to this test's event loop


def raw(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "source": "wire",
        "guid": f"a-{number}",
        "title": f"Headline {number}",
        "text": "Shares of Northgale rose.",
        "url": f"https://news.example/{number}",
        "language": "en",
        "published_at": timezone.now() - timedelta(minutes=number),
    } | changes


async def store(worker: StreamWorker, *items: dict[str, Any]) -> None:
    await database_sync_to_async(add_items)(items)
    assert await database_sync_to_async(worker.step)() is True


def titles(frame: dict[str, Any]) -> list[str]:
    return [item["title"] for item in frame["items"]]


async def test_a_snapshot_comes_first(open_socket: Any, analyst: User, worker: StreamWorker) -> None:
    await store(worker, raw(2), raw(1))
    frame = await (await open_socket(analyst)).receive()
    assert frame["type"] == "snapshot"
    assert titles(frame) == ["Headline 1", "Headline 2"]
    assert sum(hour["count"] for hour in frame["hours"]) == 2
    assert len(frame["hours"]) == 24
    assert frame["more"] is False


async def test_events_lead_to_what_a_new_snapshot_says(open_socket: Any, analyst: User, worker: StreamWorker) -> None:
    await store(worker, raw(5), raw(90))
    browser = await open_socket(analyst)
    first = await browser.receive()
    items = {item["id"]: item for item in first["items"]}
    hours = {hour["hour"]: hour["count"] for hour in first["hours"]}
    for batch in ([raw(1), raw(5)], [raw(30), raw(200)], [raw(2, title="Late")]):
        await store(worker, *batch)
        frame = await browser.receive()
        assert frame["type"] == "items"
        items |= {item["id"]: item for item in frame["items"]}
        hours |= {hour["hour"]: hour["count"] for hour in frame["hours"]}
    await browser.send(text='{"type": "refresh"}')
    again = await browser.receive()
    newest_first = sorted(items.values(), key=lambda item: (item["published_at"], item["id"]), reverse=True)
    assert newest_first == again["items"]
    assert len(newest_first) == 6
    assert [{"hour": hour, "count": count} for hour, count in hours.items()] == again["hours"]


async def test_batches_that_arrive_together_are_one_frame(
    open_socket: Any, analyst: User, worker: StreamWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "GATHER_SECONDS", 1.0)
    browser = await open_socket(analyst)
    await browser.receive()
    await store(worker, raw(1))
    await store(worker, raw(2))
    assert titles(await browser.receive()) == ["Headline 1", "Headline 2"]
    assert await browser.receive_nothing(timeout=0.1)


async def test_filters_hold_for_events_too(open_socket: Any, analyst: User, worker: StreamWorker) -> None:
    browser = await open_socket(analyst, "source=wire&language=en&q=northgale+headline")
    await browser.receive()
    await store(worker, raw(1), raw(2, source="other"), raw(3, text="无", language="zh-hans"), raw(4, text="Vantry"))
    frame = await browser.receive()
    assert titles(frame) == ["Headline 1"]
    assert sum(hour["count"] for hour in frame["hours"]) == 1


async def test_who_is_not_signed_in_is_sent_away(open_socket: Any, clean_redis: Any) -> None:
    assert await (await open_socket(AnonymousUser())).close_code() == 4401


@pytest.mark.parametrize("change", [{"is_active": False}, {"permission": None}])
async def test_who_may_not_see_items_is_sent_away(open_socket: Any, analyst: User, change: dict[str, Any]) -> None:
    if "permission" in change:
        await analyst.user_permissions.aclear()
    else:
        await User.objects.filter(pk=analyst.pk).aupdate(**change)
    assert await (await open_socket(analyst)).close_code() == 4403


async def test_a_permission_taken_away_ends_the_socket_at_the_next_refresh(open_socket: Any, analyst: User) -> None:
    browser = await open_socket(analyst)
    await browser.receive()
    await analyst.user_permissions.aclear()
    await browser.send(text='{"type": "refresh"}')
    assert await browser.close_code() == 4403


@pytest.mark.parametrize("query", ["language=fr", "q=%00", "source=" + "x" * 101])
async def test_filters_that_are_nonsense_are_refused(open_socket: Any, analyst: User, query: str) -> None:
    browser = await open_socket(analyst, query)
    assert (await browser.receive())["code"] == "bad_filter"
    assert await browser.close_code() == 4400


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[" * 900, "bad_json"),
        ("x" * 100_000, "too_long"),
        ("[]", "bad_frame"),
        ('{"type": 7}', "bad_frame"),
        ('{"type": "delete"}', "unknown_type"),
    ],
)
async def test_a_bad_frame_is_answered_by_its_code_and_the_socket_goes_on(
    open_socket: Any, analyst: User, text: str, code: str
) -> None:
    browser = await open_socket(analyst)
    await browser.receive()
    await browser.send(text=text)
    frame = await browser.receive()
    assert (frame["type"], frame["code"]) == ("error", code)
    await browser.send(text='{"type": "refresh"}')
    assert (await browser.receive())["type"] == "snapshot"


async def test_binary_is_refused_and_too_much_nonsense_closes(open_socket: Any, analyst: User) -> None:
    browser = await open_socket(analyst)
    await browser.receive()
    for _ in range(10):
        await browser.send(data=b"\x00")
        assert (await browser.receive())["code"] == "binary"
    assert await browser.close_code() == 4400


async def test_a_read_that_fails_closes_the_socket_so_that_the_page_starts_afresh(
    open_socket: Any, analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await open_socket(analyst)
    await browser.receive()
    monkeypatch.setattr(consumers.dashboard, "items_among", lambda *args, **options: 1 / 0)
    layer = channel_layers["default"]
    await layer.group_send(stream.DASHBOARD_GROUP, {"type": "items.stored", "ids": [1], "hours": []})
    assert await browser.close_code() == 1011


@pytest.mark.parametrize(
    ("origin", "is_welcome"), [("http://localhost", True), ("https://evil.example", False), (None, False)]
)
async def test_only_pages_of_our_own_hosts_may_open_it_with_the_cookie(
    analyst: User, origin: str | None, is_welcome: bool
) -> None:
    from monitoring.routing import websocket_urlpatterns

    client = Client()
    await database_sync_to_async(client.force_login)(analyst)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    headers = [(b"cookie", cookie.encode())] + ([(b"origin", origin.encode())] if origin else [])
    browser = Socket(URLRouter(websocket_urlpatterns), headers=headers)
    assert await browser.connect() is is_welcome
    if is_welcome:
        assert (await browser.receive())["type"] == "snapshot"
    await browser.disconnect()
    await channel_layers["default"].flush()


def test_a_channel_layer_that_is_away_does_not_stop_the_worker(
    worker: StreamWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Any:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr("lepton_app.lib.live.get_channel_layer", away)
    add_items([raw(1)])
    assert worker.step() is True
    assert Item.objects.count() == 1
    assert "live frame not sent" in caplog.text
