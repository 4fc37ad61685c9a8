"""The way of an item through the stream: stored once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from monitoring import stream
from monitoring.models import Item
from monitoring.stream import GROUP, ITEMS_STREAM, ItemsRefused, StreamUnavailable, StreamWorker, add_items

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(clean_redis: Any) -> Iterator[redis.Redis]:
    with stream.connect() as client:
        yield client


def worker(client: redis.Redis, **options: Any) -> StreamWorker:
    return StreamWorker(client, **({"block_milliseconds": 20} | options))


def raw(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "source": "wire",
        "guid": f"a-{number}",
        "title": f"Headline {number}",
        "text": "Shares of Northgale rose.",
        "url": f"https://news.example/{number}",
        "language": "en",
        "published_at": timezone.now() - timedelta(minutes=number),
    } | changes


def is_drained(client: redis.Redis) -> bool:
    return client.xlen(ITEMS_STREAM) == 0 and client.xpending(ITEMS_STREAM, GROUP)["pending"] == 0


def letters(client: redis.Redis) -> list[dict[str, str]]:
    entries: Any = client.xrange(ITEMS_STREAM + ":dead")
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]


@pytest.mark.django_db
def test_what_is_added_is_stored_as_it_is(client: redis.Redis) -> None:
    published_at = datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=UTC)
    ids = add_items([raw(title="利率上调", published_at=published_at)])
    assert len(ids) == 1
    assert worker(client).step() is True
    item = Item.objects.get()
    assert (item.source, item.guid, item.title, item.language) == ("wire", "a-1", "利率上调", "en")
    assert item.published_at == published_at
    assert item.received_at > published_at
    assert is_drained(client)


@pytest.mark.django_db
def test_nothing_to_do_is_said(client: redis.Redis) -> None:
    assert worker(client).step() is False


@pytest.mark.django_db
def test_the_same_item_twice_is_stored_once(client: redis.Redis) -> None:
    add_items([raw(1), raw(1, title="Again"), raw(2), raw(1, source="other wire")])
    one = worker(client)
    one.step()
    add_items([raw(2, title="Much later")])
    one.step()
    assert sorted(Item.objects.values_list("source", "guid", "title")) == [
        ("other wire", "a-1", "Headline 1"),
        ("wire", "a-1", "Headline 1"),
        ("wire", "a-2", "Headline 2"),
    ]
    assert is_drained(client)


@pytest.mark.django_db
def test_a_step_takes_one_batch(client: redis.Redis) -> None:
    add_items(raw(number) for number in range(5))
    one = worker(client, batch_items=2)
    counts = []
    while one.step():
        counts.append(Item.objects.count())
    assert counts == [2, 4, 5]


@pytest.mark.django_db
@pytest.mark.parametrize("killed_in", ["_handle", "_acknowledge"])
def test_a_worker_killed_before_or_after_the_commit_loses_and_doubles_nothing(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    add_items(raw(number) for number in range(3))
    killed = worker(client)

    def die(*args: Any) -> None:
        raise KeyboardInterrupt  # like SIGKILL: no code of the worker runs after it

    monkeypatch.setattr(killed, killed_in, die)
    with pytest.raises(KeyboardInterrupt):
        killed.step()
    assert Item.objects.count() == (0 if killed_in == "_handle" else 3)
    assert client.xpending(ITEMS_STREAM, GROUP)["pending"] == 3

    assert worker(client).step() is False  # too early: the entries may still be in good hands
    assert worker(client, claim_idle_milliseconds=0).step() is True
    assert Item.objects.count() == 3
    assert is_drained(client)


@pytest.mark.django_db
def test_poison_goes_to_the_dead_letters_and_the_others_are_stored(client: redis.Redis) -> None:
    add_items([raw(1)])
    client.xadd(ITEMS_STREAM, {"source": "wire", "guid": "bad", "text": "", "published_at": "soon"})
    client.xadd(ITEMS_STREAM, {b"source": b"\xff\xfe", b"text": b"x"})
    client.xadd(ITEMS_STREAM, {"payload": "{}"})
    add_items([raw(2)])
    assert worker(client).step() is True
    assert sorted(Item.objects.values_list("guid", flat=True)) == ["a-1", "a-2"]
    dead = letters(client)
    assert [letter["reason"] for letter in dead] == [
        "text: is empty; published_at: is not a time such as 2026-03-02T09:30:00+00:00",
        "source: is not UTF-8",
        (
            "source: is missing; guid: is missing; text: is missing; published_at: is missing; "
            "payload: is not a field of an item"
        ),
    ]
    assert json.loads(dead[0]["fields"])["guid"] == "bad"
    assert is_drained(client)


@pytest.mark.django_db(transaction=True)
def test_an_item_that_only_the_database_refuses_does_not_spoil_its_batch(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_items([raw(1), raw(2), raw(3)])
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE monitoring_item ADD CONSTRAINT no_two CHECK (guid <> 'a-2')")
    try:
        assert worker(client).step() is True
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE monitoring_item DROP CONSTRAINT no_two")
    assert sorted(Item.objects.values_list("guid", flat=True)) == ["a-1", "a-3"]
    [letter] = letters(client)
    assert letter["reason"].startswith("database: ")
    assert "no_two" in letter["reason"]
    assert is_drained(client)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_a_database_that_is_away_costs_nothing_but_time(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    add_items(raw(number) for number in range(3))
    one = worker(client)
    with monkeypatch.context() as patch:
        patch.setattr(stream, "_insert", lambda *args: (_ for _ in ()).throw(error))
        for _ in range(2):
            with pytest.raises(StreamUnavailable, match=str(error)):
                one.step()
    assert client.xpending(ITEMS_STREAM, GROUP)["pending"] == 3
    assert letters(client) == []
    assert one.step() is True
    assert Item.objects.count() == 3
    assert is_drained(client)


@pytest.mark.django_db
def test_redis_away_is_unavailable(tmp_path: Path) -> None:
    with redis.Redis.from_url(f"unix://{tmp_path}/nobody.sock") as client, pytest.raises(StreamUnavailable):
        worker(client).step()


@pytest.mark.django_db
def test_a_redis_that_lost_its_data_is_joined_again(client: redis.Redis) -> None:
    one = worker(client)
    one.step()
    client.flushdb()
    with pytest.raises(StreamUnavailable, match="NOGROUP"):
        one.step()
    add_items([raw()])
    assert one.step() is True
    assert Item.objects.count() == 1


@pytest.mark.django_db
def test_the_loop_backs_off_and_goes_on(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()
    pauses: list[float] = []
    outcomes: list[Exception | None] = [StreamUnavailable("a"), StreamUnavailable("b"), None, StreamUnavailable("c")]
    one = worker(client)

    def step() -> bool:
        outcome = outcomes.pop(0)
        if not outcomes:
            stopping.set()
        if outcome is not None:
            raise outcome
        return True

    monkeypatch.setattr(one, "step", step)
    monkeypatch.setattr(stopping, "wait", pauses.append)
    stream.run(one, stopping)
    assert pauses == [0.5, 1.0, 0.5]


@pytest.mark.django_db
def test_a_worker_that_leaves_takes_its_name_along(client: redis.Redis) -> None:
    one, other = worker(client), worker(client)
    one.step()
    add_items([raw()])
    other._join()
    other._new()  # read and never acknowledged
    one.leave()
    other.leave()
    assert [info["name"].decode() for info in client.xinfo_consumers(ITEMS_STREAM, GROUP)] == [other.consumer]


@pytest.mark.django_db
def test_dashboards_are_told_after_the_commit_what_is_new(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("lepton_app.lib.live._send", lambda group, event: sent.append((group, event)))
    nine = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    add_items([raw(1, published_at=nine), raw(2, published_at=nine + timedelta(hours=2))])
    one = worker(client)
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        one.step()
    assert sent == []
    [callback] = callbacks
    callback()
    [(group, event)] = sent
    assert group == stream.DASHBOARD_GROUP
    assert event == {
        "type": "items.stored",
        "ids": sorted(Item.objects.values_list("pk", flat=True)),
        "hours": ["2026-03-02T09:00:00+00:00", "2026-03-02T11:00:00+00:00"],
    }
    add_items([raw(1, published_at=nine)])
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        one.step()
    assert callbacks == []  # nothing new, nothing said


def test_malformed_items_are_refused_by_field_and_nothing_is_added(client: redis.Redis) -> None:
    without_zone = "2026-03-02T09:30:00"
    items: list[Any] = [raw(1), raw(2, text="", url="javascript:x"), "text", raw(4, published_at=without_zone)]
    with pytest.raises(ItemsRefused, match="Item 2: text: is empty; url: must begin") as caught:
        add_items(items)
    assert caught.value.problems == {
        1: {"text": "is empty", "url": "must begin with http:// or https://"},
        2: {"item": "must be an object, not str"},
        3: {"published_at": "has no time zone"},
    }
    assert client.exists(ITEMS_STREAM) == 0


def test_adding_nothing_is_no_mistake(client: redis.Redis) -> None:
    assert add_items([]) == []
    assert client.exists(ITEMS_STREAM) == 0


@pytest.mark.django_db(transaction=True)
def test_the_command_stores_says_one_line_and_ends_on_a_signal(client: redis.Redis) -> None:
    environment = os.environ | {"REDIS_URL": settings.REDIS_URL, "DATABASE_URL": _url_of_the_test_database()}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "stream"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Stream worker ")
        add_items([raw(1), raw(2)])
        deadline = time.monotonic() + 30
        while Item.objects.count() < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert Item.objects.count() == 2
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=30)
        took_seconds = time.monotonic() - asked
    finally:
        process.kill()
    assert process.returncode == 0
    assert rest == ""
    assert "Traceback" not in errors
    # 2 s on a quiet machine (1.4 s measured); the suite shares its processors with other tests.
    assert took_seconds < 6
    assert is_drained(client)


def _url_of_the_test_database() -> str:
    database = connection.settings_dict
    host = str(database["HOST"]).replace("/", "%2F")
    return f"postgresql://{database['USER']}@{host}/{database['NAME']}"
