"""The three READMEs are kept in step: same headings' structure, code, pictures, links and tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH = "README.md"
TRANSLATIONS = ("README.es.md", "README.pt.md")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LABELS = re.compile(r'"[^"\n]*"|"?\["[^\n]*?"\]')


def read(name: str) -> str:
    return (ROOT / name).read_text()


def headings(text: str) -> list[int]:
    """The levels of the headings, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", _FENCE.sub("", text), re.MULTILINE)]


def code(text: str) -> list[tuple[str, str]]:
    """Each block's language and code; what a diagram says in words is taken out."""
    blocks = _FENCE.findall(text)
    return [(kind, _LABELS.sub("", body) if kind == "mermaid" else body) for kind, body in blocks]


def links(text: str) -> list[str]:
    """Where the links and pictures beneath the first screen's languages lead, whatever the language."""
    found = re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text).split("\n\n", 2)[2])
    return [re.sub(r"\.(es|pt)\.md$", ".md", target) for target in found]


def rows(text: str) -> list[int]:
    """The number of cells in each line of a table."""
    return [line.count("|") for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", TRANSLATIONS)
@pytest.mark.parametrize("aspect", [headings, code, links, rows])
def test_a_translation_is_built_like_the_english(
    name: str, aspect: Callable[[str], object]
) -> None:
    assert aspect(read(name)) == aspect(read(ENGLISH))


@pytest.mark.parametrize("name", (ENGLISH, *TRANSLATIONS))
def test_each_readme_leads_to_the_others(name: str) -> None:
    first_screen = read(name).split("\n\n", 2)[1]
    for other in {ENGLISH, *TRANSLATIONS} - {name}:
        assert f"({other})" in first_screen


@pytest.mark.parametrize("name", (ENGLISH, *TRANSLATIONS))
def test_a_readme_says_what_it_is_with_a_picture_and_two_commands_on_the_first_screen(
    name: str,
) -> None:
    first_screen = read(name).partition("\n## ")[0]
    assert re.search(r"!\[[^\]]+\]\(docs/pictures/atlas\.png\)", first_screen)
    assert ("sh", "make demo\nmake test\n") in _FENCE.findall(first_screen)
