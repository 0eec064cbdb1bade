"""Identifiers of tasks, arrays and attempts: 63-bit integers that sort by time, shown in base 32.

41 bits of milliseconds since 2024, 22 bits that start at random within the millisecond. An array
takes consecutive numbers. A clash (two processes, same millisecond, same draw) breaks the primary
key and the transaction is tried again. An identifier is no secret: access is by project.
"""

from __future__ import annotations

import secrets
import time

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01
_BITS = 22
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}
LENGTH = 13


def new(count: int = 1) -> int:
    """The first of `count` consecutive identifiers."""
    ms = time.time_ns() // 1_000_000 - _EPOCH_MS
    return (ms << _BITS) + secrets.randbelow((1 << _BITS) - count)


def made_at(number: int) -> float:
    """When the identifier was made, in Unix seconds."""
    return ((number >> _BITS) + _EPOCH_MS) / 1000


def at(seconds: float) -> int:
    """The least identifier made at this time, in Unix seconds."""
    return max(0, round(seconds * 1000) - _EPOCH_MS) << _BITS


def show(number: int) -> str:
    """13 characters, which sort as the numbers do."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(60, -1, -5))


def read(text: str) -> int | None:
    """The number, or None if the text is no identifier."""
    if len(text) != LENGTH or any(c not in _VALUES for c in text):
        return None
    number = 0
    for c in text:
        number = number << 5 | _VALUES[c]
    return number if number < 1 << 63 else None
