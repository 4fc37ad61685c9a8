"""Send frames to channel groups once the transaction that made them true has committed.

A frame that is sent inside a transaction can arrive before the row it speaks of is visible, or speak of a row that
is then rolled back; so that every publisher goes through here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

logger = logging.getLogger(__name__)


def publish_on_commit(group: str, event: Mapping[str, Any]) -> None:
    """Send ``event`` (a dict with the handler's name under ``type``) to ``group`` after the current commit.

    Delivery over the channel layer is best effort: what matters is stored, and a client that missed a frame asks for
    everything after the last sequence number it saw. A layer that is away is logged, never raised to the writer.
    """
    transaction.on_commit(partial(_send, group, dict(event)))


def _send(group: str, event: dict[str, Any]) -> None:
    try:
        async_to_sync(get_channel_layer().group_send)(group, event)
    except Exception:  # the row is stored; whatever the layer raises must not undo the caller's work
        logger.exception("live frame not sent", extra={"group": group, "event_type": event.get("type")})
