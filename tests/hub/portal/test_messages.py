"""Nothing on a page is left untranslated, and what is compiled is what is written."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.template.base import Lexer, TokenType
from django.utils.translation.template import templatize

import ayni.hub

HUB = Path(ayni.hub.__file__).parent
TEMPLATES = sorted((HUB / "portal/templates").rglob("*.html"))
LOCALE = HUB / "locale"
CALLS = {"gettext", "gettext_lazy", "gettext_noop", "ngettext", "_", "_n"}
#: Names, commands and signs, which are the same in every language.
SAME = {"Ayni", "UTC", "SHA-256", "ayni store get", "CPU"}
_TEXT_ATTRIBUTES = re.compile(r'\b(?:title|aria-label|alt|placeholder)="([^"]*)"')
_STRING = r'u?(?:"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')'


def entries(language: str) -> dict[str, tuple[str, list[str]]]:
    """msgid → plural, translations; a small reading of the PO format."""
    text = (LOCALE / language / "LC_MESSAGES/django.po").read_text()
    found = {}
    for block in re.split(r"\n\s*\n", text):
        lines = [x for x in block.splitlines() if not x.startswith("#")]
        parts: list[tuple[str, str]] = []
        for line in lines:
            key, _, value = line.partition('"')
            if key.strip():
                parts.append((key.strip(), ""))
            parts[-1] = (parts[-1][0], parts[-1][1] + ast.literal_eval('"' + value))
        said = dict(parts)
        if said.get("msgid"):
            strings = [v for k, v in parts if k.startswith("msgstr")]
            found[said["msgid"]] = (said.get("msgid_plural", ""), strings)
    return found


def python_texts() -> Iterator[str]:
    for path in HUB.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in CALLS and node.args:
                value = node.args[0]
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def template_texts() -> Iterator[str]:
    for path in TEMPLATES:
        for match in re.finditer(rf"\bn?gettext\(({_STRING})", templatize(path.read_text())):
            yield ast.literal_eval(match[1])


def test_every_text_of_the_source_is_in_every_catalogue() -> None:
    texts = {*python_texts(), *template_texts()}
    assert len(texts) > 300
    for language in ("es", "pt", "en"):
        assert texts - entries(language).keys() == set(), f"{language}: run 'make messages'"


@pytest.mark.parametrize("language", ["pt", "en"])
def test_every_text_is_translated(language: str) -> None:
    for text, (plural, said) in entries(language).items():
        assert len(said) == (2 if plural else 1), text
        for one in said:
            assert one, f"{language}: no translation of {text!r}"
            assert names(one) <= names(text) | names(plural), text
            assert re.findall(r"</?\w+>", one) == re.findall(r"</?\w+>", text), text


def names(text: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", text))


@pytest.mark.parametrize("language", ["es", "pt", "en"])
def test_the_compiled_catalogue_is_that_of_the_source(language: str) -> None:
    with (LOCALE / language / "LC_MESSAGES/django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for text, (plural, said) in entries(language).items():
        if said[0] and plural:
            assert [compiled.ngettext(text, plural, n) for n in (1, 2)] == said
        elif said[0]:
            assert compiled.gettext(text) == said[0], "run 'make messages'"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_a_template_holds_no_text_outside_of_its_translations(path: Path) -> None:
    assert untranslated(path.read_text()) == []


def untranslated(template: str) -> list[str]:
    """Text and text-like attributes that no translate tag holds."""
    kept, inside = [], False
    for token in Lexer(template).tokenize():
        if token.token_type is TokenType.BLOCK:
            name = token.contents.split()[0]
            inside = name == "blocktranslate" or (inside and name != "endblocktranslate")
        elif token.token_type is TokenType.TEXT and not inside:
            kept.append(token.contents)
        elif token.token_type is TokenType.VAR:
            kept.append("{}")
    html = "".join(kept)
    texts = _TEXT_ATTRIBUTES.findall(html) + re.sub(r"<[^>]*>", "\n", html).split("\n")
    plain = [re.sub(r"ayni_…|\{\}|[^\w\s-]", "", t).strip() for t in texts]
    return [t for t in plain if re.search(r"[^\W\d_]", t) and t not in SAME]


def test_the_search_for_untranslated_text_finds_it() -> None:
    assert untranslated('<p title="Hola">{{ x }}</p>') == ["Hola"]
    assert untranslated("<p>Hola {% translate 'mundo' %}</p>") == ["Hola"]
    assert untranslated("{% blocktranslate %}Hola{% endblocktranslate %}<b>{{ x }}</b>") == []
