"""The web server starts whatever is wrong with the models."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from asgiref.testing import ApplicationCommunicator

from lepton_app import lifespan
from lepton_app.lib.deployed import Deployed, Watch


async def test_the_server_starts_at_once_and_loads_what_it_can(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = asyncio.Event()
    loop = asyncio.get_running_loop()

    def broken() -> bool:
        raise RuntimeError("no encoder here")

    def index() -> bool:
        loop.call_soon_threadsafe(loaded.set)
        return False

    monkeypatch.setattr(lifespan, "_load_encoder", broken)
    monkeypatch.setattr(lifespan, "_load_classifier", lambda: True)
    monkeypatch.setattr(lifespan, "_load_index", index)
    server = ApplicationCommunicator(lifespan.Lifespan(), {"type": "lifespan"})
    with caplog.at_level(logging.INFO, logger="lepton_app.lifespan"):
        await server.send_input({"type": "lifespan.startup"})
        assert await server.receive_output() == {"type": "lifespan.startup.complete"}
        await asyncio.wait_for(loaded.wait(), 5)
        await server.send_input({"type": "lifespan.shutdown"})
        assert await server.receive_output() == {"type": "lifespan.shutdown.complete"}
        await server.wait()
    assert "encoder not loaded: RuntimeError: no encoder here" in caplog.text
    assert "classifier loaded" in caplog.text


async def test_a_watch_runs_as_long_as_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    looked_twice = threading.Event()

    def holders() -> list[Deployed[str, str]]:
        looks.append("look")
        if len(looks) == 2:
            looked_twice.set()
        return []

    def watch() -> Watch:
        return Watch(holders, period_seconds=0.01)

    monkeypatch.setattr(lifespan, "warm_up", lambda: None)
    monkeypatch.setattr("lepton_app.learning.serving.watch", watch)
    server = ApplicationCommunicator(lifespan.Lifespan(), {"type": "lifespan"})
    await server.send_input({"type": "lifespan.startup"})
    await server.receive_output()
    assert await asyncio.to_thread(looked_twice.wait, 10)
    await server.send_input({"type": "lifespan.shutdown"})
    await server.receive_output()
    await server.wait()
    after = len(looks)
    await asyncio.sleep(0.05)
    assert len(looks) == after
