"""A report as one page that needs nothing else: no script, no font, no address outside of it.

``render`` makes the page in the active language. Its charts are functions of their own, for other pages to embed:
each takes the report, or a part of it, and returns one ``<svg>``. What a chart shows stands in a table beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext, ngettext, pgettext

from lepton_app.learning.figures import Bin, Cell, ClassFigures, CurvePoint, HistoryPoint, Mistake, Report
from lepton_app.learning.gate_words import percent
from lepton_app.lib import charts

TOKENS_FILE = "lepton_app/static/lepton/tokens.css"
# A matrix of more labels than this is shown as a map, and in detail where labels are taken for each other.
MOST_LABELS_IN_DETAIL = 12
MOST_SUREST = 50
_JOINTS = re.compile(r"([_.\-/]+)(?=\w|&)")


def render(report: Report) -> str:
    """Return the report as one HTML page in the active language; every text in it is escaped."""
    tokens = (settings.BASE_DIR / TOKENS_FILE).read_text(encoding="utf-8")
    context = {
        "language": "zh-Hans" if (get_language() or "").startswith("zh") else get_language() or "en",
        "tokens": mark_safe(tokens),  # noqa: S308 - our own style sheet
        "heading": heading(report),
        **context_of(report),
    }
    return render_to_string("learning/report.html", context)


def context_of(report: Report) -> dict[str, Any]:
    """Return what ``learning/report_body.html`` shows, for pages that embed a report."""
    groups = mistakes_by_cell(report)
    linked = {(group.truth, group.said): group.anchor for group in groups}
    return {
        "report": report,
        "about": about_rows(report),
        "options": [(str(name), _plain(value)) for name, value in report["about"].get("config", {}).items()],
        "tiles": tiles(report),
        "map": confusion_map(report, linked) if len(report["labels"]) > MOST_LABELS_IN_DETAIL else "",
        "detail": confusion_detail(report, linked),
        "reliability": reliability_chart(report["reliability"]) if report["quality"]["rows"] else "",
        "histogram": histogram_chart(report["histogram"]) if report["quality"]["rows"] else "",
        "bins": [_bin_row(one) for one in report["reliability"] if one["rows"]],
        "curve": curve_chart(report["curve"]) if report["curve"] else "",
        "curve_rows": [
            (percent(one["share"]), f"{one['rows']:,}", percent(one["mean"]), percent(one["low"]), percent(one["high"]))
            for one in report["curve"]
        ],
        "loss": loss_chart(report["history"]) if len(report["history"]) > 1 else "",
        "loss_legend": [(charts.swatch(at), one.name) for at, one in enumerate(loss_series(report["history"]))],
        "validation": validation_chart(report["history"]) if _validated(report["history"]) else "",
        "history_rows": [_history_row(one) for one in _validated(report["history"])],
        "class_rows": [_class_row(one) for one in sorted(report["classes"], key=lambda one: (one["f1"], one["label"]))],
        "pair_rows": [
            (pair["first"], pair["second"], str(pair["there"]), str(pair["back"])) for pair in report["pairs"]
        ],
        "surest": [_quoted(mistake) for mistake in report["mistakes"][:MOST_SUREST]],
        "accepted": [
            (found["text"], breakable(found["said"]), percent(found["confidence"]))
            for found in (report["scope"]["accepted"] if report["scope"] is not None else ())
        ],
        "groups": groups,
        "mistakes_left_out": report["mistakes_in_all"] - len(report["mistakes"]),
        "cost_rows": cost_rows(report),
    }


def heading(report: Report) -> str:
    """Return what the page is about: the run, as far as the report says."""
    about = report["about"]
    if about.get("run"):
        return gettext("Run #%(run)s") % {"run": about["run"]}
    return gettext("Evaluation")


@dataclass(frozen=True)
class Tile:
    """One figure that stands for the report, with what it is and what else belongs to it."""

    name: str
    value: str
    more: str = ""


def tiles(report: Report) -> list[Tile]:
    """Return the figures that people look at first."""
    quality, scope, latency = report["quality"], report["scope"], report["latency"]
    if quality["rows"]:
        found = [
            Tile(
                gettext("Accuracy"),
                percent(quality["accuracy"]),
                gettext("%(low)s to %(high)s with 95 %% confidence")
                % {"low": percent(quality["accuracy_low"]), "high": percent(quality["accuracy_high"])},
            ),
            Tile(
                gettext("Macro-F1"),
                percent(quality["macro_f1"]),
                gettext("weighted by texts %(value)s") % {"value": percent(quality["weighted_f1"])},
            ),
            Tile(
                gettext("Calibration error"),
                percent(quality["ece"]),
                gettext("%(value)s before temperature scaling") % {"value": percent(quality["ece_unscaled"])},
            ),
            Tile(gettext("Genuine texts refused"), percent(quality["in_scope_refused"]), gettext("as out of scope")),
        ]
    else:
        found = [Tile(gettext("Accuracy"), "–", gettext("there is no held-out text to measure on"))]
    if scope is not None:
        refused = ngettext("of %(count)s out-of-scope text", "of %(count)s out-of-scope texts", scope["rows"]) % {
            "count": scope["rows"]
        }
        found.append(Tile(gettext("Refused rightly"), percent(scope["recall"]), refused))
        if scope["auroc"] is not None:
            found.append(Tile(gettext("Out of scope, AUROC"), f"{scope['auroc']:.4f}", gettext("at any threshold")))
    if latency is not None:
        found.append(
            Tile(
                gettext("One text takes"),
                f"{latency['p50_ms']:.1f} ms",
                gettext("p99 %(value)s ms") % {"value": f"{latency['p99_ms']:.1f}"},
            )
        )
    return found


def about_rows(report: Report) -> list[tuple[str, str]]:
    """Return what was measured, as names and values."""
    names = {
        "task": gettext("Task"),
        "run": pgettext("training", "Run"),
        "method": gettext("Method"),
        "snapshot": gettext("Snapshot"),
        "training_rows": gettext("Texts learnt"),
        "validation_rows": gettext("Validation texts"),
        "holdout_rows": gettext("Held-out texts"),
        "encoder": gettext("Encoder"),
        "trainable_parameters": gettext("Trainable parameters"),
        "total_parameters": gettext("Parameters in all"),
        "fit_seconds": gettext("Training time, seconds"),
    }
    known = report["about"]
    rows = [(name, _plain(known[key])) for key, name in names.items() if known.get(key) not in (None, "")]
    rows += [
        (key.replace("_", " "), _plain(value))
        for key, value in known.items()
        if key not in names and value not in (None, "") and not isinstance(value, dict)
    ]
    rows.append((gettext("Labels"), f"{len(report['labels']):,}"))
    return rows


def cost_rows(report: Report) -> list[tuple[str, str]]:
    """Return what the model costs and what its export lost, as names and values."""
    rows = []
    latency, sizes, parity = report["latency"], report["sizes"], report["parity"]
    if latency is not None:
        rows += [
            (gettext("One text, median"), f"{latency['p50_ms']:.2f} ms"),
            (gettext("One text, 99 of 100"), f"{latency['p99_ms']:.2f} ms"),
            (gettext("Texts a second, many at once"), f"{latency['texts_per_second']:,.0f}"),
        ]
    if sizes is not None:
        owns = gettext("its own") if sizes["owns_encoder"] else gettext("shared")
        rows += [
            (gettext("Classifier"), f"{sizes['classifier_bytes'] / 1e6:,.1f} MB"),
            (gettext("Encoder (%(whose)s)") % {"whose": owns}, f"{sizes['encoder_bytes'] / 1e6:,.1f} MB"),
        ]
    if parity is not None:
        names = {
            "served_precision": gettext("Served in"),
            "fp32_accuracy": gettext("Accuracy in fp32, on validation texts"),
            "int8_accuracy": gettext("Accuracy in int8, on validation texts"),
            "probability_shift": gettext("Mean shift of probabilities by int8"),
            "torch_agreement": gettext("Same label before and after the export"),
            "torch_shift": gettext("Mean shift of probabilities by the export"),
        }
        known: dict[str, Any] = {**parity}
        rows += [
            (name, percent(known[key]) if isinstance(known[key], float) else str(known[key]))
            for key, name in names.items()
            if key in known
        ]
    return rows


@dataclass(frozen=True)
class MistakeGroup:
    """One cell of the confusion matrix: ``count`` texts in all, those that are quoted, and how surely each was said."""

    anchor: str
    truth: str
    said: str
    count: int
    texts: tuple[tuple[str, str], ...]

    @property
    def title(self) -> SafeString:
        """What was taken for what, for a narrow column."""
        return format_html("{} → {}", breakable(self.truth), breakable(self.said))


def mistakes_by_cell(report: Report) -> list[MistakeGroup]:
    """Return the mistakes of each cell beside the diagonal, the fullest cells first; ``anchor`` is an id of a page."""
    place = {label: at for at, label in enumerate(report["labels"])}
    quoted: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for mistake in report["mistakes"]:
        said = (mistake["text"], percent(mistake["confidence"]))
        quoted.setdefault((mistake["truth"], mistake["said"]), []).append(said)
    groups = [
        MistakeGroup(
            anchor=f"cell-{place[cell['truth']]}-{place[cell['said']]}",
            truth=cell["truth"],
            said=cell["said"],
            count=cell["count"],
            texts=tuple(quoted.get((cell["truth"], cell["said"]), ())),
        )
        for cell in report["confusion"]
        if cell["truth"] != cell["said"]
    ]
    return sorted(groups, key=lambda group: (-group.count, group.truth, group.said))


def confusion_map(report: Report, links: dict[tuple[str, str], str] | None = None) -> SafeString:
    """Draw the whole confusion matrix: a row for each true label, a column for each that was said.

    ``links`` maps (truth, said) to the id of the place that lists the texts.
    """
    place = {label: at for at, label in enumerate(report["labels"])}
    support = _support(report["confusion"])
    cells = [
        charts.Cell(
            row=place[cell["truth"]],
            column=place[cell["said"]],
            weight=cell["count"] / support[cell["truth"]],
            is_good=cell["truth"] == cell["said"],
            title=_cell_words(cell),
            link=f"#{links[cell['truth'], cell['said']]}" if links and (cell["truth"], cell["said"]) in links else "",
        )
        for cell in report["confusion"]
    ]
    title = gettext("Confusion matrix of %(count)s labels: rows are true, columns were said") % {"count": len(place)}
    return charts.matrix(cells, size=max(len(place), 1), title=title)


@dataclass(frozen=True)
class DetailCell:
    """A cell of the confusion table: its count ("" for none), how full it is in tenths, and where its texts are."""

    count: str
    tenths: int
    is_good: bool
    link: str
    words: str


@dataclass(frozen=True)
class DetailRow:
    """A label with its number in the table, its cells, and how many of its texts went to labels not shown.

    ``name`` is the label for a narrow column.
    """

    number: int
    label: str
    name: SafeString
    cells: tuple[DetailCell, ...]
    elsewhere: int


def confusion_detail(report: Report, links: dict[tuple[str, str], str] | None = None) -> list[DetailRow]:
    """Return the confusion matrix as a table: of all labels where they are few, else of those most often confused."""
    shown = report["labels"]
    if len(shown) > MOST_LABELS_IN_DETAIL:
        shown = []
        for pair in report["pairs"]:  # whole pairs, the most frequent first
            new = [label for label in (pair["first"], pair["second"]) if label not in shown]
            if len(shown) + len(new) <= MOST_LABELS_IN_DETAIL:
                shown += new
    counts = {(cell["truth"], cell["said"]): cell["count"] for cell in report["confusion"]}
    support = _support(report["confusion"])
    rows = []
    for number, truth in enumerate(shown, start=1):
        cells = []
        for said in shown:
            count = counts.get((truth, said), 0)
            anchor = (links or {}).get((truth, said), "")
            cells.append(
                DetailCell(
                    count=f"{count:,}" if count else "",
                    tenths=max(1, round(10 * count / support[truth])) if count else 0,
                    is_good=truth == said,
                    link=f"#{anchor}" if anchor else "",
                    words=_cell_words(Cell(truth=truth, said=said, count=count)),
                )
            )
        inside = sum(counts.get((truth, said), 0) for said in shown)
        rows.append(DetailRow(number, truth, breakable(truth), tuple(cells), support.get(truth, 0) - inside))
    return rows


def reliability_chart(bins: Sequence[Bin]) -> SafeString:
    """Draw how often the model is right, for each bin of confidence."""
    values = [
        (one["low"], one["high"], one["confidence"], one["right"] / one["rows"] if one["rows"] else 0.0) for one in bins
    ]
    return charts.calibration(
        values,
        title=gettext("Reliability: accuracy for each bin of confidence"),
        x_name=gettext("confidence"),
        words=[
            gettext("%(count)s texts: confidence %(confidence)s, accuracy %(accuracy)s")
            % {
                "count": one["rows"],
                "confidence": percent(one["confidence"]),
                "accuracy": percent(value[3] if one["rows"] else None),
            }
            for one, value in zip(bins, values, strict=True)
        ],
    )


def histogram_chart(bins: Sequence[Bin]) -> SafeString:
    """Draw how many texts have which confidence: wrong answers at the bottom, right ones above."""
    stacks = []
    for one in bins:
        interval = f"{percent(one['low'])} – {percent(one['high'])}"
        wrong = one["rows"] - one["right"]
        stacks.append(
            (
                (gettext("%(interval)s: %(count)s wrong") % {"interval": interval, "count": wrong}, wrong),
                (
                    gettext("%(interval)s: %(count)s right") % {"interval": interval, "count": one["right"]},
                    one["right"],
                ),
            )
        )
    return charts.columns(
        stacks,
        colours=("var(--lepton-danger)", charts.COLOURS[0]),
        title=gettext("Texts by confidence, right and wrong"),
        x_name=gettext("confidence"),
        x_ticks=[(at / 5, charts.share(at / 5)) for at in range(6)],
    )


def curve_chart(points: Sequence[CurvePoint]) -> SafeString:
    """Draw the accuracy against the number of training texts, with the spread of the draws."""
    series = charts.Series(
        gettext("accuracy"),
        tuple((float(one["rows"]), one["mean"]) for one in points),
        tuple((one["low"], one["high"]) for one in points),
    )
    return charts.lines(
        [series],
        title=gettext("Learning curve: accuracy by number of training texts"),
        x_name=gettext("training texts"),
        y_format=charts.share,
    )


def loss_series(points: Sequence[HistoryPoint]) -> list[charts.Series]:
    """Return the lines of the loss chart: the loss of each stage of the training, and of the validation texts."""
    stages = list(dict.fromkeys(one.get("stage", "") for one in points))
    series = [
        charts.Series(
            stage if len(stages) > 1 and stage else gettext("training"),
            tuple((float(one["step"]), one["loss"]) for one in points if one.get("stage", "") == stage),
        )
        for stage in stages
    ]
    validated = tuple(
        (float(one["step"]), one["validation_loss"]) for one in points if one["validation_loss"] is not None
    )
    return [*series, charts.Series(gettext("validation"), validated)] if validated else series


def loss_chart(points: Sequence[HistoryPoint]) -> SafeString:
    """Draw the loss of the training, and of the validation where it was measured, step by step."""
    return charts.lines(loss_series(points), title=gettext("Loss by step"), x_name=pgettext("training", "step"))


def validation_chart(points: Sequence[HistoryPoint]) -> SafeString:
    """Draw the accuracy on the validation texts, step by step."""
    measured = tuple((float(one["step"]), one["accuracy"]) for one in points if one["accuracy"] is not None)
    return charts.lines(
        [charts.Series(gettext("validation accuracy"), measured)],
        title=gettext("Validation accuracy by step"),
        x_name=pgettext("training", "step"),
        y_format=charts.share,
    )


def breakable(label: str) -> SafeString:
    """Return a label, escaped, that may be broken after its signs: names of labels are often one long word.

    >>> breakable("card_<lost>")
    'card_<wbr>&lt;lost&gt;'
    """
    return mark_safe(_JOINTS.sub(r"\1<wbr>", escape(label)))  # noqa: S308 - escaped before anything is put in


def _validated(points: Sequence[HistoryPoint]) -> list[HistoryPoint]:
    return [one for one in points if one["accuracy"] is not None]


def _support(cells: Sequence[Cell]) -> dict[str, int]:
    support: dict[str, int] = {}
    for cell in cells:
        support[cell["truth"]] = support.get(cell["truth"], 0) + cell["count"]
    return support


def _cell_words(cell: Cell) -> str:
    return f"{cell['truth']} → {cell['said']}: {cell['count']}"


def _bin_row(one: Bin) -> tuple[str, ...]:
    wrong = one["rows"] - one["right"]
    interval = f"{percent(one['low'])} – {percent(one['high'])}"
    accuracy = percent(one["right"] / one["rows"])
    return (interval, f"{one['rows']:,}", f"{wrong:,}", percent(one["confidence"]), accuracy)


def _history_row(one: HistoryPoint) -> tuple[str, ...]:
    validation_loss = "–" if one["validation_loss"] is None else f"{one['validation_loss']:.4f}"
    return (f"{one['step']:,}", f"{one['epoch']:.1f}", f"{one['loss']:.4f}", validation_loss, percent(one["accuracy"]))


def _class_row(one: ClassFigures) -> tuple[str, ...]:
    shares = (f"{share:.3f}" for share in (one["precision"], one["recall"], one["f1"]))
    return (breakable(one["label"]), *shares, f"{one['support']:,}")


def _quoted(mistake: Mistake) -> tuple[str, ...]:
    """Return the text, its label, what was said, how surely, and how probable the truth was."""
    sure = (percent(mistake["confidence"]), percent(mistake["probability"]))
    return (mistake["text"], breakable(mistake["truth"]), breakable(mistake["said"]), *sure)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return f"{value:,}" if isinstance(value, int | float) else str(value)
