"""What each check of the gate says in words, in the active language: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

Figures = Mapping[str, Any]

_TITLES = {
    "evidence": gettext_lazy("Texts to compare on"),
    "majority": gettext_lazy("Better than a constant answer"),
    "accuracy": gettext_lazy("Accuracy"),
    "macro_f1": gettext_lazy("Macro-F1"),
    "labels": gettext_lazy("Single labels"),
    "label_set": gettext_lazy("Which labels there are"),
    "refusals": gettext_lazy("Genuine texts refused"),
    "out_of_scope": gettext_lazy("Out-of-scope texts answered"),
    "calibration": gettext_lazy("Calibration"),
    "latency": gettext_lazy("Time for one text"),
    "size": gettext_lazy("Size"),
    "deployed_model": gettext_lazy("The model at work"),
}


def title(name: str) -> str:
    """Return what a check is about; a name that is not known is shown as it is."""
    return str(_TITLES.get(name, name.replace("_", " ")))


def sentence(name: str, verdict: str, figures: Figures) -> str:
    """Return what the check ``name`` found; empty for a check that is not known.

    >>> sentence("latency", "pass", {"candidate": 2.0, "deployed": 1.5})
    'One text takes 2.0 ms, with the model at work 1.5 ms.'
    """
    say = _SENTENCES.get(name)
    return say(verdict, figures) if say is not None else ""


def percent(share: float | None) -> str:
    """Return a share as people read it.

    >>> percent(0.9315), percent(None)
    ('93.2 %', '–')
    """
    return "–" if share is None else f"{share * 100:.1f} %"


def points(difference: float) -> str:
    """Return a difference of shares in points, with its sign.

    >>> points(-0.0123), points(0.0)
    ('−1.2', '±0.0')
    """
    value = round(difference * 100, 1)
    return f"{'+' if value > 0 else '−' if value < 0 else '±'}{abs(value):.1f}"


def _evidence(_verdict: str, figures: Figures) -> str:
    said = [
        ngettext("Compared on %(count)s text.", "Compared on %(count)s texts.", figures["rows"])
        % {"count": figures["rows"]}
    ]
    if figures["left_out"]:
        said.append(
            ngettext(
                "%(count)s more was learnt by one of the models and is left out.",
                "%(count)s more were learnt by one of the models and are left out.",
                figures["left_out"],
            )
            % {"count": figures["left_out"]}
        )
    if not figures["is_known"]:
        said.append(_("What the model at work learnt cannot be read any more: it may have learnt some of these texts."))
    if figures["rows"] < figures["least_rows"]:
        said.append(
            _("That is too few to decide on; at least %(count)s are needed.") % {"count": figures["least_rows"]}
        )
    return " ".join(said)


def _majority(verdict: str, figures: Figures) -> str:
    if not figures["rows"]:
        return _("There is no held-out text to measure the first model on.")
    values = {"candidate": percent(figures["candidate"]), "majority": percent(figures["majority"])}
    if verdict == "refuse":
        return _("%(candidate)s are right; always giving the most frequent label would be right for %(majority)s.") % (
            values
        )
    if verdict == "person":
        return (
            _("%(candidate)s are right against %(majority)s for the most frequent label, which may be chance.") % values
        )
    return _("%(candidate)s are right; always giving the most frequent label: %(majority)s.") % values


def _accuracy(verdict: str, figures: Figures) -> str:
    said = [
        _("%(candidate)s are right, %(deployed)s with the model at work: %(difference)s points (%(low)s to %(high)s).")
        % {
            "candidate": percent(figures["candidate"]),
            "deployed": percent(figures["deployed"]),
            "difference": points(figures["difference"]),
            "low": points(figures["low"]),
            "high": points(figures["high"]),
        },
        _("%(gained)s texts gained, %(lost)s lost; chance alone: p = %(p_value)s.")
        % {"gained": figures["gained"], "lost": figures["lost"], "p_value": probability(figures["p_value"])},
    ]
    if verdict == "refuse":
        said.append(_("The loss is real."))
    elif verdict == "person":
        said.append(_("The loss may be chance."))
    return " ".join(said)


def _difference(verdict: str, figures: Figures) -> str:
    said = _("%(candidate)s, %(deployed)s with the model at work: %(difference)s points (%(low)s to %(high)s).") % {
        "candidate": percent(figures["candidate"]),
        "deployed": percent(figures["deployed"]),
        "difference": points(figures["difference"]),
        "low": points(figures["low"]),
        "high": points(figures["high"]),
    }
    return said if verdict != "refuse" else said + " " + _("The loss is real.")


def _calibration(verdict: str, figures: Figures) -> str:
    if "deployed" in figures:
        return _difference("pass", figures)
    return _("Expected calibration error %(candidate)s.") % {"candidate": percent(figures["candidate"])}


def _labels(_verdict: str, figures: Figures) -> str:
    if not figures["regressions"]:
        return ngettext(
            "%(count)s label; it lost no more than %(margin)s points of F1.",
            "%(count)s labels; none lost more than %(margin)s points of F1.",
            figures["labels"],
        ) % {"count": figures["labels"], "margin": f"{figures['margin'] * 100:g}"}
    real = [one for one in figures["worst"] if one["verdict"] != "pass"]
    possible = [one for one in figures["worst"] if one["verdict"] == "pass"]
    said = []
    if real:
        said.append(_("Got worse (F1): %(labels)s.") % {"labels": _regressions(real, figures["real"])})
    if possible:
        count = figures["regressions"] - figures["real"]
        said.append(_("Lower, which may be chance: %(labels)s.") % {"labels": _regressions(possible, count)})
    return " ".join(said)


def _regressions(worst: list[Figures], count: int) -> str:
    shown = [
        _("%(label)s from %(before)s to %(after)s on %(rows)s texts")
        % {
            "label": one["label"],
            "before": percent(one["before"]),
            "after": percent(one["after"]),
            "rows": one["rows"],
        }
        for one in worst[:5]
    ]
    return "; ".join(shown) + ("; …" if count > len(shown) else "")


def _label_set(_verdict: str, figures: Figures) -> str:
    said = []
    if figures["gone_count"]:
        said.append(_("No longer there: %(labels)s.") % {"labels": _listed(figures["gone"], figures["gone_count"])})
    if figures["new_count"]:
        said.append(_("New: %(labels)s.") % {"labels": _listed(figures["new"], figures["new_count"])})
        if figures["recall"] is not None:
            said.append(
                _("Of their %(rows)s held-out texts, %(recall)s are found.")
                % {"rows": figures["rows"], "recall": percent(figures["recall"])}
            )
    return " ".join(said) or _("Both models have the same labels.")


def _refusals(_verdict: str, figures: Figures) -> str:
    if "deployed" not in figures:
        return _("%(candidate)s of genuine texts are refused as out of scope.") % {
            "candidate": percent(figures["candidate"])
        }
    return _("%(candidate)s of genuine texts are refused as out of scope, %(deployed)s with the model at work.") % {
        "candidate": percent(figures["candidate"]),
        "deployed": percent(figures["deployed"]),
    }


def _out_of_scope(_verdict: str, figures: Figures) -> str:
    if not figures["rows"]:
        return _("Not measured: no held-out text is labelled as out of scope.")
    return ngettext(
        "%(candidate)s of %(count)s out-of-scope text answered, %(deployed)s by the model at work; p = %(p_value)s.",
        "%(candidate)s of %(count)s out-of-scope texts answered, %(deployed)s by the model at work; p = %(p_value)s.",
        figures["rows"],
    ) % {
        "candidate": percent(figures["candidate"]),
        "deployed": percent(figures["deployed"]),
        "count": figures["rows"],
        "p_value": probability(figures["p_value"]),
    }


def _latency(_verdict: str, figures: Figures) -> str:
    if "deployed" not in figures:
        return _("One text takes %(candidate)s ms.") % {"candidate": f"{figures['candidate']:.1f}"}
    return _("One text takes %(candidate)s ms, with the model at work %(deployed)s ms.") % {
        "candidate": f"{figures['candidate']:.1f}",
        "deployed": f"{figures['deployed']:.1f}",
    }


def _size(_verdict: str, figures: Figures) -> str:
    return _("%(candidate)s MB with the encoder, the model at work %(deployed)s MB.") % {
        "candidate": f"{figures['candidate'] / 1e6:.1f}",
        "deployed": f"{figures['deployed'] / 1e6:.1f}",
    }


def _deployed_model(_verdict: str, figures: Figures) -> str:
    return _("The model at work cannot be loaded to compare with (%(code)s): %(error)s") % figures


def probability(value: float) -> str:
    """Return a p-value as people read it.

    >>> probability(0.0312), probability(1e-9)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _listed(labels: list[str], count: int) -> str:
    return ", ".join(labels) + (" …" if count > len(labels) else "")


_SENTENCES: dict[str, Callable[[str, Figures], str]] = {
    "evidence": _evidence,
    "majority": _majority,
    "accuracy": _accuracy,
    "macro_f1": _difference,
    "labels": _labels,
    "label_set": _label_set,
    "refusals": _refusals,
    "out_of_scope": _out_of_scope,
    "calibration": _calibration,
    "latency": _latency,
    "size": _size,
    "deployed_model": _deployed_model,
}
