"""Sizes and durations as an operator writes them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from ayni.tes.shape import parse_duration

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTP]?)(i?)B?)?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str) -> int:
    """Bytes of `500`, `64KiB`, `8GiB`, `1.5T` (a bare letter counts 1024) or `2GB` (1000).

    Raises:
        ValueError: the text is none of these.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is no size; write 8GiB, 500MiB or a number of bytes")
    number, letter, binary = match.groups()
    decimal = text.strip().lower().endswith("b") and not binary
    return int(float(number) * (1000 if decimal else 1024) ** _POWERS[(letter or "").lower()])


def show_size(size: float) -> str:
    """A size in three or four characters and its unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"


def show_duration(seconds: float) -> str:
    """A duration with its two largest units."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[int, BeforeValidator(_seconds)]
