"""Page tokens lead on, and only where they were made to lead."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.tes.paging import TokenError, decode, encode

positions = st.lists(st.text() | st.integers(0, (1 << 63) - 1), min_size=1, max_size=3)


@given(st.binary(min_size=1), st.text(alphabet="abc"), positions)
def test_a_token_gives_back_its_position(secret, question, position):
    token = encode(secret, question, position)
    assert decode(secret, question, token) == position
    assert token.isascii() and not set(token) & set("+/=&?")


@given(positions, st.integers(0), st.integers(0, 255))
def test_an_altered_token_is_refused(position, place, byte):
    raw = bytearray(base64.urlsafe_b64decode(encode(b"s", "q", position) + "=="))
    place %= len(raw)
    if raw[place] == byte:
        return
    raw[place] = byte
    with pytest.raises(TokenError):
        decode(b"s", "q", base64.urlsafe_b64encode(raw).decode())


@pytest.mark.parametrize(("secret", "question"), [(b"t", "q"), (b"s", "r")])
def test_a_token_of_another_hub_or_question_is_refused(secret, question):
    with pytest.raises(TokenError):
        decode(secret, question, encode(b"s", "q", [1]))


@given(st.text())
def test_any_other_text_is_no_token(text):
    with pytest.raises(TokenError):
        decode(b"s", "q", text)
