"""What the page of a run shows: how far it is, what it was told, what the gate says, and its report. Reads only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.translation import gettext

from lepton_app.learning import report_page
from lepton_app.learning.admin.training import written
from lepton_app.learning.config import METHODS, configured
from lepton_app.learning.evaluation import CARD_FILE, load_report
from lepton_app.learning.figures import Report
from lepton_app.learning.gate import Check, Judgement
from lepton_app.learning.models import Run
from lepton_app.lib import artifacts, charts

OPEN = (Run.Status.QUEUED, Run.Status.RUNNING)
VERDICT_ICONS = {"pass": "check_circle", "person": "person_alert", "refuse": "block"}
_ADAPTER_CARD = Path("adapter") / CARD_FILE


class Live(TypedDict):
    """What a page is told of a run at work; ``share`` is of 1, None while nobody knows."""

    is_open: bool
    texts: dict[str, str]
    share: float | None
    points: int
    charts: str | None


def live(run: Run, *, points_shown: int | None = None) -> Live:
    """Return how far the run is; its charts as HTML, or None where the page shows so many points already."""
    told = run.progress
    done, total = told.get("done"), told.get("total")
    is_counted = isinstance(done, int) and isinstance(total, int) and total > 0
    texts = {
        "status": str(run.get_status_display()),
        "stage": run.step or _stage_of(run),
        "step": f"{done:,} / {total:,}" if is_counted else "–",
        "epoch": _number(told.get("epoch"), ".1f"),
        "loss": _number(told.get("loss"), ".4f"),
        "learning_rate": _number(told.get("learning_rate"), ".2e"),
        "left": duration(told.get("seconds_left")),
    }
    points = len(run.history)
    return Live(
        is_open=run.status in OPEN,
        texts=texts,
        share=min(1.0, max(0.0, done / total)) if is_counted else None,
        points=points,
        charts=live_charts(run) if points != points_shown else None,
    )


def live_charts(run: Run) -> str:
    """Return the curves so far as HTML; empty until there are two points to join."""
    history = run.history
    if len(history) < 2:
        return ""
    context = {
        "loss": report_page.loss_chart(history),
        "legend": [(charts.swatch(at), one.name) for at, one in enumerate(report_page.loss_series(history))],
        "validation": (
            report_page.validation_chart(history) if any(one["accuracy"] is not None for one in history) else ""
        ),
    }
    return render_to_string("admin/learning/run/charts.html", context)


def duration(seconds: Any) -> str:
    """Return a time in words, a dash where nobody knows it.

    >>> duration(5), duration(200), duration(None)
    ('5 s', '3 min 20 s', '–')
    """
    if not isinstance(seconds, int | float):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return gettext("%(seconds)s s") % {"seconds": rest}
    return gettext("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}


@dataclass(frozen=True)
class OptionShown:
    """An option of a run, and what the method's preset says."""

    name: str
    value: str
    preset: str
    differs: bool


def options_of(run: Run) -> list[OptionShown]:
    """Return what the run was told, what differs from the preset first; nothing for runs before options were kept."""
    if run.method not in METHODS:
        return []
    preset = configured(run.method, {}).model_dump()
    rows = []
    for name, value in run.config.items():
        if name == "method":
            continue
        known = name in preset
        usual = written(preset[name]) if known else ""
        rows.append(OptionShown(name, written(value), usual, not known or preset[name] != value))
    place = {name: at for at, name in enumerate(preset)}  # jsonb keeps no order
    return sorted(rows, key=lambda row: (not row.differs, place.get(row.name, len(place))))


def parameters(metrics: Mapping[str, Any]) -> str:
    """Return how many of the parameters were learnt.

    >>> parameters({"trainable_parameters": 1000, "total_parameters": 22000})
    '1,000 of 22,000 (4.5 %)'
    """
    trainable, total = metrics.get("trainable_parameters"), metrics.get("total_parameters")
    if not isinstance(trainable, int) or not isinstance(total, int) or not total:
        return ""
    return gettext("%(trainable)s of %(total)s (%(share)s)") % {
        "trainable": f"{trainable:,}",
        "total": f"{total:,}",
        "share": report_page.percent(trainable / total),
    }


@dataclass(frozen=True)
class CheckShown:
    """One check of the gate with its figures, each as a name and a value."""

    check: Check
    sentence: str
    icon: str
    verdict: str
    figures: list[tuple[str, str]]


@dataclass(frozen=True)
class GateShown:
    """What the gate says of a run; ``against`` is the run that was at work then, None for a first model."""

    verdict: str
    title: str
    icon: str
    against: int | None
    checks: list[CheckShown]


def gate_of(run: Run) -> GateShown | None:
    """Return what the gate said of the run; None when it has not been asked."""
    if not run.verdict or not run.gate:
        return None
    judgement = Judgement.from_json(run.gate)
    checks = [
        CheckShown(
            check,
            _sentence(check, kept.get("sentence", "")),
            VERDICT_ICONS[check.verdict],
            str(Run.Verdict(check.verdict).label),
            _flat(check.figures),
        )
        for check, kept in zip(judgement.checks, run.gate["checks"], strict=True)
    ]
    return GateShown(
        run.verdict, str(Run.Verdict(run.verdict).label), VERDICT_ICONS[run.verdict], judgement.against, checks
    )


@dataclass(frozen=True)
class ReportFound:
    """The report of a run, or why it cannot be read."""

    report: Report | None
    problem: str = ""


def report_of(run: Run) -> ReportFound:
    """Return the report of a run, verified; without one and without a problem where the run has none."""
    if not run.report_artifact:
        return ReportFound(None)
    try:
        return ReportFound(load_report(settings.ARTIFACTS_DIR / run.report_artifact))
    except artifacts.ArtifactError as error:
        said = gettext("The report cannot be read (%(code)s): %(error)s")
        return ReportFound(None, said % {"code": error.code, "error": error})


def card_of(run: Run) -> Path | None:
    """Return the file of the run's model card, or None where there is none."""
    for name, file in ((run.report_artifact, Path(CARD_FILE)), (run.encoder_artifact, _ADAPTER_CARD)):
        path = settings.ARTIFACTS_DIR / name / file
        if name and path.is_file():
            return Path(path)
    return None


def _sentence(check: Check, kept: str) -> str:
    """Return what the check found; as it was kept, where its figures are those of an earlier version."""
    try:
        return check.sentence
    except (KeyError, TypeError, ValueError):
        return kept


def _stage_of(run: Run) -> str:
    if run.status == Run.Status.QUEUED:
        return gettext("Waits for a worker")
    return gettext("Begins") if run.status == Run.Status.RUNNING else "–"


def _number(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) and math.isfinite(value) else "–"


def _flat(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _figure(value)) for name, value in figures.items()]


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "; ".join(map(_figure, value)) or "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_figure(one)}" for name, one in value.items())
    return "–" if value is None else str(value)
