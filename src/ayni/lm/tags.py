"""Bounds of what is told by language: the same at a site, on the wire and in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

MAX_TAG = 64  # characters of a language's tag
TAG = f"[A-Za-z0-9-]{{1,{MAX_TAG}}}"
POOLED = "mul"  # ISO 639: multiple languages


class Counted(Protocol):
    @property
    def tokens(self) -> int: ...


T = TypeVar("T", bound=Counted)


def smallest_apart(found: Mapping[str, T], most: int) -> tuple[dict[str, T], list[T]]:
    """The languages with the most tokens, and what is to be pooled under `mul`, where there are more.

    Args:
        most: how many may be told, the pool included.
    """
    if len(found) <= most:
        return dict(found), []
    ordered = sorted(found, key=lambda name: (name == POOLED, -found[name].tokens, name))
    kept = set(ordered[: most - 1])
    return (
        {name: one for name, one in found.items() if name in kept},
        [one for name, one in found.items() if name not in kept],
    )
