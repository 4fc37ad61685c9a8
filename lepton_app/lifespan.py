"""What happens when the web server starts and stops: models are loaded beside it, so that the first message is fast.

A model that is missing or broken never keeps the server from starting: the chat says so, offers a person, and
``/readyz`` names what is missing. While the server runs, a watch swaps models that are deployed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels.db import database_sync_to_async

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Lifespan:
    """The ASGI application of the ``lifespan`` scope."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Start warming up and watching at the start, without making the server wait; end both at the end."""
        from lepton_app.learning import serving

        warming: asyncio.Task[None] | None = None
        watch = serving.watch()
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                warming = asyncio.create_task(database_sync_to_async(warm_up, thread_sensitive=False)(), name="warm-up")
                watch.start()
                await send({"type": "lifespan.startup.complete"})
            elif event["type"] == "lifespan.shutdown":
                if warming is not None:
                    warming.cancel()
                await asyncio.to_thread(watch.stop)
                await send({"type": "lifespan.shutdown.complete"})
                return


def warm_up() -> None:
    """Load the encoder, the intent classifier and the index into this process, each on its own risk."""
    for name, load in (("encoder", _load_encoder), ("classifier", _load_classifier), ("index", _load_index)):
        started = time.monotonic()
        try:
            is_there = load()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a model, the server serves
            logger.warning("%s not loaded: %s: %s", name, type(error).__name__, error)
        else:
            state = "loaded" if is_there else "not deployed"
            logger.info("%s %s (%.2f s)", name, state, time.monotonic() - started)


def _load_encoder() -> bool:
    from lepton_app.lib.encoding import encoder_service

    encoder_service().encode_sync(["Hello", "你好"])
    return True


def _load_classifier() -> bool:
    from intents import classifier

    return classifier.current() is not None


def _load_index() -> bool:
    from retrieval import serving

    return serving.current_index() is not None
