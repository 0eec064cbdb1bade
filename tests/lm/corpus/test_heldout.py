"""What is held out."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.corpus import heldout
from ayni.lm.corpus.documents import Document
from ayni.lm.corpus.heldout import Folds, normalised, paragraphs, split

LETTERS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=30)
SHARES = st.floats(0, 1)


def plain(text: str, language: str = "es") -> Document:
    return Document(text, language, "here")


@given(st.text(max_size=300), SHARES)
def test_a_document_is_divided_without_loss(text: str, share: float) -> None:
    folds = split(plain(text), share)
    assert sorted(folds.train + folds.heldout) == sorted(text)
    assert "".join(whole for _, whole in paragraphs(text)) == text


@given(LETTERS, LETTERS, LETTERS, SHARES)
def test_a_paragraph_is_held_out_whatever_stands_around_it(
    one: str, before: str, after: str, share: float
) -> None:
    alone = split(plain(one), share)
    among = split(plain(f"{before}\n\n{one}\n\n{after}"), share)
    part = among.heldout if alone.heldout else among.train
    assert one in part.split("\n\n")


@given(LETTERS, SHARES)
def test_language_and_site_do_not_decide(text: str, share: float) -> None:
    here = split(Document(text, "es", "a.txt#1"), share)
    there = split(Document(text, "quy", "b.html"), share)
    assert here == there


@given(st.lists(LETTERS, max_size=8), SHARES, SHARES)
def test_a_larger_share_holds_out_what_a_smaller_one_does(
    parts: list[str], one: float, other: float
) -> None:
    document = plain("\n\n".join(parts))
    small, large = sorted((one, other))
    less = split(document, small).heldout.split("\n\n")
    more = split(document, large).heldout.split("\n\n")
    assert set(less) - {""} <= set(more) | {part.strip() for part in more}


@given(LETTERS, LETTERS, LETTERS, SHARES)
def test_translations_share_a_fold_and_are_not_divided(
    one: str, other: str, group: str, share: float
) -> None:
    spanish = split(Document(one, "es", "a", group), share)
    quechua = split(Document(f"{other}\n\n{one}", "quy", "b", group), share)
    assert bool(spanish.heldout) == bool(quechua.heldout)
    assert "" in (spanish.train, spanish.heldout)
    assert "" in (quechua.train, quechua.heldout)


@pytest.mark.parametrize(
    "variant",
    [
        "  TODOS los seres\n  humanos nacen LIBRES… ",
        "«Todos los seres humanos», nacen libres!",
        unicodedata.normalize("NFD", "Todos los seres humanos nacen libres"),
        "Todos los seres humanos nacen ﬁbres".replace("ﬁ", "li"),
    ],
)
def test_two_printings_of_a_paragraph_have_one_key(variant: str) -> None:
    assert normalised(variant) == normalised("Todos los seres humanos nacen libres.")


def test_without_blank_lines_each_line_is_a_paragraph() -> None:
    assert [words for words, _ in paragraphs("uno\ndos\n")] == ["uno", "dos"]
    assert [words for words, _ in paragraphs("uno\ndos\n \n\ntres")] == ["uno\ndos", "tres"]


def test_the_share_is_met_within_each_language() -> None:
    chance = random.Random(7)
    for alphabet in ("abcdefghij", "ãẽĩõũỹg̃ñ", "ขคงจฉช"):
        texts = ["".join(chance.choices(alphabet, k=12)) for _ in range(20_000)]
        held = sum(bool(split(plain(text), 0.05).heldout) for text in texts)
        assert 880 < held < 1120  # five standard deviations are 154


def test_the_choice_never_changes() -> None:
    """Sites with other versions of Ayni must hold out the same: this list is part of the format."""
    keys = [f"paragraph\0{number}" for number in range(200)]
    found = [number for number, key in enumerate(keys) if heldout.held_out(key, 0.05)]
    assert found == FROZEN


def test_nothing_and_everything_can_be_held_out() -> None:
    assert split(plain("uno\n\ndos"), 0) == Folds("uno\n\ndos", "")
    assert split(plain("uno\n\ndos"), 1) == Folds("", "uno\n\ndos")
    assert split(plain("---\n\n***"), 1).heldout == ""  # nothing to be read in it


FROZEN = [40, 42, 55, 66, 85, 88, 104, 134, 164, 175, 181]
