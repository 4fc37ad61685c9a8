"""A run's figures and what the gate said of it, as tables and lines that people can read: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from lepton_app.learning.gate_values import Judgement
from lepton_app.learning.models import Run

MAX_ROWS = 500
# The names that trainings and evaluations give their figures; any other is shown as it is.
_NAMES = {
    "accuracy": _("accuracy"),
    "accuracy_low": _("accuracy at least, 95 %"),
    "accuracy_high": _("accuracy at most, 95 %"),
    "macro_f1": _("macro f1"),
    "weighted_f1": _("weighted f1"),
    "ece": _("ece"),
    "ece_unscaled": _("ece before temperature scaling"),
    "log_loss": _("negative log-likelihood"),
    "in_scope_refused": _("in scope refused"),
    "holdout_rows": _("holdout rows"),
    "rows": _("rows"),
    "labels": _("labels"),
    "disputed_rows": _("disputed texts left out"),
    "oos_auroc": _("AUROC"),
    "oos_recall": _("refused rightly"),
    "oos_rows": _("out-of-scope texts"),
    "p50_ms": _("one text, median, ms"),
    "p99_ms": _("one text, 99 of 100, ms"),
    "texts_per_second": _("texts a second"),
    "bytes": _("size"),
    "trainable_parameters": _("trainable parameters"),
    "total_parameters": _("parameters in all"),
    "fit_seconds": _("training time, seconds"),
    "samples_per_second": _("texts a second while tuning"),
    "temperature": _("temperature"),
    "served_precision": _("served in"),
    "fp32_accuracy": _("fp32 accuracy, validation"),
    "int8_accuracy": _("int8 accuracy, validation"),
    "probability_shift": _("mean shift of probabilities by int8"),
    "ranks": _("rank that each matrix kept"),
}
# jsonb keeps no order: what people look at first stands first, the rest by name.
_FIRST = (
    *("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "weighted_f1", "ece", "ece_unscaled", "log_loss"),
    *("in_scope_refused", "precision", "recall", "f1", "support", "oos_auroc", "oos_recall", "oos_rows"),
    *("p50_ms", "p99_ms", "texts_per_second", "bytes", "trainable_parameters", "total_parameters", "fit_seconds"),
)
# Single figures that have a table of their own, by its title.
_GROUPS = (
    (_("Out of scope"), frozenset({"oos_auroc", "oos_recall", "oos_rows"})),
    (_("Speed and size"), frozenset({"p50_ms", "p99_ms", "texts_per_second", "bytes", "served_precision"})),
    (
        _("Training"),
        frozenset(
            {"trainable_parameters", "total_parameters", "fit_seconds", "samples_per_second", "temperature"}
            | {"fp32_accuracy", "int8_accuracy", "probability_shift"}
        ),
    ),
)


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
    single = [(name, value) for name, value in _sorted(metrics) if not isinstance(value, Mapping)]
    apart = frozenset(name for _title, names in _GROUPS for name in names)
    groups = [("", [name for name, _one in single if name not in apart])]
    groups += [(str(title), [name for name, _one in single if name in names]) for title, names in _GROUPS]
    values = dict(single)
    found = [
        Table(title, rows=tuple((_name(name), _figure(name, values[name])) for name in names))
        for title, names in groups
        if names
    ]
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


def lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a terminal shows of a run's figures: a line for quality, one each for scope, cost and training.

    >>> for line in lines({"accuracy": 0.93, "ece": 0.012, "p50_ms": 1.52, "bytes": 34_000_000, "fit_seconds": 12.3}):
    ...     print(line)
    accuracy 0.9300, ece 0.0120
    one text, median, ms 1.5, size 34.0 MB
    training time, seconds 12.3
    """
    said = []
    for names in (
        (
            "accuracy",
            "accuracy_low",
            "accuracy_high",
            "macro_f1",
            "weighted_f1",
            "ece",
            "in_scope_refused",
            "holdout_rows",
        ),
        ("oos_auroc", "oos_recall", "oos_rows"),
        ("p50_ms", "p99_ms", "texts_per_second", "bytes", "served_precision"),
        ("trainable_parameters", "total_parameters", "fit_seconds", "samples_per_second"),
    ):
        there = [f"{_name(name)} {_figure(name, metrics[name])}" for name in names if metrics.get(name) is not None]
        if there:
            said.append(", ".join(there))
    return said


@dataclass(frozen=True)
class Checked:
    """A check of the gate as people read it: ``verdict`` is the stored word, ``said`` its name."""

    verdict: str
    said: str
    title: str
    sentence: str


def checks(kept: Mapping[str, Any]) -> list[Checked]:
    """Return the checks of a run's ``gate`` in the active language, those first that stand in the way.

    >>> kept = {"checks": [{"name": "size", "verdict": "pass", "figures": {"candidate": 2e6, "deployed": 1e6}}]}
    >>> checks(kept)[0].sentence
    '2.0 MB with the encoder, the model at work 1.0 MB.'
    """
    found = [
        Checked(one.verdict, str(Run.Verdict(one.verdict).label), one.title, one.sentence)
        for one in Judgement.from_json(kept).checks
    ]
    gravity = {"refuse": 0, "person": 1}
    return sorted(found, key=lambda one: gravity.get(one.verdict, 2))


def _sorted(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    places = {name: place for place, name in enumerate(_FIRST)}
    return sorted(values.items(), key=lambda item: (places.get(item[0], len(places)), item[0]))


def _name(name: object) -> str:
    return str(_NAMES.get(str(name), str(name).replace("_", " ")))


def _figure(name: str, value: object) -> str:
    """Write a single figure: sizes in MB, milliseconds and rates with one decimal."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name == "bytes":
            return f"{value / 1e6:,.1f} MB"
        if name.endswith(("_ms", "_seconds", "_per_second")):
            return f"{value:,.1f}"
    return _value(value)


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
