"""A run's metrics as tables that people can read: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_ROWS = 500


@dataclass(frozen=True)
class Table:
    """One table: a title ("" for the first), the names of its columns (none for two plain columns), and its rows."""

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = field(default=())


def tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return what stands in ``metrics``: single values in one table, each group of values in one of its own.

    >>> per_label = {"fees": {"f1": 1.0}, "pin": {"f1": 0.5}}
    >>> for table in tables({"accuracy": 0.93125, "rows": 10003, "per_label": per_label}):
    ...     print(table)
    Table(title='', columns=(), rows=(('accuracy', '0.9313'), ('rows', '10,003')))
    Table(title='per label', columns=('', 'f1'), rows=(('fees', '1.0000'), ('pin', '0.5000')))
    """
    single = [(_name(name), _value(value)) for name, value in metrics.items() if not isinstance(value, Mapping)]
    found = [Table("", rows=tuple(single))] if single else []
    for name, group in metrics.items():
        if not isinstance(group, Mapping) or not group:
            continue
        if all(isinstance(row, Mapping) for row in group.values()):
            columns = list(dict.fromkeys(column for row in group.values() for column in row))
            rows = [(str(label), *(_value(row.get(column)) for column in columns)) for label, row in group.items()]
            found.append(Table(_name(name), ("", *map(_name, columns)), tuple(rows[:MAX_ROWS])))
        else:
            rows = [(_name(label), _value(value)) for label, value in group.items()]
            found.append(Table(_name(name), rows=tuple(rows[:MAX_ROWS])))
    return found


def summary(metrics: Mapping[str, Any]) -> str:
    """Return the one figure that stands for the run in a list, or the empty string.

    >>> summary({"accuracy": 0.93125, "macro_f1": 0.9})
    '93.1 %'
    >>> summary({})
    ''
    """
    accuracy = metrics.get("accuracy")
    return f"{accuracy:.1%}".replace("%", " %") if isinstance(accuracy, int | float) else ""


def _name(name: object) -> str:
    return str(name).replace("_", " ")


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_name(key)}: {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(inner) for inner in value[:20]) + (" …" if len(value) > 20 else "")
    return str(value)
