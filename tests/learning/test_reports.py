from __future__ import annotations

from lepton_app.learning.evaluation import headline
from lepton_app.learning.reports import checks, lines, tables
from tests.learning.test_report_page import full_report


def test_every_figure_of_a_report_stands_in_one_table_under_a_name() -> None:
    flat = headline(full_report())
    found = tables(flat)
    assert [table.title for table in found] == ["", "Out of scope", "Speed and size"]
    assert sum(len(table.rows) for table in found) == len(flat)
    assert not any("_" in row[0] for table in found for row in table.rows)
    assert ("size", "24.0 MB") in found[2].rows


def test_what_was_not_measured_is_a_dash_and_no_line() -> None:
    assert tables({"accuracy": None})[0].rows == (("accuracy", "–"),)
    assert lines({"accuracy": None, "ece": None}) == []
    assert lines({"accuracy": 0.0}) == ["accuracy 0.0000"]


def test_the_ranks_of_a_run_have_a_table_of_their_own() -> None:
    found = tables({"accuracy": 0.9, "ranks": {"layer.0.query": 4, "layer.1.query": 9}})
    assert found[1].rows == (("layer.0.query", "4"), ("layer.1.query", "9"))


def test_checks_that_stand_in_the_way_come_first() -> None:
    size = {"name": "size", "verdict": "pass", "figures": {"candidate": 2e6, "deployed": 1e6}}
    slow = {"name": "latency", "verdict": "person", "figures": {"candidate": 90.0, "deployed": 1.0}}
    slower = {"name": "latency", "verdict": "refuse", "figures": {"candidate": 2000.0, "deployed": 1.0}}
    found = checks({"checks": [size, slow, slower]})
    assert [one.said for one in found] == ["Refuse", "Needs a person", "Pass"]
    assert found[1].sentence == "One text takes 90.0 ms, with the model at work 1.0 ms."
    assert checks({}) == []
