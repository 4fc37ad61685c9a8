"""Charts drawn on the server as SVG, for pages without scripts: lines, columns, calibration, a matrix. Pure.

Each function returns one ``<svg>`` that takes the width of its place. Colours are the project's tokens, so that it
follows light and dark; what it shows is also to be given as a table, of which ``title`` is the short form for those
who do not see it. Names that come from outside are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

# The box in which everything is drawn, in units that are about a pixel on a phone.
WIDTH, HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 40
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
COLOURS = tuple(f"var(--lepton-chart-{number})" for number in range(1, 5))
_DASHES = ("", "5 3", "2 3", "8 3 2 3")  # series differ in more than colour
_TEXT = 'font-size="11" fill="var(--lepton-muted)"'
_LEAST_HEIGHT = 1.5  # a count of one beside a thousand is still to be seen

Format = Callable[[float], str]
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Series:
    """A line: points ``(x, y)`` by rising x, and where known how far each y spreads, as ``(low, high)``."""

    name: str
    points: tuple[tuple[float, float], ...]
    spread: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix, counted from 0: its weight from 0 to 1, whether it is as it should be, and its words."""

    row: int
    column: int
    weight: float
    is_good: bool
    title: str
    link: str = ""


def share(value: float) -> str:
    """Write a share of 1 in per cent, for an axis.

    >>> share(0.925), share(1.0)
    ('92.5%', '100%')
    """
    return f"{value * 100:.4g}%"


def number(value: float) -> str:
    """Write a number for an axis, short.

    >>> number(12000), number(0.25), number(3.0)
    ('12k', '0.25', '3')
    """
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.4g}"


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, at most about ``most`` of them.

    >>> ticks(0, 1), ticks(0.83, 0.94), ticks(5, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.85, 0.875, 0.9, 0.925], [5])
    """
    if not high > low:
        return [low]
    raw = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x_name: str,
    y_format: Format = number,
    y_range: tuple[float, float] | None = None,
) -> SafeString:
    """Draw lines over one pair of axes; the range of y is that of the points unless it is given.

    Without any point the axes stand alone.
    """
    drawn = [one for one in series if one.points]
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points] + [y for one in drawn for pair in one.spread for y in pair]
    left, right = (min(xs), max(xs)) if xs else (0.0, 1.0)
    low, high = y_range or _widened(min(ys, default=0.0), max(ys, default=1.0))
    scale_x, scale_y = _scale(left, right, _LEFT, WIDTH - _RIGHT), _scale(low, high, HEIGHT - _BOTTOM, _TOP)
    body = [_axes(ticks(left, right), ticks(low, high), scale_x, scale_y, x_name, y_format)]
    for place, one in enumerate(drawn):
        colour, dash = COLOURS[place % len(COLOURS)], _DASHES[place % len(_DASHES)]
        path = " ".join(f"{_at(scale_x(x))},{_at(scale_y(y))}" for x, y in one.points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')
        for (x, _), (bottom, top) in zip(one.points, one.spread, strict=False):
            body.append(
                f'<path d="M{_at(scale_x(x))} {_at(scale_y(bottom))}V{_at(scale_y(top))}" stroke="{colour}" '
                'stroke-width="1.5"/>'
            )
        if len(one.points) <= 12:
            body += [
                f'<circle cx="{_at(scale_x(x))}" cy="{_at(scale_y(y))}" r="3" fill="{colour}">'
                f"<title>{escape(number(x))}: {escape(y_format(y))}</title></circle>"
                for x, y in one.points
            ]
    return _svg(title, body)


def swatch(place: int) -> SafeString:
    """Draw the sample of the line that stands at ``place`` among the series, for a legend."""
    colour, dash = COLOURS[place % len(COLOURS)], _DASHES[place % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return mark_safe(  # noqa: S308 - nothing in it comes from outside
        f'<svg viewBox="0 0 24 10" width="24" height="10" aria-hidden="true"><path d="M0 5h24" stroke="{colour}" '
        f'stroke-width="3"{dashed}/></svg>'
    )


def columns(
    stacks: Sequence[Sequence[tuple[str, int]]],
    *,
    colours: Sequence[str],
    title: str,
    x_name: str,
    x_ticks: Sequence[tuple[float, str]],
) -> SafeString:
    """Draw stacked columns side by side; ``stacks`` holds for each column the words and the count of its parts.

    The parts of a column stand from the bottom up in the order of ``colours``. ``x_ticks`` are places from 0 to 1
    along the axis with what stands there.
    """
    highest = max((sum(count for _, count in parts) for parts in stacks), default=0)
    scale_y = _scale(0.0, float(highest or 1), HEIGHT - _BOTTOM, _TOP)
    width = _PLOT_WIDTH / max(len(stacks), 1)
    body = [_grid_y(ticks(0, float(highest or 1), most=4), scale_y, number), _named_ticks(x_ticks, x_name)]
    for place, parts in enumerate(stacks):
        bottom = float(HEIGHT - _BOTTOM)
        for (words, count), colour in zip(parts, colours, strict=True):
            if not count:
                continue
            height = max(HEIGHT - _BOTTOM - scale_y(count), _LEAST_HEIGHT)
            bottom -= height
            body.append(
                f'<rect x="{_at(_LEFT + place * width + width * 0.08)}" y="{_at(bottom)}" width="{_at(width * 0.84)}" '
                f'height="{_at(height)}" fill="{colour}"><title>{escape(words)}</title></rect>'
            )
    return _svg(title, body)


def calibration(
    bins: Sequence[tuple[float, float, float | None, float]], *, title: str, x_name: str, words: Sequence[str]
) -> SafeString:
    """Draw a reliability diagram: for each bin ``(low, high, mean confidence or None, accuracy)``, all from 0 to 1.

    A bar is as high as the accuracy; the line across it is the mean confidence, and the diagonal is where both agree.
    ``words`` say what each bin holds.
    """
    scale_x, scale_y = _scale(0, 1, _LEFT, WIDTH - _RIGHT), _scale(0, 1, HEIGHT - _BOTTOM, _TOP)
    fifths = [place / 5 for place in range(6)]
    body = [_axes(fifths, fifths, scale_x, scale_y, x_name, share, x_format=share)]
    for (low, high, confidence, accuracy), said in zip(bins, words, strict=True):
        if confidence is None:
            continue
        x, width = scale_x(low) + 0.8, scale_x(high) - scale_x(low) - 1.6
        top, bottom = scale_y(max(accuracy, confidence)), scale_y(min(accuracy, confidence))
        colour = COLOURS[1] if confidence > accuracy else COLOURS[2]
        body.append(
            f"<g><title>{escape(said)}</title>"
            f'<rect x="{_at(x)}" y="{_at(scale_y(accuracy))}" width="{_at(width)}" '
            f'height="{_at(scale_y(0) - scale_y(accuracy))}" fill="{COLOURS[0]}"/>'
            f'<rect x="{_at(x)}" y="{_at(top)}" width="{_at(width)}" height="{_at(bottom - top)}" fill="{colour}" '
            f'fill-opacity="0.3"/><path d="M{_at(x)} {_at(scale_y(confidence))}h{_at(width)}" stroke="{colour}" '
            'stroke-width="2.5"/></g>'
        )
    body.append(
        f'<path d="M{_at(scale_x(0))} {_at(scale_y(0))}L{_at(scale_x(1))} {_at(scale_y(1))}" '
        'stroke="var(--lepton-text)" stroke-dasharray="3 4" fill="none"/>'
    )
    return _svg(title, body)


def matrix(cells: Sequence[Cell], *, size: int, title: str) -> SafeString:
    """Draw a square matrix of ``size`` rows as a map: where it should be in one colour, elsewhere in another.

    A cell that has a link leads there. The first row is at the top.
    """
    body = [
        f'<rect width="{size}" height="{size}" fill="var(--lepton-sunken)"/>',
        f'<path d="M0 0L{size} {size}" stroke="var(--lepton-border)" stroke-width="{size / 400:.3f}"/>',
    ]
    for cell in cells:
        colour = COLOURS[0] if cell.is_good else "var(--lepton-danger)"
        weight = 0.4 + 0.6 * min(max(cell.weight, 0.0), 1.0)  # the lightest cell is still to be seen
        drawn = (
            f'<rect x="{cell.column}" y="{cell.row}" width="1" height="1" fill="{colour}" '
            f'fill-opacity="{weight:.2f}"><title>{escape(cell.title)}</title></rect>'
        )
        body.append(f'<a href="{escape(cell.link)}">{drawn}</a>' if cell.link else drawn)
    return _svg(title, body, width=size, height=size, role="group")


def _svg(title: str, body: Sequence[str], *, width: int = WIDTH, height: int = HEIGHT, role: str = "img") -> SafeString:
    said = escape(title)
    return mark_safe(  # noqa: S308 - every word in it has been escaped where it was put in
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" role="{role}" '
        f'aria-label="{said}">{"".join(body)}</svg>'
    )


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    scale_x: Scale,
    scale_y: Scale,
    x_name: str,
    y_format: Format,
    *,
    x_format: Format = number,
) -> str:
    places = [((scale_x(value) - _LEFT) / _PLOT_WIDTH, x_format(value)) for value in x_ticks]
    return _grid_y(y_ticks, scale_y, y_format) + _named_ticks(places, x_name)


def _grid_y(values: Sequence[float], scale_y: Scale, y_format: Format) -> str:
    return "".join(
        f'<path d="M{_LEFT} {_at(scale_y(value))}H{WIDTH - _RIGHT}" stroke="var(--lepton-border)" fill="none"/>'
        f'<text x="{_LEFT - 6}" y="{_at(scale_y(value) + 4)}" text-anchor="end" {_TEXT}>'
        f"{escape(y_format(value))}</text>"
        for value in values
    )


def _named_ticks(places: Sequence[tuple[float, str]], x_name: str) -> str:
    named = []
    for place, words in places:
        anchor = "end" if place > 0.97 else "middle"
        x = _LEFT + place * _PLOT_WIDTH
        named.append(
            f'<text x="{_at(x)}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}" {_TEXT}>{escape(words)}</text>'
        )
    named.append(
        f'<text x="{_LEFT + _PLOT_WIDTH / 2:g}" y="{HEIGHT - 6}" text-anchor="middle" {_TEXT}>{escape(x_name)}</text>'
    )
    return "".join(named)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return the map of ``low`` to ``high`` onto the places ``start`` to ``end``; a single value is in the middle."""
    if not high > low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _widened(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _at(value: float) -> str:
    """Write a coordinate, for no locale to touch it."""
    return f"{value:.2f}"
