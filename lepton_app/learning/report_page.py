"""A report as one page that needs nothing else: pure."""

from __future__ import annotations

from lepton_app.learning.figures import Report


def render(report: Report) -> str:
    """Return the report as one HTML page in the active language."""
    raise NotImplementedError
