"""Steps at a terminal and elsewhere."""

from __future__ import annotations

import io
import time

import pytest

from lepton_app.progress import Steps


def test_a_short_step_is_one_line_with_its_result() -> None:
    out = io.StringIO()
    with Steps(out).step("Database") as step:
        step.result = "3 migrations applied"
    assert out.getvalue() == "  ✓ Database: 3 migrations applied\n"


def test_a_long_step_says_what_it_does_and_how_long_it_took() -> None:
    out = io.StringIO()
    with Steps(out).step("Index") as step:
        step("encoding 10 of 20")
        time.sleep(1.3)
    lines = out.getvalue().splitlines()
    assert lines[0] == "    Index: encoding 10 of 20"
    assert lines[-1].startswith("  ✓ Index  (1.")


def test_a_step_that_fails_is_marked_and_raises() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="no"), Steps(out).step("Index"):
        raise ValueError("no")
    assert out.getvalue() == "  ✗ Index\n"
