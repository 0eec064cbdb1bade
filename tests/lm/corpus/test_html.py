"""Text out of pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.corpus import html
from ayni.lm.corpus.documents import Unreadable

PAGE = """<!doctype html><html lang="es"><head><title>Acta</title><style>p {}</style></head><body>
<nav>Inicio | Contacto</nav><h1>Título <b>ne</b>gro</h1>
<p>uno
   dos<br>tres &amp; cuatro<script>alert("no")</script></p>
<article><h2>1</h2><p>a</p><article>dentro</article></article>
<article lang="quy"><p>b</p></article>
<table><tr><td>x</td><td>y</td></tr></table><!-- nada --></body></html>"""


def test_blocks_are_paragraphs_and_what_is_no_text_goes() -> None:
    (part,) = html.parts(PAGE, by_article=False)
    assert part.text.split("\n\n") == [
        "Título negro", "uno dos\ntres & cuatro", "1", "a", "dentro", "b", "x  y",
    ]  # fmt: skip
    assert (part.language, part.number) == ("es", 0)


def test_articles_are_parts_with_a_language_of_their_own() -> None:
    rest, first, second = html.parts(PAGE, by_article=True)
    assert "Título" in rest.text
    assert "dentro" not in rest.text
    assert (first.text, first.language, first.number) == ("1\n\na\n\ndentro", "es", 1)
    assert (second.text, second.language, second.number) == ("b", "quy", 2)


@given(st.text(max_size=200))
def test_any_text_is_a_page(text: str) -> None:
    for part in html.parts(text, by_article=True):
        assert "\n\n\n" not in part.text


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=9), min_size=1))
def test_no_paragraph_is_lost_or_joined_to_another(words: list[str]) -> None:
    page = "".join(f"<p>{word}</p>" for word in words)
    (part,) = html.parts(page, by_article=False)
    assert part.text.split("\n\n") == words


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("ñ".encode(), "ñ"),
        ('<meta charset="latin-1">ñ'.encode("latin-1"), "ñ"),
        ("<meta http-equiv=c content='text/html; charset=windows-1252'>“".encode("cp1252"), "“"),
        ("\ufeffñ".encode("utf-16"), "ñ"),
        ("\ufeff<meta charset='latin-1'>ñ".encode(), "ñ"),
    ],
)
def test_a_page_says_its_encoding(data: bytes, text: str) -> None:
    assert text in html.decode(data, "utf-8")


def test_an_encoding_that_is_none_or_does_not_fit_is_told() -> None:
    with pytest.raises(Unreadable, match="'rot13' is no encoding of texts"):
        html.decode(b"<meta charset=rot13>", "utf-8")
    with pytest.raises(Unreadable, match=r"not in utf-8 .* --rule encoding=NAME"):
        html.decode("ñ".encode("latin-1"), "utf-8")


def test_a_page_as_deep_as_an_abyss_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Unreadable, match="nested more than"):
        list(html.parts("<div>" * 400_000, by_article=False))


def test_many_paragraphs_that_are_never_closed_are_not_deep() -> None:
    (part,) = html.parts("<p>a<li>b<br>" * 10_000, by_article=False)
    assert part.text.count("a") == 10_000
