"""Reading the files that measurements are given, and the encoder that they measure with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import CommandError

from lepton_app.lib.encoder_export import ExportError, current_encoder, export_encoder

T = TypeVar("T")


def read_text(path: Path) -> str:
    """Return a file's text in UTF-8, with or without a byte order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}. Give the path of a file.") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CommandError(f"{path} is not UTF-8 (line {line}). Save it as UTF-8.") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file that are not empty, without surrounding white space; at least one."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise CommandError(f"{path} holds no text. Give a file with one text a line.")
    return lines


def read_labelled(path: Path, *, columns: tuple[str, str] = ("text", "category")) -> tuple[list[str], list[str]]:
    """Return the texts and the labels of a CSV with a header; at least one row, every cell filled."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise CommandError(
                f"{path} has no column {' and no column '.join(map(repr, missing))}; its first line is "
                f"{','.join(header)[:80]!r}. Name the columns {','.join(columns)}."
            )
        places = [header.index(name) for name in columns]
        texts, labels = [], []
        for row in reader:
            if not row:
                continue
            cells = [row[place].strip() if place < len(row) else "" for place in places]
            if not all(cells):
                empty = columns[cells.index("")]
                raise CommandError(f"{path}, line {reader.line_num}: {empty!r} is empty. Fill it or drop the line.")
            texts.append(cells[0])
            labels.append(cells[1])
    except csv.Error as error:
        raise CommandError(
            f"{path}, line {reader.line_num}: {error}. Quote cells that hold commas or quotes."
        ) from None
    if not texts:
        raise CommandError(f"{path} has a header and no rows. Give a file with one labelled text a row.")
    return texts, labels


def read_smp2019(path: Path, *, least_rows: int) -> tuple[list[str], list[str]]:
    """Return texts and ``domain.intent`` labels of an SMP 2019 file, for labels of at least ``least_rows`` rows."""
    try:
        data = json.loads(read_text(path))
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}. Give the file train.json of SMP 2019.") from None
    if not isinstance(data, list):
        raise CommandError(f"{path} holds no list. Give the file train.json of SMP 2019, a list of utterances.")
    pairs = []
    for number, row in enumerate(data, 1):
        keys = ("text", "domain", "intent")
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key] for key in keys[:2]):
            raise CommandError(f"{path}, entry {number}: 'text' and 'domain' must be filled strings.")
        pairs.append((row["text"], f"{row['domain']}.{row.get('intent')}"))
    counts: dict[str, int] = {}
    for _, label in pairs:
        counts[label] = counts.get(label, 0) + 1
    kept = [(text, label) for text, label in pairs if counts[label] >= least_rows]
    if len({label for _, label in kept}) < 2:
        raise CommandError(f"{path} has fewer than two pairs of domain and intent with {least_rows} rows or more.")
    return [text for text, _ in kept], [label for _, label in kept]


def encoder_directory(progress: Callable[[str], None]) -> Path:
    """Return the exported encoder that the settings name; export it first when there is none."""
    source = settings.LEPTON_ENCODER or None
    found = current_encoder(settings.ARTIFACTS_DIR, source)
    if found is not None:
        return found
    progress("No exported encoder yet: exporting it (not part of any figure)")
    try:
        return export_encoder(source, settings.ARTIFACTS_DIR, progress=progress)
    except ExportError as error:
        raise CommandError(f"The encoder cannot be exported: {error}") from error


def rounded(figures: dict[str, Any], *, digits: int) -> dict[str, Any]:
    """Return the figures with their floats rounded."""
    return {name: round(value, digits) if isinstance(value, float) else value for name, value in figures.items()}


def spread(texts: Sequence[T], most: int) -> list[T]:
    """Return at most ``most`` of the texts, evenly spread.

    >>> spread("abcdef", 3)
    ['a', 'c', 'e']
    """
    if len(texts) <= most:
        return list(texts)
    return [texts[place * len(texts) // most] for place in range(most)]
