"""Pseudo-gradients merged, and the outer step (DiLoCo, arXiv 2311.08105), chunk by chunk.

A pseudo-gradient is *old global − new local*, so the global weights step against it. Memory is a chunk
of each site's vector, whatever their length. Everything is elementwise in float64 and rounded once;
contributions are taken in the order given, which is that of site names.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ayni.lm.outer.blocks import TILE, Chunks, Floats, abreast, ahead, dot, tiles

_SAMPLE = 8
#: Values that are merged at a time: what a step needs of them stays in the cache.
_STRIP = 1 << 16
_TINY = np.float32(2.0**-100)  # below, momentum is zero: it decays, and must not become subnormal


@dataclass(frozen=True)
class Step:
    """How the merged pseudo-gradient becomes an update: SGD with Nesterov momentum, as PyTorch has it.

    `lr` 1 and `momentum` 0 are the plain mean: the global weights become the mean of the sites'.
    """

    lr: float = 1.0
    momentum: float = 0.0


@dataclass(frozen=True)
class Stepped:
    """A chunk of the update (to be subtracted from the weights), and of the momentum after it."""

    update: Floats
    momentum: Floats | None
    row: Sequence[Floats]  # the sites' chunks that it comes from


def norm(vector: Chunks) -> float:
    """The Euclidean norm of a vector: float64 sums in a fixed order."""
    scratch = np.empty(TILE)
    total = 0.0
    for chunk in vector:
        total += dot(chunk, chunk, scratch)
    return math.sqrt(total)


def merge(
    deltas: Sequence[Chunks], weights: Sequence[float], step: Step, momentum: Chunks | None = None
) -> Generator[Stepped]:
    """The update from the sites' pseudo-gradients.

    With g the weighted sum: v ← μ·v + g, and the update is lr·(g + μ·v); without momentum lr·g. A thread
    reads all vectors' next chunks meanwhile: one to each would mostly wait for the interpreter. Close it
    before what it reads.

    Args:
        deltas: in the order of site names.
        weights: what each is multiplied by: its share, times what clips it.
        momentum: v after the version that is stepped from; None: zero.

    Raises:
        BlocksError: the vectors are of different lengths.
    """
    if len(deltas) != len(weights) or not deltas:
        raise ValueError("each pseudo-gradient has its weight, and there is one at least")
    past = [] if momentum is None or step.momentum == 0 else [momentum]
    with closing(ahead(abreast([*deltas, *past]))) as rows:
        for row in rows:
            old = row[-1] if past else None
            yield _step_chunk(row[: len(deltas)], weights, step, old)


def _step_chunk(
    row: Sequence[Floats], weights: Sequence[float], step: Step, old: Floats | None
) -> Stepped:
    update = np.empty_like(row[0])
    new = np.empty_like(row[0]) if step.momentum else None
    scratch = np.empty((2, _STRIP))
    for tile in tiles(update.size, _STRIP):
        mean = _weighted_sum([chunk[tile] for chunk in row], weights, scratch)
        if new is not None:
            speed = mean if old is None else mean + step.momentum * old[tile].astype(np.float64)
            new[tile] = speed
            mean = mean + step.momentum * speed
        update[tile] = mean if step.lr == 1 else step.lr * mean
    if new is not None:
        new[np.abs(new) < _TINY] = 0
    return Stepped(update, new, row)


def _weighted_sum(
    row: Sequence[Floats], weights: Sequence[float], scratch: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sum of a strip of each vector, in order; it lies in `scratch` until the next."""
    total, term = scratch[0, : row[0].size], scratch[1, : row[0].size]
    total[:] = row[0]  # widened apart from multiplying: NumPy would do both through a small buffer
    total *= weights[0]
    for values, weight in zip(row[1:], weights[1:], strict=True):
        term[:] = values
        term *= weight
        total += term
    return total


def apply(weights: Chunks, update: Chunks) -> Iterator[Floats]:
    """The weights after an update: one float32 subtraction each, at the coordinator and at each site.

    Raises:
        BlocksError: weights and update are of different lengths.
    """
    for old, step in abreast([weights, update]):
        yield old - step


class Cosines:
    """The cosines between named vectors, from a sample of their tiles: every eighth.

    Logged between sites and between successive updates: they say when momentum hurts. Honest sites
    with different languages have negative ones, so they judge nobody.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._scratch = np.empty(TILE)
        self._products = [[0.0] * len(names) for _ in names]

    def add(self, row: Sequence[Floats]) -> None:
        """Take in a chunk of each vector."""
        for tile in list(tiles(row[0].size))[::_SAMPLE]:
            for i, first in enumerate(row):
                for j, second in enumerate(row[i:], i):
                    self._products[i][j] += dot(first[tile], second[tile], self._scratch)

    def found(self) -> dict[str, float]:
        """By the two names; 0 where one of the vectors is zero."""
        lengths = [math.sqrt(self._products[i][i]) for i in range(len(self._names))]
        cosines = {}
        for i, first in enumerate(self._names):
            for j, second in enumerate(self._names[i + 1 :], i + 1):
                scale = lengths[i] * lengths[j]
                cosines[f"{first} {second}"] = self._products[i][j] / scale if scale else 0.0
        return cosines
