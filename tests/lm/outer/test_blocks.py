"""Reductions and digests have the same bits everywhere."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator
from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.outer.blocks import (
    CHUNK,
    TILE,
    BlocksError,
    abreast,
    ahead,
    chunks,
    digest,
    dot,
    sizes,
)


def vector(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


@given(st.lists(st.floats(width=32, allow_nan=False, min_value=-1e6, max_value=1e6), max_size=300))
def test_a_dot_product_is_that_of_exact_arithmetic_but_for_the_last_bits(
    values: list[float],
) -> None:
    a = np.array(values, np.float32)
    exact = sum((Fraction(float(x)) ** 2 for x in a), Fraction(0))
    assert math.isclose(dot(a, a), float(exact), rel_tol=1e-14)


@pytest.mark.parametrize("size", [1, 3, TILE - 1, TILE, 3 * TILE + 5])
def test_a_vector_times_itself_is_to_the_bit_what_it_is_times_its_copy(size: int) -> None:
    a = vector(size)
    assert dot(a, a) == dot(a, a.copy())


@pytest.mark.parametrize("size", [1, 2, 3, TILE - 1, TILE, TILE + 1, 3 * TILE + 5])
def test_a_dot_product_does_not_depend_on_what_lay_in_the_scratch(size: int) -> None:
    a, b = vector(size), vector(size, 1)
    dirty = np.full(TILE, np.nan)
    assert dot(a, b, dirty) == dot(a, b)
    assert math.isclose(dot(a, b), float(a.astype(float) @ b.astype(float)), rel_tol=1e-9)


def test_known_bits() -> None:
    """Recorded once: they hold on every machine and with every NumPy, or sites part ways."""
    steps = np.arange(200_003, dtype=np.uint32) * np.uint32(2654435761)
    a = (steps >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    assert dot(a, a).hex() == "0x1.046c4533fb070p+14"
    assert digest(chunks(a)) == "7c2d2edf1be37a9803006fb7a83dc00970da2b0ec5905db823dbb66b2c05eea5"


def test_the_digest_is_of_the_values_not_of_how_they_lie() -> None:
    a = vector(1000)
    assert digest(chunks(a)) == digest(chunks(np.repeat(a, 2)[::2]))
    assert digest(chunks(a)) == digest(chunks(a.astype(">f4")))
    changed = a.copy()
    changed[500] = np.nextafter(changed[500], np.float32(9))
    assert digest(chunks(a)) != digest(chunks(changed))


def test_vectors_of_different_lengths_do_not_go_abreast() -> None:
    for a, b in ((5, 6), (CHUNK, CHUNK + 1), (CHUNK + 1, CHUNK + 2)):
        with pytest.raises(BlocksError, match="different lengths"):
            list(abreast([chunks(np.zeros(a, np.float32)), chunks(np.zeros(b, np.float32))]))


def test_chunks_are_as_announced() -> None:
    for size in (1, CHUNK - 1, CHUNK, CHUNK + 1):
        assert [c.size for c in chunks(np.zeros(size, np.float32))] == list(sizes(size))


def test_what_is_made_ahead_comes_in_its_order_and_at_most_one_item_early() -> None:
    made: list[int] = []

    def numbers() -> Generator[int]:
        for n in range(5):
            made.append(n)
            yield n

    for n in ahead(numbers()):
        assert made in ([*range(n + 1)], [*range(min(n + 2, 5))])
    assert made == [0, 1, 2, 3, 4]


def test_an_error_ahead_comes_where_its_item_would_have() -> None:
    def items() -> Generator[int]:
        yield 1
        raise BlocksError("the second cannot be made")

    given = ahead(items())
    assert next(given) == 1
    with pytest.raises(BlocksError, match="the second"):
        next(given)


def test_closed_early_it_closes_what_it_reads_and_leaves_no_thread() -> None:
    closed: list[bool] = []

    def items() -> Generator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    with closing(ahead(items())) as given:
        assert next(given) == 0
    assert closed == [True]
    assert not [one for one in threading.enumerate() if one.name.startswith("ahead")]
