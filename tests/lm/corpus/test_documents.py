"""Texts are made one way, whoever wrote them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.corpus import documents
from ayni.lm.corpus.documents import MAX_NAMED, Document, Tally, Unreadable, clean


def test_letters_are_composed_lines_end_one_way_and_controls_go() -> None:
    dirty = "a\u0301\r\nb\rc\x0cd\u2028e\x07\x00\u200b\u202e\ufeff\ud800\u00adf\tg"
    assert clean(dirty) == "á\nb\nc\nd\nef\tg"


def test_joiners_that_write_words_stay() -> None:
    assert clean("می\u200cخواهم") == "می\u200cخواهم"


@given(st.text())
def test_cleaning_twice_is_cleaning_once_and_gives_utf8(text: str) -> None:
    try:
        once = clean(text)
    except Unreadable:
        return
    assert clean(once) == once
    once.encode()


@given(st.text(st.characters(categories=["L", "N", "Zs"])))
def test_letters_are_never_lost(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text)


def test_a_run_of_marks_that_would_take_forever_to_order_is_refused() -> None:
    with pytest.raises(Unreadable, match="combining marks"):
        clean("a" + "\u0316\u0301" * 100_000)


def test_a_tally_counts_all_and_names_the_first() -> None:
    tally = Tally()
    tally.add(Document("ñ", "es", "a"))
    for number in range(MAX_NAMED + 5):
        tally.lose(f"b#{number}", "torn")
    assert (tally.documents["es"], tally.bytes["es"], tally.broken) == (1, 2, MAX_NAMED + 5)
    assert len(tally.named) == MAX_NAMED
    assert tally.commonest() == "b#0: torn"


def test_a_corpus_has_no_more_languages_than_there_are_texts_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents, "MAX_LANGUAGES", 2)
    tally = Tally()
    for language in ("es", "quy", "es"):
        tally.add(Document("a", language, "x"))
    with pytest.raises(Unreadable, match="more than 2 languages"):
        tally.add(Document("a", "gn", "x"))
