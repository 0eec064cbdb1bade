"""A model's parameters and the one vector that they are to the outer loop. NumPy only.

Names are sorted (as code points), values float32: that is the flat order in which coordinator and
sites send, merge and hash. A vector travels as chunks (`outer.blocks`), so that a model of any size
passes through a few MiB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ayni.errors import UserError
from ayni.lm.outer import blocks
from ayni.lm.outer.blocks import CHUNK, BlocksError, Chunks, Floats

Shapes = Mapping[str, tuple[int, ...]]
Named = Iterable[tuple[str, Floats]]


def flat_order(names: Iterable[str]) -> list[str]:
    """The names as everybody in a run orders them."""
    return sorted(names)


def items(parameters: Mapping[str, Floats]) -> Iterator[tuple[str, Floats]]:
    """Names and arrays in the flat order."""
    for name in flat_order(parameters):
        yield name, parameters[name]


def count(shapes: Shapes) -> int:
    """How many values the parameters have."""
    return sum(math.prod(shape) for shape in shapes.values())


def chunks(parameters: Named) -> Iterator[Floats]:
    """The vector of parameters that come in the flat order. Each chunk is the receiver's own.

    Raises:
        ValueError: out of order, or not float32.
    """
    buffer, filled, before = np.empty(CHUNK, np.float32), 0, ""
    for name, array in parameters:
        if name <= before or array.dtype != np.float32:
            raise ValueError(f"{name} ({array.dtype}) after {before}: not float32 in flat order")
        before, values = name, np.ascontiguousarray(array).reshape(-1)
        while values.size:
            taken = min(values.size, CHUNK - filled)
            buffer[filled : filled + taken] = values[:taken]
            filled, values = filled + taken, values[taken:]
            if filled == CHUNK:
                yield buffer
                buffer, filled = np.empty(CHUNK, np.float32), 0
    if filled:
        yield buffer[:filled]


def arrays(vector: Chunks, shapes: Shapes) -> Iterator[tuple[str, Floats]]:
    """The parameters in a vector, in the flat order: the inverse of `chunks`.

    Raises:
        BlocksError: the vector is shorter or longer than the shapes say.
    """
    given, rest = iter(vector), np.empty(0, np.float32)
    for name in flat_order(shapes):
        array, filled = np.empty(math.prod(shapes[name]), np.float32), 0
        while filled < array.size:
            if not rest.size and (rest := next(given, rest)).size == 0:
                raise BlocksError(f"the vector ends within {name}")
            taken = min(rest.size, array.size - filled)
            array[filled : filled + taken] = rest[:taken]
            filled, rest = filled + taken, rest[taken:]
        yield name, array.reshape(shapes[name])
    if rest.size or next(given, rest).size:
        raise BlocksError("the vector goes on after the last parameter")


def digest(parameters: Named) -> str:
    """The digest of parameters that come in the flat order, by which everybody compares versions."""
    return blocks.digest(chunks(parameters))


def check_shapes(wanted: Shapes, found: Shapes, *, whose: str) -> None:
    """Refuse parameters that are not the model's, by the first name that differs.

    Raises:
        UserError: a name that is missing, unknown, or of another shape.
    """
    for name in flat_order(set(wanted) | set(found)):
        if name not in found:
            raise UserError(f"{whose} lacks {name}: it belongs to another model")
        if name not in wanted:
            raise UserError(f"{whose} has {name}, which the model has not: it belongs to another")
        if tuple(wanted[name]) != tuple(found[name]):
            raise UserError(
                f"{whose}: {name} has the shape {list(found[name])}, the model's is "
                f"{list(wanted[name])}: it belongs to another model"
            )
