"""Byte-level BPE from weighted counts."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.tokenizer.bpe import learn
from tests.lm.tokenizer import reference

FEW = st.binary(min_size=1, max_size=8).map(lambda word: bytes(b"abc"[value % 3] for value in word))
WORDS = st.dictionaries(st.one_of(FEW, st.binary(max_size=6)), st.integers(0, 9), max_size=20)


@given(WORDS, st.integers(0, 30))
def test_merges_are_those_of_the_plainest_algorithm(words: dict[bytes, int], most: int) -> None:
    assert learn(words, most) == reference.learn(words, most)


@given(WORDS, st.randoms(use_true_random=False))
def test_the_order_of_the_words_makes_no_difference(
    words: dict[bytes, int], chance: random.Random
) -> None:
    shuffled = list(words.items())
    chance.shuffle(shuffled)
    assert learn(dict(shuffled), 20) == learn(words, 20)


@given(WORDS, st.integers(1, 10**30))
def test_only_proportions_count_however_large(words: dict[bytes, int], factor: int) -> None:
    assert learn({word: n * factor for word, n in words.items()}, 20) == learn(words, 20)


@given(WORDS)
def test_every_token_is_made_in_one_way_only(words: dict[bytes, int]) -> None:
    made = [left + right for left, right in learn(words, 100)]
    assert len(set(made)) == len(made)
    assert all(len(token) > 1 for token in made)


@given(WORDS, st.integers(0, 10), st.integers(0, 10))
def test_a_smaller_vocabulary_is_the_beginning_of_a_larger_one(
    words: dict[bytes, int], less: int, more: int
) -> None:
    assert learn(words, less + more)[:less] == learn(words, less)


def test_equally_frequent_pairs_are_taken_in_the_order_of_their_bytes() -> None:
    assert learn({b"cd": 2, b"ab": 2, b"\xffa": 2, b"aa": 2}, 4) == [
        (b"a", b"a"), (b"a", b"b"), (b"c", b"d"), (b"\xff", b"a"),
    ]  # fmt: skip


def test_a_run_of_one_letter_is_merged_from_the_left() -> None:
    assert learn({b"aaaaa": 1}, 10) == [(b"a", b"a"), (b"aa", b"a"), (b"aa", b"aaa")]


def test_progress_is_told_at_every_merge() -> None:
    told: list[int] = []
    learn({b"abcd": 1}, 3, told.append)
    assert told == [1, 2, 3]
