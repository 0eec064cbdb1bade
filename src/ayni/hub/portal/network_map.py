"""The network on a map, as SVG coordinates: land, parallels and meridians, sites, exchanged hours.

Lambert's azimuthal equal-area projection (Snyder, *Map Projections*, USGS 1987, p. 182), so that no
country looks larger than it is. Coastlines: `data/land.json`, which names its source.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WIDTH = 560
_CENTRE = (math.radians(-73.0), math.radians(-10.0))  # longitude, latitude
_CORNERS = ((-119.0, 34.0), (-33.0, 14.0), (-75.0, -56.5))  # what must be seen
_LABEL_HEIGHT = 17
_LABEL_WIDTH = 8.0  # of a character, at most
_LAND = Path(__file__).parent / "data" / "land.json"

Point = tuple[float, float]


def project(longitude: float, latitude: float) -> Point:
    """Degrees to units of the sphere's radius; y grows southward."""
    lon, lat = math.radians(longitude), math.radians(latitude)
    lon0, lat0 = _CENTRE
    cos_c = math.sin(lat0) * math.sin(lat) + math.cos(lat0) * math.cos(lat) * math.cos(lon - lon0)
    k = math.sqrt(2 / max(1 + cos_c, 1e-9))
    x = k * math.cos(lat) * math.sin(lon - lon0)
    y = k * (math.cos(lat0) * math.sin(lat) - math.sin(lat0) * math.cos(lat) * math.cos(lon - lon0))
    return x, -y


@cache
def _frame() -> tuple[float, float, float, int]:
    """Left, top, scale (units to a radius) and height of the picture."""
    points = [project(*corner) for corner in _CORNERS]
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    top, bottom = min(p[1] for p in points), max(p[1] for p in points)
    scale = WIDTH / (right - left)
    return left, top, scale, round((bottom - top) * scale)


def height() -> int:
    return _frame()[3]


def place(longitude: float, latitude: float) -> Point:
    """Degrees to the picture's units."""
    left, top, scale, _ = _frame()
    x, y = project(longitude, latitude)
    return (x - left) * scale, (y - top) * scale


@dataclass(frozen=True, slots=True)
class Land:
    path: str
    member: bool


@dataclass(frozen=True, slots=True)
class Pin:
    """A site. `x`, `y` and the label's place are ready to be printed."""

    name: str
    title: str
    state: str
    sign: str
    x: str
    y: str
    label_x: str
    label_y: str
    anchor: str  # start or end


@dataclass(frozen=True, slots=True)
class Arc:
    """Hours that went from a giving country to a receiving one."""

    path: str
    width: str


@dataclass(frozen=True, slots=True)
class Spot:
    """What the map is told of a site."""

    name: str
    title: str
    state: str
    sign: str
    latitude: float
    longitude: float


def land(members: Collection[str]) -> list[Land]:
    """The outlines, those of members marked."""
    return [Land(path, code in members) for code, path in _land()]


@cache
def _land() -> tuple[tuple[str, str], ...]:
    shapes = json.loads(_LAND.read_text())["shapes"]
    return tuple((s["code"], "".join(_ring(r) for r in s["rings"])) for s in shapes)


def _ring(flat: Sequence[float]) -> str:
    """A closed path of whole units, each point relative to the one before: short to send."""
    points = [place(lon, lat) for lon, lat in zip(flat[::2], flat[1::2], strict=True)]
    rounded = [(round(x), round(y)) for x, y in points]
    (x0, y0), *rest = rounded
    steps, x, y = [f"M{x0} {y0}l"], x0, y0
    for to_x, to_y in rest:
        if (to_x, to_y) != (x, y):
            steps.append(f"{to_x - x} {to_y - y} ")
            x, y = to_x, to_y
    return "".join(steps).rstrip() + "z" if len(steps) > 2 else ""


@cache
def graticule() -> str:
    """Parallels and meridians, each 15 degrees."""
    lines = [[place(lon, lat) for lat in range(-75, 61, 5)] for lon in range(-150, 1, 15)]
    lines += [[place(lon, lat) for lon in range(-150, 1, 5)] for lat in range(-75, 61, 15)]
    return "".join("M" + "L".join(f"{round(x)} {round(y)}" for x, y in line) for line in lines)


def pins(spots: Iterable[Spot]) -> list[Pin]:
    """Sites with their labels, pushed apart where they would cover each other."""
    placed = sorted((place(s.longitude, s.latitude), s.name, s) for s in spots)
    labels: list[tuple[float, float, float]] = []  # left, right, y
    answer = []
    for (x, y), _, spot in sorted(placed, key=lambda p: p[0][1]):
        width = len(spot.title) * _LABEL_WIDTH
        anchor = "start" if x + 14 + width < WIDTH else "end"
        left = x + 13 if anchor == "start" else x - 13 - width
        label_y = y + 5
        while any(a < left + width and left < b and abs(v - label_y) < _LABEL_HEIGHT
                  for a, b, v in labels):  # fmt: skip
            label_y += 3
        labels.append((left, left + width, label_y))
        answer.append(
            Pin(
                name=spot.name,
                title=spot.title,
                state=spot.state,
                sign=spot.sign,
                x=f"{x:.1f}",
                y=f"{y:.1f}",
                label_x="13" if anchor == "start" else "-13",
                label_y=f"{label_y - y:.1f}",
                anchor=anchor,
            )
        )
    return answer


def arcs(flows: Iterable[tuple[Point, Point, float]]) -> list[Arc]:
    """Curves from giver to receiver (longitude, latitude), as wide as the root of the hours."""
    listed = [(place(*a), place(*b), hours) for a, b, hours in flows if hours > 0]
    most = max((hours for _, _, hours in listed), default=1.0)
    return [
        Arc(_curve(a, b), f"{0.8 + 3.2 * math.sqrt(hours / most):.1f}") for a, b, hours in listed
    ]


def _curve(a: Point, b: Point) -> str:
    """Bent to the left of its direction, so that both directions can be told apart."""
    (ax, ay), (bx, by) = a, b
    middle_x, middle_y = (ax + bx) / 2, (ay + by) / 2
    bend_x, bend_y = middle_x + (by - ay) * 0.22, middle_y - (bx - ax) * 0.22
    return f"M{ax:.0f} {ay:.0f}Q{bend_x:.0f} {bend_y:.0f} {bx:.0f} {by:.0f}"
