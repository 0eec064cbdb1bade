"""What the documentation points at is there: links, pictures, headings, make targets, commands, code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main

from ayni.cli.frame import build
from tests.docs.pages import ROOT, code, pages, prose

SRC = ROOT / "src" / "ayni"
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)\)")
_INNER = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")  # a picture within a link
_HTML = re.compile(r'(?:src|href)="([^"]+)"')
_REFERENCE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.py)(?::(\w+))?`")
_COMMAND = re.compile(r"(?:^|[\s$(;|&'\"/])ayni((?: +[a-z][a-z-]*)+)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", pages(), ids=name)


def targets(text: str) -> Iterator[str]:
    plain = re.sub(r"`[^`\n]*`", "", prose(text))
    for pattern in (_LINK, _INNER, _HTML):
        yield from pattern.findall(plain)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link may name in a page: its headings as they are usually slugged, and explicit ids."""
    text = prose(page.read_text())
    heads = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}
    return frozenset(slugs | set(re.findall(r'id="([^"]+)"', text)))


@every_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in targets(page.read_text()):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            assert parts.scheme in ("https", "mailto"), target
            continue
        there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert there.exists(), f"{target}: there is no {there}"
        assert there.is_relative_to(ROOT), f"{target} leaves the repository"
        if parts.fragment and there.suffix == ".md":
            assert parts.fragment in anchors(there), f"{target}: no such heading"


def test_every_page_can_be_reached_from_the_table_of_contents() -> None:
    contents = ROOT / "docs" / "README.md"
    seen, ahead = {contents}, [contents]
    while ahead:
        page = ahead.pop()
        for target in targets(page.read_text()):
            path = urlsplit(target).path
            there = (page.parent / path).resolve()
            if path.endswith(".md") and there not in seen and there.exists():
                seen.add(there)
                ahead.append(there)
    named = contents.read_text()  # a page that is made by a command is named, not linked
    lost = [p for p in (ROOT / "docs").rglob("*.md") if p not in seen and name(p) not in named]
    assert not lost, "link them from docs/README.md"


@every_page
def test_make_targets_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(page.read_text()):
        for target in re.findall(r"(?:^|[\s;&])make ([a-z][a-z-]*)", line):
            assert target in known, f"make {target}"


@cache
def command() -> Any:
    return typer.main.get_command(build())


def commands(here: Any) -> dict[str, Any]:
    """The subcommands of a group; of a command none."""
    return getattr(here, "commands", {})


def lines(page: Path) -> Iterator[str]:
    """Lines of code, those that go on joined; `hub` is the wrapper that docs/operators/hub.md makes."""
    for block in code(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"(?:-u|--owner) \S+ ", "", line.split(" #")[0])  # a user of that name
            yield re.sub(r"^\s*hub (?=[a-z])", "ayni hub ", line)


@every_page
def test_commands_exist(page: Path) -> None:
    for line in lines(page):
        for words in _COMMAND.findall(line):
            here = command()
            for word in words.split():
                if not commands(here):
                    break  # what follows are arguments
                assert word in commands(here), f"ayni{words}: there is no {word}"
                here = commands(here)[word]


@every_page
def test_options_of_commands_exist(page: Path) -> None:
    for line in lines(page):
        match = re.search(r"(?:^|[\s$(;|&/])ayni ((?:[a-z][a-z-]* ?)+)(.*)", line)
        if match is None:
            continue
        here = command()
        for word in match[1].split():
            here = commands(here).get(word, here)
        known = {o for p in here.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        own = re.split(r" -- |[|;&>)]", f" {match[2]} ")[0]
        for option in re.findall(r"(?<=\s)(--[a-z][a-z-]*)", own):
            assert option in known, f"{line.strip()}: {here.name} has no {option}"


@cache
def defined(path: Path) -> frozenset[str]:
    """The names that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return frozenset(names)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "developers").glob("*.md")), ids=name)
def test_code_that_is_named_exists(page: Path) -> None:
    for path, symbol in _REFERENCE.findall(page.read_text()):
        if "/" not in path and not symbol:
            continue  # a name in passing
        places = [p for p in (SRC / path, ROOT / path) if p.is_file()]
        assert places, f"there is no {path}"
        if symbol:
            assert symbol in defined(places[0]), f"{path} defines no {symbol}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "developers").glob("*.md")), ids=name)
def test_folders_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text()):
        assert (SRC / path).exists() or (ROOT / path).exists(), f"there is no {path}"


def test_the_index_of_decisions_names_every_page() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for page in folder.glob("[0-9]*.md"):
        assert f"({page.name})" in index
