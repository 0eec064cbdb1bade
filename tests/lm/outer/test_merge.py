"""Merging is the published algorithm, in memory that does not grow with the model."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.outer.blocks import CHUNK, BlocksError, chunks, digest
from ayni.lm.outer.merge import Cosines, Step, apply, merge, norm
from ayni.lm.outer.weights import clip, raw_weight, shares
from tests.lm.outer.reference import Reference


def vector(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


@pytest.mark.parametrize(("lr", "momentum"), [(1.0, 0.0), (0.7, 0.0), (0.7, 0.9)])
def test_rounds_agree_with_the_independent_reference(lr: float, momentum: float) -> None:
    size = 200_001
    start = vector(size, 0)
    reference, weights, speed = Reference(start), start, None
    for turn in range(6):
        deltas = {site: vector(size, 10 * turn + i) for i, site in enumerate("abc", 1)}
        raw = {"a": raw_weight(900, 0), "b": raw_weight(500, 1), "c": raw_weight(4000, 2)}
        limits = {"a": 1e9, "b": 200.0, "c": 1e9}
        part = shares([raw[s] for s in "abc"])
        factors = [
            w * clip(norm(chunks(deltas[s])), limits[s]) for w, s in zip(part, "abc", strict=True)
        ]
        past = None if speed is None else chunks(speed)
        found = list(merge([chunks(deltas[s]) for s in "abc"], factors, Step(lr, momentum), past))
        update = join([f.update for f in found])
        speed = join([f.momentum for f in found if f.momentum is not None]) if momentum else None
        weights = join(list(apply(chunks(weights), chunks(update))))
        wanted = reference.round(deltas, raw, lr, momentum, limits)
        np.testing.assert_allclose(update, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights, reference.weights, rtol=1e-5, atol=1e-5)


def test_the_plain_mean_of_equal_sites_is_the_mean_of_their_weights() -> None:
    old, new = vector(1000, 0), [vector(1000, s) for s in (1, 2, 3)]
    deltas = [chunks(old - n) for n in new]
    update = join([s.update for s in merge(deltas, [1 / 3] * 3, Step())])
    np.testing.assert_allclose(old - update, np.mean(new, axis=0), atol=1e-6)


def test_one_site_alone_is_followed_exactly() -> None:
    delta = vector(1000, 1)
    (found,) = merge([chunks(delta)], [1.0], Step())
    assert (found.update == delta).all() and found.momentum is None


def test_known_bits_of_a_step() -> None:
    """Recorded once: the same on every machine."""
    steps = np.arange(70_001, dtype=np.uint32) * np.uint32(2654435761)
    a = (steps >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)
    found = list(
        merge([chunks(a), chunks(a * a)], [0.3, 0.7], Step(0.7, 0.9), chunks(a[::-1].copy()))
    )
    assert (
        digest(f.update for f in found)
        == "028450509e00f1382a747879b516361abdde7ca281a748f6553b44bcdb01e14d"
    )
    assert (
        digest(f.momentum for f in found if f.momentum is not None)
        == "dbbf1d43de4fa269f5b7aa1ab57e0ef8f4b1511fcdb7fa22488779ef633f5693"
    )
    assert norm(chunks(a)).hex() == "0x1.3181dcd5e307ep+6"


def test_vectors_of_different_lengths_are_not_merged() -> None:
    with pytest.raises(BlocksError):
        list(merge([chunks(vector(5, 0)), chunks(vector(6, 0))], [0.5, 0.5], Step()))
    with pytest.raises(ValueError, match="one at least"):
        list(merge([], [], Step()))


def test_memory_is_a_few_chunks_a_site_however_long_the_vectors() -> None:
    chunk = vector(CHUNK, 0)
    tracemalloc.start()
    streams = [(chunk.copy() for _ in range(5)) for _ in range(3)]
    speed = (chunk.copy() for _ in range(5))
    for _ in merge(streams, [0.2, 0.3, 0.5], Step(0.7, 0.9), speed):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (3 * 4 + 6) * 4 * CHUNK  # the last row, the one at hand, and the next


def test_momentum_never_becomes_subnormal() -> None:
    speed = np.full(10, 2.0**-99, np.float32)
    (found,) = merge([chunks(np.zeros(10, np.float32))], [1.0], Step(1.0, 0.25), chunks(speed))
    assert found.momentum is not None and not found.momentum.any()


def test_cosines() -> None:
    a = vector(5000, 1)
    watch = Cosines(["a", "b", "c"])
    for row in zip(chunks(a), chunks(-2 * a), chunks(np.zeros(5000, np.float32)), strict=True):
        watch.add(row)
    assert watch.found() == {"a b": pytest.approx(-1), "a c": 0.0, "b c": 0.0}


def test_sampled_cosines_are_near_the_whole_ones() -> None:
    a, b = vector(2_000_000, 1), vector(2_000_000, 2)
    watch = Cosines(["a", "b"])
    watch.add([a, a + b])
    assert watch.found()["a b"] == pytest.approx(2**-0.5, abs=0.01)


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 2)), min_size=1, max_size=9))
def test_weights_are_a_partition_of_one(found: list[tuple[int, int]]) -> None:
    part = shares([raw_weight(tokens, late) for tokens, late in found])
    assert sum(part) == pytest.approx(1)
    assert all(0 < weight <= 1 for weight in part)


def test_what_is_late_weighs_less() -> None:
    assert [raw_weight(1000, late) for late in (0, 1, 2)] == [
        1000,
        800,
        pytest.approx(666.67, abs=0.01),
    ]
    with pytest.raises(ValueError, match="positive"):
        shares([1.0, 0.0])
    with pytest.raises(ValueError, match="positive"):
        shares([])


def test_clipping_shortens_and_never_lengthens() -> None:
    assert clip(2.0, None) == clip(2.0, 3.0) == 1.0
    assert clip(6.0, 3.0) == 0.5
