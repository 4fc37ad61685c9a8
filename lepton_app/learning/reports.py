"""A run's metrics as tables that people can read: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

MAX_ROWS = 500
# The names that trainings give their figures; any other is shown as it is.
_NAMES = {
    "accuracy": _("accuracy"),
    "macro_f1": _("macro f1"),
    "ece": _("ece"),
    "in_scope_refused": _("in scope refused"),
    "holdout_rows": _("holdout rows"),
    "rows": _("rows"),
    "labels": _("labels"),
}
# jsonb keeps no order: what people look at first stands first, the rest by name.
_FIRST = ("accuracy", "macro_f1", "weighted_f1", "ece", "precision", "recall", "f1", "support")


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
    single = [(_name(name), _value(value)) for name, value in _sorted(metrics) if not isinstance(value, Mapping)]
    found = [Table("", rows=tuple(single))] if single else []
    for name, group in _sorted(metrics):
        if not isinstance(group, Mapping) or not group:
            continue
        if all(isinstance(row, Mapping) for row in group.values()):
            columns = [column for column, _ in _sorted({column: 0 for row in group.values() for column in row})]
            rows = [(str(label), *(_value(row.get(column)) for column in columns)) for label, row in _sorted(group)]
            found.append(Table(_name(name), ("", *map(_name, columns)), tuple(rows[:MAX_ROWS])))
        else:
            rows = [(_name(label), _value(value)) for label, value in _sorted(group)]
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


def _sorted(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    places = {name: place for place, name in enumerate(_FIRST)}
    return sorted(values.items(), key=lambda item: (places.get(item[0], len(places)), item[0]))


def _name(name: object) -> str:
    return str(_NAMES.get(str(name), str(name).replace("_", " ")))


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_name(key)}: {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(inner) for inner in value[:20]) + (" …" if len(value) > 20 else "")
    return str(value)
