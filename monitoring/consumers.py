"""The dashboard's socket: a snapshot first, then what is stored from then on.

The socket joins the group before it reads the snapshot, so that nothing falls between the two; what comes twice
carries the same ids and the same counts, and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from datetime import datetime
from typing import Any, Literal, TypedDict

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.http import QueryDict
from django.utils import timezone

from monitoring import dashboard
from monitoring.dashboard import Filters, HourFrame, ItemFrame
from monitoring.forms import FilterForm
from monitoring.stream import DASHBOARD_GROUP

logger = logging.getLogger(__name__)

PERMISSION = "monitoring.view_item"
# Batches that arrive close together are shown together: one query and one frame for all of them.
GATHER_SECONDS = 0.25
MAX_FRAME_CHARS = 1000
MAX_BAD_FRAMES = 10
CLOSE_ABUSE = 4400
CLOSE_SIGNED_OUT = 4401
CLOSE_FORBIDDEN = 4403


class SnapshotFrame(TypedDict):
    """The whole state: newest items first, the last 24 hours from the oldest on, whether older items exist."""

    type: Literal["snapshot"]
    items: list[ItemFrame]
    hours: list[HourFrame]
    more: bool


class ItemsFrame(TypedDict):
    """What has been stored since: the newest of it, and the counts of the hours that it changed."""

    type: Literal["items"]
    items: list[ItemFrame]
    hours: list[HourFrame]


class ErrorFrame(TypedDict):
    """What was wrong with a frame."""

    type: Literal["error"]
    code: str
    detail: str


class DashboardConsumer(AsyncWebsocketConsumer):
    """One browser's view, with the filters of the page's address.

    The only frame it takes is ``{"type": "refresh"}``, which is answered with a new snapshot.
    """

    async def connect(self) -> None:
        """Accept who may see items, and say by the close code why not."""
        self._ids: set[int] = set()
        self._hours: set[datetime] = set()
        self._bad_frames = 0
        self._is_ready = False
        self._flush: asyncio.Task[None] | None = None
        await self.accept()
        form = FilterForm(QueryDict(self.scope["query_string"]))
        if not await self._may_stay():
            return
        if not await database_sync_to_async(form.is_valid)():
            await self._fail("bad_filter", "The filters of the address are not valid.")
            await self.close(CLOSE_ABUSE)
            return
        self._filters: Filters = form.filters
        await self.channel_layer.group_add(DASHBOARD_GROUP, self.channel_name)
        await self._send_snapshot()
        self._is_ready = True

    async def disconnect(self, code: int) -> None:
        """Leave the group, and drop what has not been sent."""
        await self.channel_layer.group_discard(DASHBOARD_GROUP, self.channel_name)
        if self._flush is not None:
            self._flush.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flush

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer a refresh; everything else gets an error frame, and too much of it closes the socket."""
        if not self._is_ready:
            return
        problem = _problem(text_data)
        if problem is None:
            if await self._may_stay():
                await self._send_snapshot()
            return
        self._bad_frames += 1
        await self._fail(*problem)
        if self._bad_frames >= MAX_BAD_FRAMES:
            await self.close(CLOSE_ABUSE)

    async def items_stored(self, event: dict[str, Any]) -> None:
        """Gather what the stream worker stored; it goes out a moment later."""
        self._ids.update(event["ids"])
        self._hours.update(datetime.fromisoformat(hour) for hour in event["hours"])
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._send_gathered())

    async def _send_gathered(self) -> None:
        while self._ids:
            await asyncio.sleep(GATHER_SECONDS)
            ids, hours, self._ids, self._hours = self._ids, self._hours, set(), set()
            try:
                frame = await database_sync_to_async(self._items_frame)(ids, hours)
            except Exception:
                # A gap must not go unseen: the browser connects again and starts from a snapshot.
                logger.exception("dashboard: reading what is new failed")
                await self.close(1011)
                return
            if frame["items"] or frame["hours"]:
                await self.send(json.dumps(frame))

    def _items_frame(self, ids: set[int], hours: set[datetime]) -> ItemsFrame:
        shown = [hour for hour in dashboard.chart_hours(timezone.now()) if hour in hours]
        return ItemsFrame(
            type="items",
            items=dashboard.items_among(ids, self._filters),
            hours=dashboard.count_hours(shown, self._filters),
        )

    async def _send_snapshot(self) -> None:
        await self.send(json.dumps(await database_sync_to_async(self._snapshot)()))

    def _snapshot(self) -> SnapshotFrame:
        page = dashboard.page(self._filters)
        return SnapshotFrame(
            type="snapshot",
            items=page.items,
            hours=dashboard.count_hours(dashboard.chart_hours(timezone.now()), self._filters),
            more=page.older is not None,
        )

    async def _may_stay(self) -> bool:
        """Ask the database again who this is and what they may; close the socket of who may not."""
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            await self.close(CLOSE_SIGNED_OUT)
            return False
        if not await database_sync_to_async(_may_see)(user.pk):
            await self.close(CLOSE_FORBIDDEN)
            return False
        return True

    async def _fail(self, code: str, detail: str) -> None:
        await self.send(json.dumps(ErrorFrame(type="error", code=code, detail=detail)))


def _may_see(user_id: int) -> bool:
    user = get_user_model().objects.filter(pk=user_id, is_active=True).first()
    return user is not None and user.has_perm(PERMISSION)


def _problem(text: str | None) -> tuple[str, str] | None:
    """Return code and detail of what is wrong with a frame, None for a refresh."""
    if text is None:
        return "binary", "Send text frames."
    if len(text) > MAX_FRAME_CHARS:
        return "too_long", f"A frame has at most {MAX_FRAME_CHARS} characters."
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return "bad_json", "The frame is not JSON."
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        return "bad_frame", "The frame must be an object with a type."
    if frame["type"] != "refresh":
        return "unknown_type", "The only type is refresh."
    return None
