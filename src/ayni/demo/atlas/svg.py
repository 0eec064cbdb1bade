"""A few strokes of SVG: polar geometry, paths and text. Angles in radians, clockwise from the top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

# Liberation Sans travels with vl-convert, so the PNG looks the same on a machine without fonts;
# Arial and Helvetica have its widths, so the SVG keeps its shape in a browser.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

_NARROW = frozenset("fijlrtIJ.,:;’ʻ'|()[]- /·")
_WIDE = frozenset("mwMWÑOQGÕŌ—%")


def number(value: float) -> str:
    """Two decimals are a hundredth of a pixel: enough, and half the file."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def width(content: str, size: float, bold: bool = False) -> float:
    """The approximate width of a text in pixels, rather too large than too small."""
    ems = sum(map(_em, content))
    return ems * size * (1.06 if bold else 1.0)


def _em(character: str) -> float:
    if character in _NARROW:
        return 0.34
    if character in _WIDE:
        return 0.84
    return 0.68 if character.isupper() else 0.56


def element(tag: str, content: str = "", **values: str | float | None) -> str:
    """An element. `content` is markup; `stroke_width=2` becomes `stroke-width="2"`, None nothing."""
    opening = tag
    for name, value in values.items():
        if value is not None:
            shown = value if isinstance(value, str) else number(value)
            opening += f' {name.replace("_", "-")}="{escape(shown)}"'
    return f"<{opening}>{content}</{tag}>" if content else f"<{opening}/>"


def text(x: float, y: float, content: str, size: float, **values: str | float | None) -> str:
    """A line of plain text, escaped."""
    return element("text", escape(content), x=x, y=y, font_size=size, **values)


def sheet(
    width: float, height: float, title: str, description: str, parts: Sequence[str],
    *, paper: str, ink: str,
) -> str:  # fmt: skip
    """A whole picture, with what is read aloud of it."""
    ground = [
        element("title", escape(title)),
        element("desc", escape(description)),
        element("rect", width=width, height=height, fill=paper),
    ]
    return element(
        "svg", "\n".join([*ground, *parts]),
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {number(width)} {number(height)}",
        width=width, height=height, role="img", lang="es", font_family=FONT, fill=ink,
    )  # fmt: skip


def point(angle: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(angle), -radius * math.cos(angle)


def pair(angle: float, radius: float) -> str:
    x, y = point(angle, radius)
    return f"{number(x)} {number(y)}"


def arc(start: float, end: float, radius: float, move: bool = True) -> str:
    """Path data of an arc from `start` to `end`, clockwise if end > start."""
    large, sweep = int(abs(end - start) > math.pi), int(end > start)
    begin = f"M{pair(start, radius)}" if move else ""
    return f"{begin}A{number(radius)} {number(radius)} 0 {large} {sweep} {pair(end, radius)}"


def band(start: float, end: float, inner: float, outer: float) -> str:
    """Path data of a piece of a ring."""
    outside, inside = arc(start, end, outer), arc(end, start, inner, move=False)
    return f"{outside}L{pair(end, inner)}{inside}Z"
