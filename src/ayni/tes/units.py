"""Sizes and durations as people write and read them. Durations are read by `shape.parse_duration`."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*(?:([kmgtp]?)(i?)(b?))", re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_size(text: str) -> int:
    """Bytes of `500`, `64KiB`, `8G`, `1.5T` (a bare letter counts 1024, as in Slurm) or `2GB` (1000).

    Raises:
        ValueError: the text is none of these.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or (match.group(3) and not match.group(2)):
        raise ValueError(f"{text[:40]!r} is no size; write 8GiB, 512MiB or a number of bytes")
    number, letter, binary, byte = match.groups()
    base = 1000 if letter and byte and not binary else 1024
    return int(float(number) * base ** _POWERS[letter])


def show_size(size: float) -> str:
    """A size in two to four digits and its unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"


def show_duration(seconds: float) -> str:
    """A duration with its two largest units; below ten seconds with a tenth."""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def show_amount(measure: str, value: int) -> str:
    """How much of a resource: `memory` is in bytes, `walltime` in seconds, all else a count."""
    if measure == "memory":
        return show_size(value)
    return show_duration(value) if measure == "walltime" else str(value)
