"""What text can be a charter, and by what it is named."""

from __future__ import annotations

import hashlib
from typing import Any

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


DIGESTS = {"down": "d" * 64, "up": "e" * 64}


def said(state: charters.State, digest: str = "e" * 64, project: str = "p", why: str = "") -> Any:
    return charters.CharterStatus(project=project, digest=digest, state=state, at=1.0, why=why)


@pytest.mark.parametrize(
    ("told", "refused", "unaccepted"),
    [
        (None, False, "down"),
        ([], False, "down"),
        ([said("accepted", "d" * 64)], False, "up"),
        ([said("accepted", "d" * 64), said("asked")], False, "up"),
        ([said("accepted", "d" * 64), said("accepted")], False, None),
        ([said("accepted", "d" * 64), said("accepted", project="q")], False, "up"),
        ([said("accepted", "d" * 64), said("refused")], True, "up"),
        ([said("refused", "f" * 64)], False, "down"),
    ],
)
def test_a_site_takes_tasks_whose_charters_it_has_accepted_and_none_that_it_refused(
    told: Any, refused: bool, unaccepted: str | None
) -> None:
    assert (charters.refusal(told, "p", DIGESTS) is not None) == refused
    assert charters.unaccepted(told, "p", DIGESTS) == unaccepted
    assert charters.refusal(told, "p", {}) is charters.unaccepted(told, "p", {}) is None


def test_a_refusal_names_the_channel_and_the_operators_reason() -> None:
    no = charters.refusal([said("refused", why="not ours")], "p", DIGESTS)
    assert no is not None and no.code == "charter" and no.parameters["channel"] == "up"
    assert no.message == "its operator refused the charter of channel up: not ours"
