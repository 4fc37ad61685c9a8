from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_app.lib import charts
from lepton_app.lib.charts import HEIGHT, WIDTH, Cell, Series

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
HOSTILE = "<script>&\"'"


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


@given(NUMBERS, st.floats(1e-6, 1e6))
def test_ticks_are_rising_and_inside(low: float, width: float) -> None:
    found = charts.ticks(low, low + width)
    assert found == sorted(set(found))
    assert len(found) <= 7
    room = abs(width) * 1e-6 + 1e-9 * abs(low) + 1e-9
    assert all(low - room <= value <= low + width + room for value in found)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
def test_lines_stay_inside_of_their_box(points: list[tuple[float, float]]) -> None:
    rising = tuple(sorted(points))
    root = drawn(charts.lines([Series("a", rising)], title="t", x_name="x"))
    for line in root.iter(f"{SVG}polyline"):
        places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
        assert len(places) == len(points)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)


def test_a_line_rises_where_its_values_rise() -> None:
    root = drawn(charts.lines([Series("a", ((0, 1.0), (1, 2.0)), ((0.5, 1.5), (2.0, 2.0)))], title="t", x_name="x"))
    (line,) = root.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1) = (tuple(map(float, place.split(","))) for place in line.attrib["points"].split())
    assert x0 < x1
    assert y0 > y1  # y counts downwards
    assert [title.text for title in root.iter(f"{SVG}title")] == ["0: 1", "1: 2"]


def test_series_differ_in_more_than_colour() -> None:
    points = ((0.0, 0.0), (1.0, 1.0))
    root = drawn(charts.lines([Series(str(at), points) for at in range(3)], title="t", x_name="x"))
    found = [(line.attrib["stroke"], line.attrib.get("stroke-dasharray")) for line in root.iter(f"{SVG}polyline")]
    assert len({colour for colour, _ in found}) == len({dash for _, dash in found}) == 3


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_columns_are_as_high_as_their_counts(counts: list[tuple[int, int]]) -> None:
    stacks = [[("wrong", wrong), ("right", right)] for wrong, right in counts]
    root = drawn(charts.columns(stacks, colours=("red", "green"), title="t", x_name="x", x_ticks=[(0, "0")]))
    found = list(root.iter(f"{SVG}rect"))
    assert len(found) == sum(count > 0 for pair in counts for count in pair)
    assert all(float(rect.attrib["height"]) >= 1.4 for rect in found)
    assert all(float(rect.attrib["y"]) >= 5 for rect in found)


def test_calibration_shows_a_bar_for_each_bin_that_has_texts() -> None:
    bins = [(0.0, 0.5, None, 0.0), (0.5, 1.0, 0.9, 0.6)]
    root = drawn(charts.calibration(bins, title="t", x_name="x", words=["none", "some"]))
    assert [title.text for title in root.iter(f"{SVG}title")] == ["some"]
    bar, gap = root.iter(f"{SVG}rect")
    assert float(bar.attrib["height"]) == pytest.approx(0.6 * 190, abs=0.1)
    assert float(gap.attrib["height"]) == pytest.approx(0.3 * 190, abs=0.1)


def test_a_matrix_has_a_place_for_each_cell_and_links_where_there_are_some() -> None:
    cells = [
        Cell(row=0, column=0, weight=0.9, is_good=True, title="a"),
        Cell(row=2, column=1, weight=0.1, is_good=False, title="b", link="#cell-2-1"),
    ]
    root = drawn(charts.matrix(cells, size=3, title="t"))
    ground, good, bad = root.iter(f"{SVG}rect")
    assert (ground.attrib["width"], root.attrib["viewBox"]) == ("3", "0 0 3 3")
    assert (bad.attrib["x"], bad.attrib["y"]) == ("1", "2")
    assert float(good.attrib["fill-opacity"]) > float(bad.attrib["fill-opacity"])
    assert good.attrib["fill"] != bad.attrib["fill"]
    assert [link.attrib["href"] for link in root.iter(f"{SVG}a")] == ["#cell-2-1"]


def test_words_are_escaped_and_said_to_those_who_do_not_see() -> None:
    svgs = [
        charts.lines([Series("a", ((0, 0), (1, 1)))], title=HOSTILE, x_name=HOSTILE, y_format=lambda value: HOSTILE),
        charts.columns([[(HOSTILE, 1)]], colours=("red",), title=HOSTILE, x_name=HOSTILE, x_ticks=[(0, HOSTILE)]),
        charts.calibration([(0, 1, 0.5, 0.5)], title=HOSTILE, x_name=HOSTILE, words=[HOSTILE]),
        charts.matrix(
            [Cell(row=0, column=0, weight=1, is_good=True, title=HOSTILE, link=HOSTILE)], size=1, title=HOSTILE
        ),
    ]
    for svg in svgs:
        assert drawn(svg).attrib["aria-label"] == HOSTILE
        assert "<script" not in svg


def test_no_chart_needs_a_style_sheet_or_a_fixed_colour() -> None:
    svg = charts.lines([Series("a", ((0, 0), (1, 1)))], title="t", x_name="x")
    assert "style=" not in svg
    assert not re.search(r"#[0-9a-fA-F]{3,6}\b", svg)
    assert drawn(charts.lines([], title="t", x_name="x")) is not None
    assert "stroke-dasharray" in charts.swatch(1)
