"""Frames are sent after the commit that made them true, and never when it is rolled back."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.db import transaction

from lepton_app.lib.live import publish_on_commit


@pytest.mark.django_db(transaction=True)
async def test_a_frame_is_sent_at_the_commit_and_not_before(clean_redis: Any) -> None:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("test-group", channel)

    def write(*, fail: bool) -> None:
        with transaction.atomic():
            publish_on_commit("test-group", {"type": "test.frame", "fail": fail})
            if fail:
                raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError, match="rolled back"):
        await asyncio.to_thread(write, fail=True)
    await asyncio.to_thread(write, fail=False)
    frame = await asyncio.wait_for(layer.receive(channel), timeout=5)
    assert frame == {"type": "test.frame", "fail": False}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), timeout=0.2)
    await layer.flush()


@pytest.mark.django_db(transaction=True)
def test_a_channel_layer_that_is_away_does_not_undo_the_write(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away:
        async def group_send(self, group: str, event: dict[str, Any]) -> None:
            raise ConnectionError("redis is away")

    monkeypatch.setattr("lepton_app.lib.live.get_channel_layer", Away)
    with caplog.at_level(logging.ERROR), transaction.atomic():
        publish_on_commit("test-group", {"type": "test.frame", "text": "customers' words"})
    assert "live frame not sent" in caplog.text
    assert "customers' words" not in caplog.text
