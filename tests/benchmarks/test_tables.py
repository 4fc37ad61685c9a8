"""``bench tables``: which cells it measures, what it keeps, and the table that it writes."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from lepton_app.benchmarks import intents, sentiment, tables, training_speed


def silent(line: str) -> None:
    assert line


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let each measurement note its options and answer at once; those with seed 9 fail."""
    seen: list[dict[str, Any]] = []

    def answer(options: dict[str, Any], progress: object) -> dict[str, Any]:
        seen.append(options)
        if options.get("seed") == 9:
            raise CommandError("no such file")
        if options.get("known_share"):
            return {"open_set_accuracy": 0.86, "open_set_spread": 0.012}
        return {
            "accuracy": 0.94 + 0.001 * options.get("seed", 0),
            "int8_accuracy": 0.93,
            "fp32_accuracy": 0.932,
            "ratio": 9,
        }

    for module in (intents, sentiment, training_speed):
        monkeypatch.setattr(module, "run", answer)
    return seen


def options(folder: Path, *arguments: str) -> dict[str, Any]:
    parser = ArgumentParser()
    tables.add_arguments(parser)
    return vars(parser.parse_args(["--data", str(folder), "--out", str(folder / "models.md"), *arguments]))


def test_every_row_gives_arguments_that_its_measurement_takes(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    figures = tables.run(options(tmp_path, "--seeds", "0"), silent)
    of_every_method = (len(tables.ROWS) - 1) * len(tables.TABLE_METHODS)
    assert figures == {
        "cells": f"{of_every_method + 2} of {of_every_method + 2}",
        "measured": of_every_method + 2,
        "failed": [],
    }
    assert len(asked) == of_every_method + 2
    assert {one["method"] for one in asked} == set(tables.TABLE_METHODS)
    assert asked[0]["train"] == tmp_path / "banking77" / "train.csv"
    assert {one["known_share"] for one in asked if "known_share" in one} == {None, 0.25, 0.5, 0.75}


def test_what_is_measured_is_kept_and_not_measured_again(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    tables.run(options(tmp_path, "--rows", "full", "--methods", "head", "--seeds", "0", "1"), silent)
    assert [one["seed"] for one in asked] == [0, 1]
    tables.run(options(tmp_path, "--rows", "full", "open25", "--methods", "head", "--seeds", "0", "1", "2"), silent)
    assert [one["seed"] for one in asked] == [0, 1, 2, 0]
    text = (tmp_path / "models.md").read_text()
    assert "| BANKING77, accuracy | ≥ .942 | .9410 ± .0008 (3) |" in text
    assert "| BANKING77, int8 accuracy less fp32 accuracy | ≥ −.003 | −.0020 ± .0000 (3) |" in text
    assert "| BANKING77, 0.25 of the labels known, open-set accuracy | ≥ .86 | .8600 ± .0120 |" in text
    assert "| BANKING77, macro-F1 |  | – |" in text


def test_a_cell_whose_options_have_changed_is_measured_again(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    wanted = options(tmp_path, "--rows", "shot5", "--methods", "lora", "--seeds", "0")
    tables.run(wanted, silent)
    kept = json.loads((tmp_path / "models.json").read_text())
    kept["shot5/lora/0"]["options"] = "those of before"
    (tmp_path / "models.json").write_text(json.dumps(kept))
    tables.run(wanted, silent)
    assert len(asked) == 2


@pytest.mark.usefixtures("asked")
def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    figures = tables.run(options(tmp_path, "--rows", "shot5", "--methods", "head", "--seeds", "9", "1"), silent)
    assert (figures["failed"], figures["measured"]) == (["shot5/head/9"], 1)
    assert "shot5/head/9" not in json.loads((tmp_path / "models.json").read_text())


@pytest.mark.usefixtures("asked")
def test_the_table_stands_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    page.write_text("# Models\n\n<!-- table -->\nold\n<!-- /table -->\n\nMore.\n", encoding="utf-8")
    tables.run(options(tmp_path, "--rows", "shot5", "--methods", "head", "--seeds", "0"), silent)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Models\n\n<!-- table -->\n| measure | reach | head |\n")
    assert text.endswith("|\n<!-- /table -->\n\nMore.\n")
    assert "old" not in text
    page.write_text("# Models\n", encoding="utf-8")
    with pytest.raises(CommandError, match="no lines <!-- table -->"):
        tables.run(options(tmp_path, "--rows", "shot5", "--methods", "head", "--seeds", "0"), silent)
    assert page.read_text(encoding="utf-8") == "# Models\n"


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is no folder"):
        tables.run(options(tmp_path) | {"data": tmp_path / "gone"}, silent)
    (tmp_path / "models.json").write_text("{")
    with pytest.raises(CommandError, match=r"models\.json holds no cells"):
        tables.run(options(tmp_path), silent)
