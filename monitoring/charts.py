"""The geometry of the bar chart, drawn on the server as SVG: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.dashboard import HourFrame

HEIGHT = 100.0
BAR_WIDTH = 0.72
LEAST_HEIGHT = 1.5  # a count of one beside a thousand is still to be seen


@dataclass(frozen=True)
class Bar:
    """One bar in a box of one unit per hour and 100 units of height, y downwards; text, for no locale to touch it."""

    hour: str
    count: int
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class BarChart:
    """Bars from left to right, what they amount to, and the highest."""

    bars: list[Bar]
    total: int
    peak: HourFrame | None

    @property
    def width(self) -> int:
        """The width of the box, in units."""
        return len(self.bars)


def draw(hours: Sequence[HourFrame]) -> BarChart:
    """Return the chart of these counts; the highest bar fills the height, ``peak`` is None when all are zero.

    >>> chart = draw([{"hour": "a", "count": 2}, {"hour": "b", "count": 0}, {"hour": "c", "count": 4}])
    >>> [(bar.x, bar.y, bar.height) for bar in chart.bars]
    [('0.14', '50.00', '50.00'), ('1.14', '100.00', '0.00'), ('2.14', '0.00', '100.00')]
    >>> chart.total, chart.peak
    (6, {'hour': 'c', 'count': 4})
    """
    highest = max((hour["count"] for hour in hours), default=0)
    bars = []
    for place, hour in enumerate(hours):
        height = max(HEIGHT * hour["count"] / highest, LEAST_HEIGHT) if hour["count"] else 0.0
        bars.append(
            Bar(
                hour=hour["hour"],
                count=hour["count"],
                x=f"{place + (1 - BAR_WIDTH) / 2:.2f}",
                y=f"{HEIGHT - height:.2f}",
                width=f"{BAR_WIDTH:.2f}",
                height=f"{height:.2f}",
            )
        )
    peak = max(hours, key=lambda hour: hour["count"]) if highest else None
    return BarChart(bars=bars, total=sum(hour["count"] for hour in hours), peak=peak)
