"""What text can be a charter, and by what it is named."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.protocol import charters

PLAIN = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=200)


@given(PLAIN.filter(str.strip), PLAIN.filter(str.strip))
def test_plain_text_is_taken_as_it_is_and_another_has_another_name(one: str, other: str) -> None:
    assert charters.check(one) == one
    assert charters.digest(one) == hashlib.sha256(one.encode()).hexdigest()
    assert (charters.digest(one) == charters.digest(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("x" * (charters.MAX_TEXT + 1), "bytes"),
        ("á" * (charters.MAX_TEXT // 2 + 1), "bytes"),
        ("all \x1b[8mhidden\x1b[0m", "U+001B"),
        ("one\rtwo", "U+000D"),
        ("a\x85b", "U+0085"),
        ("licence: \u202eeerf\u202c", "U+202E"),
        ("half \ud800", "half a character"),
    ],
)
def test_what_would_not_show_as_it_is_written_is_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word.replace("+", r"\+")):
        charters.check(text)


def test_lines_and_tabs_are_plain() -> None:
    text = "# Carta\n\n\tdatos: qullqa, ñandú, kʼiche’\n"
    assert charters.check(text) == text
