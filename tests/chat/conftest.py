"""A site, customers' tabs, colleagues, and models that answer from a few fixed words."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from channels.layers import channel_layers
from django.contrib.auth.models import Permission, User

from intents.catalogue import CatalogueEntry
from lepton_app.chat import replies
from lepton_app.chat.models import Site
from lepton_app.learning.classifier import Prediction
from retrieval.answering import Answer, Citation, Sentence

OWN_ORIGIN = "http://localhost:8000"
SITE_ORIGIN = "https://shop.example"
ARTICLE = "Transfers within the bank are **free**. Abroad they cost 5 dollars."


def on_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Query from an async test."""
    return database_sync_to_async(function, thread_sensitive=False)


@pytest.fixture
def site(db: None) -> Site:
    return Site.objects.create(name="Shop", allowed_origins=[SITE_ORIGIN])


@pytest.fixture
def agent(db: None) -> User:
    user = User.objects.create_user("agent-login", password="a long password", first_name="Mei", is_staff=True)
    names = ("view_conversation", "answer_conversation", "view_message")
    user.user_permissions.add(*Permission.objects.filter(content_type__app_label="chat", codename__in=names))
    return user


def entry(name: str, *, hands_over: bool = False) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        titles={"en": name, "zh": f"{name}中"},
        questions={"en": f"{name}?", "zh": f"{name}吗？"},
        replies={"en": f"Reply of **{name}**.", "zh": f"{name}的回复。"},
        is_suggested=True,
        hands_over=hands_over,
    )


@dataclass
class FakeModels:
    """Models that know an intent by a word of the text; each part can be made to fail or to wait."""

    words: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "hello": ("greeting",),
            "你好": ("greeting",),
            "complaint": ("complaint",),
            "card": ("card_lost", "card_freeze"),
        }
    )
    entries: dict[str, CatalogueEntry] = field(
        default_factory=lambda: {
            "greeting": entry("greeting"),
            "complaint": entry("complaint", hands_over=True),
            "card_lost": entry("card_lost"),
            "card_freeze": entry("card_freeze"),
        }
    )
    encoder_error: Exception | None = None
    classifier_error: Exception | None = None
    search_error: Exception | None = None
    is_deployed: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    offered: list[tuple[str, int, str, str]] = field(default_factory=list)
    owns_encoder: bool = False
    own_encoder_error: Exception | None = None
    before_encode: Callable[[], Any] | None = None
    version: str = "fake-encoder"

    @property
    def encoder(self) -> FakeModels:
        return self

    def service(self) -> FakeModels:
        if self.encoder_error is not None:
            raise self.encoder_error
        return self

    async def encode(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        if self.before_encode is not None:
            await self.before_encode()
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
        rows = np.stack([np.random.default_rng(seed).standard_normal(8) for seed in seeds]).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def current(self) -> FakeClassifier | None:
        if self.classifier_error is not None:
            raise self.classifier_error
        return FakeClassifier(self) if self.is_deployed else None

    def offer(self, task: str, run_id: int, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
        for text, prediction in zip(texts, predictions, strict=True):
            self.offered.append((task, run_id, text, prediction.labels[0]))

    def answer_question(self, question: str, *, embedding: Any, language: str) -> Answer:
        assert embedding.shape == (8,)
        self.asked.append((question, language))
        if self.search_error is not None:
            raise self.search_error
        if "transfer" in question:
            start, end = 0, 39
            citation = Citation(1, 7, "Transfers", "Fees", start, end, ARTICLE[start:end])
            sentence = Sentence("Transfers within the bank are free.", citation)
            lineage = {"index_version": "fake-index"}
            return Answer((sentence, sentence), support=0.9, refused=False, threshold=0.5, lineage=lineage)
        support = 0.3 if "money" in question else 0.2
        return Answer((), support=support, refused=True, threshold=0.5, near=((7, "Transfers"),))


@dataclass
class FakeClassifier:
    models: FakeModels
    version: str = "fake-classifier"
    run_id: int = 7

    @property
    def owns_encoder(self) -> bool:
        return self.models.owns_encoder

    async def encode(self, text: str) -> Any:
        if self.models.own_encoder_error is not None:
            raise self.models.own_encoder_error
        return np.ones(3, dtype=np.float32)

    def classify(self, text: str, embedding: Any) -> Prediction:
        assert embedding.shape == ((3,) if self.owns_encoder else (8,))
        for word, labels in self.models.words.items():
            if word in text:
                shares = (0.95,) if len(labels) == 1 else (0.5, 0.4)
                score = 0.9 if "detail" in text else 1.8  # a detail is not typical of its intent
                return Prediction(labels=labels, probabilities=shares, scope_score=score, in_scope=True)
        return Prediction(labels=("greeting",), probabilities=(0.9,), scope_score=-0.1, in_scope=False)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    fake = FakeModels()
    monkeypatch.setattr(replies, "encoder_service", fake.service)
    monkeypatch.setattr(replies.classifier, "current", fake.current)
    monkeypatch.setattr(replies.catalogue, "entry", fake.entries.get)
    monkeypatch.setattr(replies.serving, "answer_question", fake.answer_question)
    monkeypatch.setattr(replies.shadow, "offer", fake.offer)
    return fake


class Tab:
    """One open tab: a socket of the real ASGI application, without a network between."""

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        from lepton_app.asgi import application

        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
            "client": ["127.0.0.1", 1],
        }
        self._app = ApplicationCommunicator(application, scope)
        self._is_open = False
        self.status = ""

    async def connect(self) -> None:
        await self._app.send_input({"type": "websocket.connect"})
        assert (await self._app.receive_output(timeout=5))["type"] == "websocket.accept"
        self._is_open = True

    async def disconnect(self) -> None:
        """Go away, and wait until the server has noticed."""
        if self._is_open:
            self._is_open = False
            # A wait that ran out of time has cancelled the application; that test has failed already, and a
            # cancellation that got out of a fixture would keep the others from tidying up.
            with contextlib.suppress(asyncio.CancelledError):
                await self._app.send_input({"type": "websocket.disconnect", "code": 1001})
                await self._app.wait(timeout=5)

    async def is_quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        quiet: bool = await self._app.receive_nothing(timeout=seconds)
        return quiet

    async def send(self, frame: dict[str, Any]) -> None:
        await self.send_raw(text=json.dumps(frame))

    async def send_raw(self, *, text: str | None = None, data: bytes | None = None) -> None:
        await self._app.send_input({"type": "websocket.receive", "text": text, "bytes": data})

    async def frame(self) -> dict[str, Any]:
        event = await self._app.receive_output(timeout=5)
        assert event["type"] == "websocket.send", event
        frame: dict[str, Any] = json.loads(event["text"])
        self.status = frame.get("status", self.status)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first frame that is wanted; other frames are dropped."""
        while True:
            frame = await self.frame()
            if wanted(frame):
                return frame

    async def until_status(self, status: str) -> None:
        """Wait for a status; it may have come before or between the messages that were waited for."""
        while self.status != status:
            await self.frame()

    async def message(self, author: str) -> dict[str, Any]:
        """Return the next message of this author."""
        frame = await self.until(lambda frame: frame["type"] == "message" and frame["message"]["author"] == author)
        body: dict[str, Any] = frame["message"]
        return body

    async def error(self) -> str:
        frame = await self.until(lambda frame: frame["type"] == "error")
        assert frame["detail"]
        return str(frame["code"])

    async def close_code(self) -> int:
        while True:
            event = await self._app.receive_output(timeout=5)
            if event["type"] == "websocket.close":
                return int(event["code"])

    async def hello(self, **fields: Any) -> dict[str, Any]:
        await self.send({"type": "hello", "language": "en", **fields})
        welcome = await self.frame()
        assert welcome["type"] == "welcome", welcome
        return welcome

    async def say(self, text: str, client_id: str | None = None) -> str:
        client_id = client_id or str(uuid.uuid4())
        await self.send({"type": "send", "client_id": client_id, "text": text})
        return client_id


OpenTab = Callable[..., Any]


@pytest.fixture
async def open_tab(transactional_db: None, site: Site, clean_redis: Any, static_files: Path) -> AsyncIterator[OpenTab]:
    """Open tabs of the site; every tab is closed at the end."""
    tabs: list[Tab] = []

    async def open_one(*, key: str | None = None, origin: str | None = OWN_ORIGIN) -> Tab:
        headers = [(b"host", b"localhost:8000")]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        tab = Tab(f"/ws/chat/{key or site.public_key}/", headers)
        tabs.append(tab)
        await tab.connect()
        return tab

    yield open_one
    for tab in tabs:
        await tab.disconnect()
    await channel_layers["default"].flush()
