"""Both trainings of the comparison run, on a tiny encoder, and bad input is refused."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.learning.tuning.conftest import part_of
from tests.learning.tuning.conftest import tiny_encoder as tiny_encoder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    part = part_of("card", "money", number=24)
    rows = "\n".join(f"{text},{label}" for text, label in zip(part.texts, part.labels, strict=True))
    (tmp_path / "train.csv").write_text(f"text,category\n{rows}\n")
    return tmp_path / "train.csv"


def test_both_are_measured(tiny_encoder: Path, texts: Path, settings: Any) -> None:
    settings.LEPTON_ENCODER, settings.LEPTON_MODEL_THREADS = str(tiny_encoder), 1
    out = StringIO()
    call_command(
        "bench", "training-speed", "--train", str(texts), "--steps", "4", "--trainer-steps", "2",
        "--set", "batch_size=8", stdout=out, stderr=StringIO(),
    )  # fmt: skip
    figures = json.loads(out.getvalue().splitlines()[-1])
    assert figures["samples_per_second"] > 0
    assert figures["trainer_samples_per_second"] > 0
    assert figures["ratio"] == pytest.approx(
        figures["samples_per_second"] / figures["trainer_samples_per_second"], rel=0.05
    )
    assert 3 <= figures["mean_tokens"] <= 48


@pytest.mark.parametrize(
    ("extra", "said"),
    [(["--set", "epoch=2"], "There is no option 'epoch'"), (["--steps", "0"], "start at 1"), ([], "give at least 96")],
)
def test_bad_input_is_refused(texts: Path, extra: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("bench", "training-speed", "--train", str(texts), *extra, stdout=StringIO(), stderr=StringIO())
