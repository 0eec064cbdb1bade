"""The documentation as the tests read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(<!-- not run -->\n)?^( *)```(\w*)\n(.*?)^\2```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Every page of the documentation, those at the root included."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(text: str, kind: str) -> list[str]:
    """The code blocks of that kind (`sh`, `python`), without those that say that they are not run."""
    return [body for skip, _, found, body in _BLOCK.findall(text) if found == kind and not skip]


def prose(text: str) -> str:
    """The page without its code blocks."""
    return _BLOCK.sub("", text)


def code(text: str) -> Iterator[str]:
    """All code: blocks fenced and indented, and what stands between backticks."""
    yield from (body for _, _, _, body in _BLOCK.findall(text))
    rest = prose(text)
    yield from re.findall(r"^(?: {4}|\t)(.*)$", rest, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", rest)
