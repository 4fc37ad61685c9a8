"""A tiny encoder in the format of sentence-transformers, made here: two layers of random weights, a few dozen words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lepton_app.learning.datasets import Dataset, Part, Point

WORDS = {
    "card": ["my", "card", "was", "lost", "stolen", "swallowed", "broken", "blocked", "plastic", "chip"],
    "money": ["send", "money", "transfer", "pay", "amount", "balance", "account", "savings", "cash"],
    "login": ["password", "login", "secret", "code", "sign", "forgot", "reset", "access", "app"],
}


def texts_of(label: str, number: int, *, start: int = 0) -> list[str]:
    """Return different texts of a label, made of its words."""
    words = WORDS[label]
    return [
        " ".join(words[(start + place * step + shift) % len(words)] for shift in range(3 + place % 4))
        for place, step in zip(range(number), [1, 2, 3, 4, 5, 7] * number, strict=False)
    ]


def part_of(*labels: str, number: int, start: int = 0) -> Part:
    """Return so many texts of each label."""
    texts = [(text, label) for label in labels for text in texts_of(label, number, start=start)]
    return Part(tuple(text for text, _ in texts), tuple(label for _, label in texts))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder that can be tuned in a second."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    from lepton_app.learning.tuning.encoders import TorchEncoder
    from lepton_app.learning.tuning.exporting import write_merged

    folder = tmp_path_factory.mktemp("tiny-encoder")
    letters = [f"{sign}{letter}" for sign in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz0123456789?.,'[]"]
    words = sorted({word for known in WORDS.values() for word in known})
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *words]))
    tokeniser = BertTokenizer(vocab=str(vocabulary), model_max_length=64)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokeniser),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    encoder = TorchEncoder(folder, tokeniser, BertModel(config), "mean", 48)
    write_merged(encoder, folder)
    return folder


@dataclass
class Listener:
    """A reporter that keeps what it hears, and ends the work at a step where asked to."""

    stop_at: int = 0
    stages: list[str] = field(default_factory=list)
    heard: list[tuple[int, int]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def steps(self, done: int, total: int, point: Point | None = None) -> None:
        self.heard.append((done, total))
        if point is not None:
            self.points.append(point)
        if self.stop_at and done >= self.stop_at:
            raise InterruptedError(f"stopped at step {done}")


@pytest.fixture
def dataset() -> Dataset:
    """Three labels whose texts share no word: whoever learns anything tells them apart."""
    return Dataset(
        train=part_of("card", "money", "login", number=24),
        validation=part_of("card", "money", "login", number=15, start=1),
    )


@pytest.fixture(autouse=True)
def _one_thread(settings: Any) -> None:
    """Use one thread: several that wait for each other are slow where other tests keep the cores busy."""
    settings.LEPTON_MODEL_THREADS = 1
