"""Line charts as SVG text, with logarithmic axes. No dependency: the plots of the documentation need no more.

Flows in: series of points. Flows out: an SVG document.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Series", "line_chart"]

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 250, 44, 56
# Colours that differ in lightness too, for readers who do not tell them apart by hue.
_COLOURS = ("#1b4f9c", "#d1660a", "#2a7f3b", "#8a2b80", "#6b6b6b")


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: what stands in the legend.
        points: x and y, both above 0.
        colour: number of its colour; a thing and its limit have the same.
        limit: whether it is a limit rather than a cost: dashed.
        dots: whether its points are measurements, and shown.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    limit: bool = False
    dots: bool = False


@dataclass(frozen=True)
class _Axis:
    """A logarithmic axis from `low` to `high`, drawn from pixel `begin` to pixel `end`."""

    low: float
    high: float
    begin: float
    end: float

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, factors: Sequence[float]) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = (factor * 10.0**exponent for exponent in exponents for factor in factors)
        return [tick for tick in every if self.low * 0.999 <= tick <= self.high * 1.001]


def line_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str) -> str:
    """Draw the series into one chart with a legend."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    across = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    up = _Axis(min(ys) / 1.2, max(ys) * 1.2, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, title, size=15),
        *_grid(across, up),
        _text(_middle(across), _HEIGHT - 14, x_label, anchor="middle"),
        f'<g transform="rotate(-90 18 {_middle(up):.0f})">',
        _text(18, _middle(up), y_label, anchor="middle"),
        "</g>",
    ]
    for number, line in enumerate(series):
        parts += _line(line, across, up, legend=_TOP + 10 + 20 * number)
    return "\n".join([*parts, "</svg>", ""])


def _line(line: Series, across: _Axis, up: _Axis, *, legend: float) -> list[str]:
    colour = _COLOURS[line.colour % len(_COLOURS)]
    places = [(across.place(x), up.place(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="6 4"' if line.limit else ""
    stroke = f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'
    key = across.end + 16
    parts = [
        f'<polyline points="{path}" {stroke}/>',
        f'<polyline points="{key},{legend} {key + 26},{legend}" {stroke}/>',
        _text(key + 32, legend + 4, line.name),
    ]
    if line.dots:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return parts


def _grid(across: _Axis, up: _Axis) -> list[str]:
    few = up.high / up.low < 30
    parts = []
    for tick in up.ticks((1, 2, 3, 5) if few else (1,)):
        y = up.place(tick)
        parts.append(_rule(across.begin, y, across.end, y))
        parts.append(_text(across.begin - 8, y + 4, _number(tick), anchor="end"))
    for tick in across.ticks((1, 2, 5) if across.high / across.low < 800 else (1,)):
        x = across.place(tick)
        parts.append(_rule(x, up.begin, x, up.end))
        parts.append(_text(x, up.begin + 18, _number(tick), anchor="middle"))
    return parts


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" fill="#222222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _middle(axis: _Axis) -> float:
    return (axis.begin + axis.end) / 2


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
