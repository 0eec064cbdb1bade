"""Line charts as SVG, by hand: readable in light and dark, in print, and by those who do not see them. Pure.

A line is told from the others by its colour, its dashes and its name at its end, never by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 154, 46, 52  # margins; at the right stand the lines' names
_NAMED = 8  # lines with a colour and a name; the others are thin and grey
_MOST = 400  # points of a line: a pixel and a half each
_NOTHING = 1e-12
_KEY = 24  # the piece of line beside a name
_ROW = 15  # between two names
#: Okabe and Ito's colours, darkened for white and lightened for black to a contrast of 3 at least.
_COLOURS = (
    ("#0072b2", "#56b4e9"),
    ("#c04f00", "#f0813a"),
    ("#00795a", "#2fc79a"),
    ("#a3487c", "#e39ac3"),
    ("#8a6400", "#e6b000"),
    ("#5b4bb7", "#a99df2"),
    ("#333333", "#dddddd"),
    ("#b3202c", "#ff8a8f"),
)
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2", "12 4", "4 4")

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named line. Points that are not finite are gaps."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Chart:
    """What is drawn. The first lines are named; `zero`: the vertical axis begins at 0."""

    title: str
    description: str
    x: str
    y: str
    lines: Sequence[Line]
    zero: bool = False


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def draw(chart: Chart) -> str:
    """The chart as a whole SVG document."""
    points = [p for line in chart.lines for p in line.points if _there(p)]
    body = _plot(chart, points) if points else [_text(WIDTH / 2, HEIGHT / 2, "no data yet", "m")]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<title id="title">{_escaped(chart.title)}</title>\n'
        f'<desc id="description">{_escaped(chart.description)}</desc>\n'
        f"<style>{_style()}</style>\n"
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>\n'
        + "\n".join([_text(_LEFT, 24, chart.title, "t"), *body])
        + "\n</svg>\n"
    )


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from the last one below to the first one above."""
    low, high = _apart(low, high)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= rough * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _apart(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis: some way apart, also where all values are the same."""
    largest = max(abs(low), abs(high), _NOTHING)
    if high - low > largest * _NOTHING:
        return low, high
    spare = largest / 10 if largest > _NOTHING else 1.0
    return low - spare, high + spare


def number(value: float) -> str:
    """A number on an axis: 12000 is 12k, and 0.30000000000000004 is 0.3."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"


def thinned(points: Sequence[Point], most: int = _MOST) -> list[Point]:
    """At most about so many points: of each stretch its lowest and its highest, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    length = math.ceil(len(points) / (most // 2))
    found: list[Point] = []
    for begin in range(0, len(points), length):
        stretch = range(begin, min(begin + length, len(points)))
        ends = {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
        found += [points[i] for i in sorted(ends)]
    return found


def _plot(chart: Chart, points: Sequence[Point]) -> list[str]:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    first, last = _apart(min(xs), max(xs))
    upwards = ticks(min([0.0, *ys]) if chart.zero else min(ys), max(ys))
    right = WIDTH - _RIGHT
    x = _Scale(first, last, _LEFT, right)
    y = _Scale(upwards[0], upwards[-1], HEIGHT - _BOTTOM, _TOP)
    body = []
    for value in upwards:
        at = _number(y(value))
        body.append(f'<path class="grid" d="M{_LEFT} {at}H{right}"/>')
        body.append(_text(_LEFT - 8, y(value) + 4, number(value), "e"))
    for value in (tick for tick in ticks(first, last) if first <= tick <= last):
        at = _number(x(value))
        body.append(f'<path class="grid" d="M{at} {HEIGHT - _BOTTOM}v5"/>')
        body.append(_text(x(value), HEIGHT - _BOTTOM + 19, number(value), "m"))
    body.append(_text((_LEFT + right) / 2, HEIGHT - 12, chart.x, "m"))
    body.append(_text(_LEFT - 8, _TOP - 8, chart.y, "e small"))
    for place in reversed(range(len(chart.lines))):  # those with names lie above
        body.append(_line(chart.lines[place], place, x, y))
    return body + _names(chart.lines, right + 8, y)


def _line(line: Line, place: int, x: _Scale, y: _Scale) -> str:
    paths = []
    for there, run in groupby(line.points, key=_there):
        if there:
            spots = [f"{_number(x(a))} {_number(y(b))}" for a, b in thinned(list(run))]
            paths.append("M" + "L".join(spots if len(spots) > 1 else spots * 2))
    kind = f"line c{place}" if place < _NAMED else "line rest"
    return f'<path class="{kind}" d="{"".join(paths)}"><title>{_escaped(line.name)}</title></path>'


def _names(lines: Sequence[Line], left: float, y: _Scale) -> list[str]:
    """Names at the heights of the lines' ends, moved apart where they would lie upon each other."""
    ends = []
    for place, line in enumerate(lines[:_NAMED]):
        spots = [b for a, b in line.points if _there((a, b))]
        if spots:
            ends.append((y(spots[-1]), place, line.name))
    ends.sort()
    found, last = [], -math.inf
    rows = len(ends) + (len(lines) > _NAMED)
    room = HEIGHT - _BOTTOM - _ROW * (rows - 1)
    for rank, (end, place, name) in enumerate(ends):
        last = max(min(end, room + _ROW * rank), last + _ROW)
        shown = name if len(name) <= 16 else f"{name[:15]}…"
        at = _number(last)
        found.append(f'<path class="line c{place}" d="M{_number(left)} {at}h{_KEY}"/>')
        found.append(_text(left + _KEY + 5, last + 4, shown, f"n{place}"))
    if len(lines) > _NAMED:
        found.append(
            _text(left + _KEY + 5, last + 4 + _ROW, f"and {len(lines) - _NAMED} others", "small")
        )
    return found


def _style() -> str:
    def colours(dark: bool) -> str:
        pairs = enumerate(pair[dark] for pair in _COLOURS)
        return "".join(f".c{n}{{stroke:{c}}}.n{n}{{fill:{c}}}" for n, c in pairs)

    dashes = "".join(f".c{n}{{stroke-dasharray:{d}}}" for n, d in enumerate(_DASHES) if d)
    return (
        "text{fill:#222}.t{font-size:15px;font-weight:600}.small{font-size:11px}"
        ".m{text-anchor:middle}.e{text-anchor:end}.paper{fill:#fff}"
        ".grid{stroke:#ccc;stroke-width:1;fill:none}"
        ".line{fill:none;stroke-width:2;stroke-linejoin:round}"
        ".rest{stroke:#999;stroke-width:1;opacity:.6}"
        f"{colours(False)}{dashes}"
        "@media (prefers-color-scheme: dark){text{fill:#eee}.paper{fill:#16181c}"
        f".grid{{stroke:#444}}.rest{{stroke:#777}}{colours(True)}}}"
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{_number(x)}" y="{_number(y)}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """No markup, and nothing that XML does not allow."""
    return escape("".join(c if c.isprintable() else "�" for c in text))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _there(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])
