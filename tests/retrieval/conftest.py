"""A fake encoder that separates texts by their words, and articles to ask about."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval import calibration, indexing, serving
from retrieval.lexical import tokenise
from retrieval.models import Article

Rows = NDArray[np.float32]
DIMENSION = 64


@cache
def direction(token: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(token.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIMENSION)


def word_row(text: str) -> Rows:
    """A unit row: the sum of one fixed random direction for each word; different words, different directions."""
    total = np.sum([direction(token) for token in tokenise(text) or [text]], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


@dataclass
class FakeService:
    """Stands where `EncoderService` stands; counts what it encodes, and can be told to break."""

    version: str = "words-1"
    encoded: list[str] = field(default_factory=list)
    error: Exception | None = None

    @property
    def encoder(self) -> SimpleNamespace:
        return SimpleNamespace(version=self.version, dimension=DIMENSION)

    def encode_sync(self, texts: Sequence[str]) -> Rows:
        if self.error is not None:
            raise self.error
        self.encoded.extend(texts)
        return np.stack([word_row(text) for text in texts]) if texts else np.zeros((0, DIMENSION), np.float32)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    service = FakeService()
    monkeypatch.setattr(indexing, "encoder_service", lambda: service)
    monkeypatch.setattr(serving, "encoder_service", lambda: service)
    # A build asks all of them; a few are enough where builds are not what is tested.
    few = {language: questions[::8] for language, questions in calibration.QUESTIONS.items()}
    monkeypatch.setattr(calibration, "QUESTIONS", few)
    return service


@pytest.fixture
def artifacts_folder(tmp_path: Path, settings: Any) -> Iterator[Path]:
    settings.ARTIFACTS_DIR = tmp_path
    serving.forget_index()
    yield tmp_path
    serving.forget_index()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every question ask which index is live, without the pause of a second."""
    monkeypatch.setattr(serving._index, "_poll_seconds", 0.0)


CARDS = """\
Everything about cards.

## Fees

A replacement card costs $8. Express delivery costs **$18** in addition.

| Card | Yearly fee |
|---|---|
| Birch Credit | $48 |
| Debit card | $0 |

## Freezing

You can freeze a card at once. Do it like this:

1. Open the app.
2. Tap Cards.
3. Tap Freeze.

A frozen card declines every payment.
"""
LOANS = """\
A personal loan runs for 12 to 72 months.

## Early repayment

Repaying a personal loan early is free of charge. The remaining interest is dropped.
"""
CARDS_ZH = """\
本文介绍银行卡。

## 费用

补办银行卡收取 8 美元。加急寄送另收 18 美元。

## 冻结

您可以随时在 App 里冻结银行卡。冻结后的银行卡会拒绝所有付款。
"""


@pytest.fixture
def make_article(db: None) -> Callable[..., Article]:
    def make(slug: str, body: str, *, title: str = "", language: str = "en", published: bool = True) -> Article:
        return Article.objects.create(
            slug=slug, language=language, title=title or slug.capitalize(), body=body, published=published
        )

    return make


@pytest.fixture
def articles(make_article: Callable[..., Article]) -> dict[str, Article]:
    return {
        "cards": make_article("cards", CARDS),
        "loans": make_article("loans", LOANS),
        "cards-zh": make_article("cards", CARDS_ZH, title="银行卡", language="zh"),
    }
