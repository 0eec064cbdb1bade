"""How Slurm writes numbers, sizes, times and names of nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

DAY = 86400
FOREVER = 365 * DAY
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_DIGITS = re.compile(r"[0-9]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]*)?")
_MOST_HOSTS = 100_000  # in one span of names


def gres(text: str) -> int:
    """How many GPUs `gpu:2`, `gpu:a100:4(S:0-1)` or a list of such stands for."""
    total = 0
    for item in re.sub(r"\([^)]*\)", "", text).split(","):
        name, _, rest = item.partition(":")
        if name == "gpu":
            total += whole(rest.rpartition(":")[2] or "1")
    return total


def hosts(text: str) -> Iterator[str]:
    """The names in `a-n[1-3,07],b`; in `r[1-2]n[01-04]` every place varies."""
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        if item != "(null)":
            yield from map("".join, product(*map(_varied, re.split(r"(\[[^\]]*\])", item))))


def _varied(part: str) -> list[str]:
    if not part.startswith("["):
        return [part]
    found = []
    for span in part[1:-1].split(","):
        first, dash, last = span.partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            numbers = range(int(first), min(int(last), int(first) + _MOST_HOSTS) + 1)
            found += [f"{number:0{len(first)}}" for number in numbers]
        else:
            found.append(span)
    return found


def moment(text: str) -> float | None:
    """A time as SLURM_TIME_FORMAT=%s gives it; None for `Unknown`, `N/A`, `None`."""
    return float(text) if _DIGITS.fullmatch(text) else None


def limit(text: str) -> int:
    """A time limit in seconds: `2-00:00:00`, `01:00:00`, `UNLIMITED`."""
    if text in ("UNLIMITED", "INFINITE", "Partition_Limit", ""):
        return FOREVER
    return int(duration(text))


def duration(text: str) -> float:
    """Seconds: `[DD-[HH:]]MM:SS[.mmm]`."""
    days, dash, clock = text.rpartition("-")
    parts = [float(part) for part in clock.split(":") if _NUMBER.fullmatch(part)]
    while dash and len(parts) < 3:
        parts.append(0.0)  # `1-12` is a day and twelve hours
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + part
    return seconds + whole(days) * DAY


def size(text: str, bare: int = 1 << 20) -> int:
    """Bytes: `4G`, `1024K`, `500M`; a bare number counts MiB, or what is said."""
    found = re.fullmatch(rf"({_NUMBER.pattern})([KMGTP]?)[nc]?", text)
    return int(float(found[1]) * (_UNITS[found[2]] if found[2] else bare)) if found else 0


def whole(text: str) -> int:
    found = _DIGITS.match(text)
    return int(found[0]) if found else 0
