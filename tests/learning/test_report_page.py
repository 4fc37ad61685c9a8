from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.utils import translation

from lepton_app.learning.classifier import Prediction
from lepton_app.learning.datasets import Part
from lepton_app.learning.evaluation import evaluate
from lepton_app.learning.figures import HistoryPoint, Report
from lepton_app.learning.report_page import confusion_detail, mistakes_by_cell, render, tiles

MARK = "<script>alert('x')</script> & \"so\" on"


def history(*, stages: tuple[str, ...] = ("Tuning",)) -> list[HistoryPoint]:
    return [
        HistoryPoint(
            step=10 * at + 1,
            epoch=at / 5,
            loss=2.0 / (at + 1),
            learning_rate=1e-4,
            validation_loss=1.5 if at % 2 else None,
            accuracy=0.5 if at % 2 else None,
            stage=stages[at * len(stages) // 6],
        )
        for at in range(6)
    ]


def report_of(labels: int, *, hostile: bool = False, empty: bool = False, **known: Any) -> Report:
    """A report over so many labels; of each label one text in four is taken for the next label."""
    names = tuple(f"{'<b>' if hostile else ''}label_{number:03}" for number in range(labels))
    rows = [] if empty else [(number, copy) for number in range(labels) for copy in range(4)]
    texts = tuple(f"text {number}-{copy}{' ' + MARK if hostile else ''}" for number, copy in rows)
    answers = {
        text: names[(number + (copy == 3)) % labels] for text, (number, copy) in zip(texts, rows, strict=True)
    } | {"unknown": names[0], MARK: names[0]}

    def predict(asked: Any) -> list[Prediction]:
        return [
            Prediction(
                (answers[text], *(name for name in names if name != answers[text])),
                (0.7, *[0.3 / (labels - 1)] * (labels - 1)),
                1.0,
                in_scope=True,
            )
            for text in asked
        ]

    part = Part(texts, tuple(names[number] for number, _ in rows))
    return evaluate(predict, part, unknown=(MARK if hostile else "unknown",), labels=names, **known)


def full_report(labels: int = 20, **known: Any) -> Report:
    return report_of(
        labels,
        about={"run": 5, "task": "intent", "config": {"epochs": 4}},
        history=history(),
        curve=[
            {"share": 0.1, "rows": 10, "mean": 0.5, "low": 0.4, "high": 0.6, "draws": [0.4, 0.5, 0.6]},
            {"share": 1.0, "rows": 100, "mean": 0.9, "low": 0.9, "high": 0.9, "draws": [0.9]},
        ],
        latency={"p50_ms": 1.5, "p99_ms": 3.0, "texts_per_second": 900.0, "calls": 100},
        sizes={"classifier_bytes": 1_000_000, "encoder_bytes": 23_000_000, "owns_encoder": True},
        parity={"served_precision": "int8", "fp32_accuracy": 0.93, "int8_accuracy": 0.929},
        **known,
    )


class Page(HTMLParser):
    """What stands in a page: its elements, ids, links and outside addresses; complains about unclosed elements."""

    VOID = frozenset({"meta", "br", "wbr", "rect", "path", "circle", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._attributes(attrs)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name in ("src", "srcset", "data", "action", "xlink:href"):
                self.addresses.append(value or "")
            assert not name.startswith("on"), name

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("labels", [2, 12, 13, 77, 200])
def test_every_link_of_the_page_leads_to_its_texts(labels: int) -> None:
    report = full_report(labels)
    page = Page(render(report))
    assert len(page.ids) == len(set(page.ids)) == labels
    assert page.links
    assert {link.removeprefix("#") for link in page.links} == set(page.ids)
    for mistake in report["mistakes"]:
        assert mistake["text"] in page.text


def test_the_page_needs_nothing_else() -> None:
    text = render(full_report(77))
    page = Page(text)
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", ""))


def test_texts_and_labels_are_escaped() -> None:
    report = report_of(
        14, hostile=True, about={"run": MARK, "note": MARK, "config": {MARK: MARK}}, history=history(stages=(MARK, "b"))
    )
    text = render(report)
    assert "<script" not in text
    assert "<b>" not in text
    page = Page(text)
    assert MARK in page.text
    assert "<b>label_001" in page.text


def test_both_languages_have_their_page() -> None:
    report = full_report()
    assert '<html lang="en">' in render(report)
    with translation.override("zh-hans"):
        assert '<html lang="zh-Hans">' in render(report)


def test_figures_are_shown_as_they_are() -> None:
    page = Page(render(full_report()))
    for figure in ("75.0 %", "1.5 ms", "900", "23.0 MB", "92.9 %", "90.0 %", "Run #5"):
        assert figure in page.text, figure


@pytest.mark.parametrize("key", ["history", "curve", "latency", "sizes", "parity", "scope"])
def test_a_report_that_lacks_a_part_has_its_page(key: str) -> None:
    report: dict[str, Any] = json.loads(json.dumps(full_report()))
    report[key] = [] if isinstance(report[key], list) else None
    Page(render(report))  # type: ignore[arg-type]  # a report but for what it lacks


def test_an_empty_hold_out_has_its_page() -> None:
    report = report_of(3, empty=True)
    page = Page(render(report))
    assert "there is no held-out text to measure on" in page.text
    assert tiles(report)[0].value == "–"


def test_few_labels_are_all_in_the_matrix_and_many_only_where_they_are_confused() -> None:
    few = confusion_detail(full_report(5))
    assert [row.label for row in few] == [f"label_{number:03}" for number in range(5)]
    assert [cell.count for cell in few[0].cells] == ["3", "1", "", "", ""]
    many = confusion_detail(full_report(77))
    assert len(many) == 12
    counted = sum(int(cell.count) for row in many for cell in row.cells if cell.count) + sum(r.elsewhere for r in many)
    assert counted == 12 * 4


def test_mistakes_stand_by_cell_and_the_fullest_comes_first() -> None:
    report = full_report(5)
    groups = mistakes_by_cell(report)
    assert [(group.truth, group.said, group.count) for group in groups][:2] == [
        ("label_000", "label_001", 1),
        ("label_001", "label_002", 1),
    ]
    assert groups[0].texts == (("text 0-3", "70.0 %"),)


def test_each_stage_has_a_line_of_its_own() -> None:
    two = render({**full_report(), "history": history(stages=("Tuning", "Distilling"))})
    assert "Tuning" in two
    assert "Distilling" in two
    assert two.count("<polyline") == render(full_report()).count("<polyline") + 1
