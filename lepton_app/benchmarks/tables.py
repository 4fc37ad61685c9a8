"""All methods on all rows of the quality table, as one Markdown table with the spread over seeds.

--data names the folder that the data sets lie in, as banking77/, smp2019/ and sentfin/. The table is written to --out,
between the lines <!-- table --> and <!-- /table --> where the file has them. Each finished cell, which is one method on
one row with one seed, is kept in a JSON file beside --out as soon as it is measured. So the command can be stopped and
started again, and run in pieces with --rows, --methods and --seeds; a cell whose method has got other options since is
measured again. A cell that fails is told, left empty, and tried again the next time.

  full     BANKING77, all training texts, with questions of other domains to be refused
  shot10   BANKING77 with 10 texts a label, likewise shot5 with 5
  smp2019  SMP 2019 in Chinese, five folds
  open25   BANKING77 with a quarter of the labels known, 10 draws, likewise open50 and open75
  sentfin  SEntFiN, each entity of a headline, a tenth of the titles held out
  speed    training speed against transformers' Trainer (lora and full alone)

  cells     cells of the table that are filled, and of how many
  measured  cells that this call measured
  failed    cells that this call could not measure
"""

from __future__ import annotations

import importlib
import json
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError

from lepton_app.learning.config import METHODS, configured

Progress = Callable[[str], None]
TABLE_METHODS = tuple(method for method in METHODS if method != "pretrain")
BEGIN, END = "<!-- table -->", "<!-- /table -->"
# The folds or draws within one run say how far figures spread; more seeds repeat them at a high price.
ONE_SEED = frozenset({"smp2019", "open25", "open50", "open75", "speed"})


@dataclass(frozen=True)
class Measure:
    """One line of the table: the figures that it reads, how it is called, and what is to be reached.

    Of two ``keys`` the second is taken from the first. ``spread`` is a figure that says how far the first one spreads
    within one run. ``digits`` are those after the point.
    """

    title: str
    keys: tuple[str, ...]
    reach: str = ""
    digits: int = 4
    spread: str = ""


@dataclass(frozen=True)
class Row:
    """One measurement with its arguments, where ``{data}`` is the folder of the data sets, and its lines."""

    bench: str
    arguments: tuple[str, ...]
    measures: tuple[Measure, ...]
    methods: tuple[str, ...] = TABLE_METHODS


def _banking(title: str, train: str, reach: str, *extra: Measure) -> Row:
    files = ("--train", "{data}/banking77/" + train, "--test", "{data}/banking77/test.csv")
    oos = ("--oos", "{data}/banking77/oos_other_domains_test.txt")
    return Row("intents", (*files, *oos, "--fp32"), (Measure(f"{title}, accuracy", ("accuracy",), reach), *extra))


def _open(share: str, reach: str) -> Row:
    files = ("--train", "{data}/banking77/train.csv", "--test", "{data}/banking77/test.csv")
    title = f"BANKING77, {share} of the labels known, open-set accuracy"
    measure = Measure(title, ("open_set_accuracy",), reach, spread="open_set_spread")
    return Row("intents", (*files, "--known-share", share), (measure,))


ROWS: Mapping[str, Row] = {
    "full": _banking(
        "BANKING77",
        "train.csv",
        "≥ .942",
        Measure("BANKING77, macro-F1", ("macro_f1",)),
        Measure("BANKING77, expected calibration error", ("ece",), "≤ .015"),
        Measure("BANKING77, other domains, AUROC", ("oos_auroc",), "≥ .998"),
        Measure("BANKING77, other domains refused", ("oos_recall",)),
        Measure("BANKING77, own texts refused", ("in_scope_refused",)),
        Measure("BANKING77, int8 accuracy less fp32 accuracy", ("int8_accuracy", "fp32_accuracy"), "≥ −.003"),
        Measure("BANKING77, whole fit, seconds", ("fit_seconds",), "≤ 720", digits=0),
        Measure("BANKING77, texts learnt a second", ("samples_per_second",), digits=0),
        Measure("BANKING77, one text in int8, ms", ("int8_p50_ms",), digits=1),
        Measure("BANKING77, trained parameters", ("trainable_parameters",), digits=0),
        Measure("BANKING77, total parameters", ("total_parameters",), digits=0),
    ),
    "shot10": _banking("BANKING77, 10 texts a label", "train_10.csv", "≥ .881"),
    "shot5": _banking("BANKING77, 5 texts a label", "train_5.csv", "≥ .835"),
    "smp2019": Row(
        "intents",
        ("--smp2019", "{data}/smp2019/train.json"),
        (Measure("SMP 2019 (Chinese), accuracy", ("accuracy",), "≥ .92"),),
    ),
    "open25": _open("0.25", "≥ .86"),
    "open50": _open("0.5", "≥ .85"),
    "open75": _open("0.75", "≥ .86"),
    "sentfin": Row(
        "sentiment",
        ("--sentfin", "{data}/sentfin/SEntFiN.csv"),
        (
            Measure("SEntFiN, accuracy", ("accuracy",), "≥ .86"),
            Measure("SEntFiN, macro-F1", ("macro_f1",)),
        ),
    ),
    "speed": Row(
        "training_speed",
        ("--train", "{data}/banking77/train.csv"),
        (Measure("Training speed, times transformers' Trainer", ("ratio",), "≥ 8", digits=1),),
        methods=("lora", "full"),
    ),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the folders and what is to be measured."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, metavar="MD", help="Markdown file that holds the table")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="rows (default all)")
    parser.add_argument(
        "--methods", nargs="+", choices=TABLE_METHODS, default=list(TABLE_METHODS), help="methods (default all)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="seeds (default 0 1 2)")


def run(options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Measure the cells that are missing, write the table after each, and return how many there are."""
    if not options["data"].is_dir():
        raise CommandError(f"{options['data']} is no folder. Give the one that holds banking77, smp2019 and sentfin.")
    kept = options["out"].with_suffix(".json")
    cells = _read_cells(kept)
    wanted = list(_cells(options["rows"], options["methods"], options["seeds"]))
    missing = [cell for cell in wanted if cells.get(_key(*cell), {}).get("options") != _options_of(cell[1], cell[2])]
    failed = []
    for number, (row, method, seed) in enumerate(missing, 1):
        progress(f"cell {number} of {len(missing)}: {row}, {method}, seed {seed}")
        start = time.perf_counter()
        try:
            figures = _measure(ROWS[row], method, seed, options["data"], progress)
        except CommandError as error:
            progress(f"{row}, {method}, seed {seed} failed: {error}")
            failed.append(_key(row, method, seed))
            continue
        cells[_key(row, method, seed)] = {
            "options": _options_of(method, seed),
            "seconds": round(time.perf_counter() - start, 1),
            "figures": figures,
        }
        _write(kept, json.dumps(cells, indent=1, sort_keys=True) + "\n")
        _write(options["out"], _placed(options["out"], table(cells)))
    _write(options["out"], _placed(options["out"], table(cells)))
    every = [_key(*cell) for cell in _cells(list(ROWS), TABLE_METHODS, options["seeds"])]
    return {
        "cells": f"{sum(key in cells for key in every)} of {len(every)}",
        "measured": len(missing) - len(failed),
        "failed": failed,
    }


def table(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the Markdown table of finished cells: a line for each measure, a column for each method that has any.

    >>> print(table({"speed/lora/0": {"figures": {"ratio": 9.04}}}))
    | measure | reach | lora |
    | --- | --- | --- |
    | Training speed, times transformers' Trainer | ≥ 8 | 9.0 |
    """
    methods = [name for name in TABLE_METHODS if any(key.split("/")[1] == name for key in cells)]
    lines = [f"| {' | '.join(['measure', 'reach', *methods])} |", "| --- " * (len(methods) + 2) + "|"]
    for name, row in ROWS.items():
        found = {
            method: [cell["figures"] for key, cell in sorted(cells.items()) if key.startswith(f"{name}/{method}/")]
            for method in methods
        }
        if any(found.values()):
            lines += [
                f"| {' | '.join([measure.title, measure.reach, *(_told(measure, found[one]) for one in methods)])} |"
                for measure in row.measures
            ]
    return "\n".join(lines)


def _told(measure: Measure, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean over the runs that have the figure, with its spread where there are several."""
    whole = [figures for figures in runs if all(figures.get(key) is not None for key in measure.keys)]
    values = [figures[measure.keys[0]] - sum(figures[key] for key in measure.keys[1:]) for figures in whole]
    if not values:
        return "–"
    mean = _number(float(np.mean(values)), measure.digits)
    within = [figures[measure.spread] for figures in runs if figures.get(measure.spread) is not None]
    if len(values) > 1:
        return f"{mean} ± {_number(float(np.std(values)), measure.digits)} ({len(values)})"
    return f"{mean} ± {_number(float(within[0]), measure.digits)}" if within else mean


def _number(value: float, digits: int) -> str:
    """Return a number as the table writes it: shares without their 0, large numbers in groups.

    >>> _number(0.9421, 4), _number(-0.0012, 4), _number(1234567.0, 0), _number(9.04, 1)
    ('.9421', '−.0012', '1,234,567', '9.0')
    """
    said = f"{abs(value):,.{digits}f}"
    if digits > 2:
        said = said.removeprefix("0")
    return ("−" if value < 0 and said.strip("0.") else "") + said


def _cells(rows: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    for row in rows:
        for method in methods:
            if method in ROWS[row].methods:
                for seed in seeds[:1] if row in ONE_SEED else seeds:
                    yield row, method, seed


def _key(row: str, method: str, seed: int) -> str:
    return f"{row}/{method}/{seed}"


def _options_of(method: str, seed: int) -> str:
    return configured(method, {"seed": seed}).sha256


def _measure(row: Row, method: str, seed: int, data: Path, progress: Progress) -> dict[str, Any]:
    module = importlib.import_module(f"lepton_app.benchmarks.{row.bench}")
    parser = ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    arguments = [argument.format(data=data) for argument in row.arguments]
    chosen = ["--set", f"seed={seed}"] if row.bench == "training_speed" else ["--seed", str(seed)]
    figures: dict[str, Any] = module.run(vars(parser.parse_args([*arguments, "--method", method, *chosen])), progress)
    return figures


def _read_cells(path: Path) -> dict[str, dict[str, Any]]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} holds no cells that can be read: {error}. Mend or delete it.") from error
    if not isinstance(cells, dict):
        raise CommandError(f"{path} holds no cells. Mend or delete it.")
    return cells


def _placed(path: Path, made: str) -> str:
    """Return the file's text with the table between its marks, or the table with its marks alone."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise CommandError(f"{path} has no lines {BEGIN} and {END} that the table could stand between. Add them.")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def _write(path: Path, text: str) -> None:
    """Write a file so that it is always whole."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
