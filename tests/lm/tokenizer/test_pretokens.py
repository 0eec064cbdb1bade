"""How a text is cut before BPE."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from ayni.lm.tokenizer.pretokens import WORD, is_pretoken, pretokens

#: Letters that the expressions' libraries may know in different versions of Unicode are left out.
KNOWN = st.text(st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0x2FFF))


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Los k'iche' y t’anta", ["Los", " k'iche", "'", " y", " t’anta"]),
        ("g\u0303uara\u0303 mba'e", ["g\u0303uara\u0303", " mba'e"]),
        (
            "en 2026, 12345 años.\n\n  Fin",
            ["en", " ", "202", "6", ",", " ", "123", "45", " años", ".\n\n", " ", " Fin"],
        ),
        ("«hola»", ["«hola", "»"]),
    ],
)
def test_words_keep_their_apostrophes_and_marks(text: str, cut: list[str]) -> None:
    assert pretokens(text) == cut


@given(st.text())
def test_the_pieces_together_are_the_text(text: str) -> None:
    assert "".join(pretokens(text)) == text


@given(st.text(st.characters(categories=["L", "M", "N", "P", "Z"]), min_size=1, max_size=8))
def test_a_piece_is_a_piece_of_itself_unless_its_neighbour_made_it(text: str) -> None:
    for piece in pretokens(text):
        assert is_pretoken(piece)
    assert is_pretoken(text) == (pretokens(text) == [text])


@given(KNOWN)
def test_the_library_that_encodes_cuts_at_the_same_places(text: str) -> None:
    split = pre_tokenizers.Split(Regex(WORD), "isolated")
    assert [piece for piece, _ in split.pre_tokenize_str(text)] == pretokens(text)
