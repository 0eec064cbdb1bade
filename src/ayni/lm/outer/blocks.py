"""Vectors too large for memory: fixed chunks, and reductions and digests whose bits depend on nothing else.

A vector travels as an iterable of chunks: float32 arrays of CHUNK elements, the last one shorter.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Chunks = Iterable[Floats]
T = TypeVar("T")

CHUNK = 1 << 22  # float32 values: 16 MiB
TILE = (
    1 << 16
)  # values: what one pass over a chunk takes at a time, so that its scratch stays in the cache
DIGEST = 32  # bytes


class BlocksError(ValueError):
    """Chunks that do not fit each other or what was announced."""


def chunks(vector: Floats) -> Iterator[Floats]:
    """Views of a vector's chunks."""
    for start in range(0, vector.size, CHUNK):
        yield vector[start : start + CHUNK]


def sizes(count: int) -> Iterator[int]:
    """The number of values in each chunk of a vector of `count` values."""
    for start in range(0, count, CHUNK):
        yield min(CHUNK, count - start)


def tiles(size: int, tile: int = TILE) -> Iterator[slice]:
    """The tiles of a chunk of `size` values."""
    for start in range(0, size, tile):
        yield slice(start, min(start + tile, size))


def abreast(streams: Iterable[Chunks]) -> Generator[tuple[Floats, ...]]:
    """The chunks of several vectors, side by side.

    Raises:
        BlocksError: the vectors are of different lengths.
    """
    for row in zip_longest(*streams):
        if any(chunk is None or chunk.size != row[0].size for chunk in row):
            raise BlocksError("the vectors are of different lengths")
        yield row


def ahead(items: Generator[T]) -> Generator[T]:
    """The items, each made by a thread while the one before is used: NumPy and hashes hold no other up.

    Order and bits are the same. Close it before what the items are made from.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, items, None)
        try:
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            coming.exception()  # waits: what an item wants that nobody reads is no matter
            items.close()


def dot(a: Floats, b: Floats, scratch: NDArray[np.float64] | None = None) -> float:
    """The dot product of two chunks.

    Products of float32 are exact in float64; they are summed by halves, elementwise, since the order in
    which `sum` and BLAS add depends on version and processor.
    """
    scratch = np.empty(TILE) if scratch is None else scratch
    total = 0.0
    for tile in tiles(a.size):
        size = tile.stop - tile.start
        if a is b:  # widened apart from multiplying: NumPy would do both through a small buffer
            scratch[:size] = a[tile]
            scratch[:size] *= scratch[:size]
        else:
            np.multiply(a[tile], b[tile], out=scratch[:size], dtype=np.float64)
        total += _sum_by_halves(scratch, size)
    return total


def _sum_by_halves(values: NDArray[np.float64], size: int) -> float:
    """The sum of the first `size` values; destroys them."""
    width = 1 << max(size - 1, 0).bit_length()
    values[size:width] = 0.0
    while width > 1:
        width //= 2
        values[:width] += values[width : 2 * width]
    return float(values[0])


class Digest:
    """The digest of a vector's bytes (little-endian float32): BLAKE3 of its chunks' BLAKE3.

    A vector is hashed at each version by everybody who holds it: five times as fast as BLAKE2b, and as
    SHA-256 where the processor has no instructions for it. Chunks can be hashed in parallel.
    """

    def __init__(self) -> None:
        self._whole = blake3()

    def add(self, chunk: Floats) -> None:
        little = np.ascontiguousarray(chunk, dtype="<f4")
        self._whole.update(blake3(little.data.cast("B")).digest(length=DIGEST))

    def hex(self) -> str:
        return self._whole.hexdigest(length=DIGEST)


def digest(vector: Chunks) -> str:
    """The digest of a whole vector, in hexadecimal."""
    whole = Digest()
    for chunk in vector:
        whole.add(chunk)
    return whole.hex()
