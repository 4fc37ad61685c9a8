"""The geometry of a chart of stacked bars, drawn on the server as SVG: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEIGHT = 100.0
BAR_WIDTH = 0.62
LEAST_HEIGHT = 1.5  # a count of one beside a thousand is still to be seen


@dataclass(frozen=True)
class Segment:
    """One part of a bar in a box of one unit per bar and 100 units of height, y downwards.

    The numbers are text, for no locale to touch them.
    """

    name: str
    count: int
    x: str
    y: str
    width: str
    height: str


def stack(bars: Sequence[Mapping[str, int]], *, order: Sequence[str]) -> list[list[Segment]]:
    """Return each bar's segments from the bottom up, in ``order`` and without those of zero.

    The highest bar fills the height. Names that ``order`` lacks are left out, and count for no height.

    >>> for segments in stack([{"a": 3, "b": 1}, {}, {"b": 2}], order=["a", "b"]):
    ...     print([(segment.name, segment.x, segment.y, segment.height) for segment in segments])
    [('a', '0.19', '25.00', '75.00'), ('b', '0.19', '0.00', '25.00')]
    []
    [('b', '2.19', '50.00', '50.00')]
    """
    shown = [{name: bar[name] for name in order if bar.get(name, 0) > 0} for bar in bars]
    highest = max((sum(counts.values()) for counts in shown), default=0)
    drawn: list[list[Segment]] = []
    for place, counts in enumerate(shown):
        wanted = [(name, max(HEIGHT * count / highest, LEAST_HEIGHT)) for name, count in counts.items()]
        # What the least height adds must not push the bar through the top.
        scale = min(1.0, HEIGHT / (sum(height for _, height in wanted) or HEIGHT))
        top = HEIGHT
        segments = []
        for name, height in wanted:
            top -= height * scale
            segments.append(
                Segment(
                    name=name,
                    count=counts[name],
                    x=f"{place + (1 - BAR_WIDTH) / 2:.2f}",
                    y=f"{max(top, 0.0):.2f}",
                    width=f"{BAR_WIDTH:.2f}",
                    height=f"{height * scale:.2f}",
                )
            )
        drawn.append(segments)
    return drawn
