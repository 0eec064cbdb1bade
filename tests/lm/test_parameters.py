"""Parameters as one vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm import parameters
from ayni.lm.outer import blocks
from ayni.lm.outer.blocks import BlocksError
from ayni.lm.parameters import arrays, check_shapes, chunks, count, digest, items

SHAPES = st.dictionaries(
    st.text("ab.1", min_size=1, max_size=4),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
    max_size=6,
)


def some() -> dict[str, Any]:
    return {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(2, np.float32)}


@given(SHAPES, st.integers(1, 9))
def test_a_vector_gives_back_its_parameters_whatever_the_chunks(
    shapes: dict[str, tuple[int, ...]], size: int
) -> None:
    values = iter(range(10**6))
    whole = {
        name: np.array([next(values) for _ in range(int(np.prod(shape)))], np.float32).reshape(
            shape
        )
        for name, shape in shapes.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "CHUNK", size)
        vector = list(chunks(items(whole)))
    assert sum(chunk.size for chunk in vector) == count(shapes)
    assert all(chunk.size == size for chunk in vector[:-1])
    back = dict(arrays(vector, shapes))
    assert list(back) == sorted(whole)
    for name, array in whole.items():
        assert back[name].shape == array.shape
        assert np.array_equal(back[name], array)


def test_a_vector_of_another_length_is_refused() -> None:
    shapes = {"a": (2,), "b": (2, 3)}
    with pytest.raises(BlocksError, match="ends within b"):
        dict(arrays([np.zeros(7, np.float32)], shapes))
    with pytest.raises(BlocksError, match="goes on after"):
        dict(arrays([np.zeros(8, np.float32), np.zeros(1, np.float32)], shapes))


def test_the_digest_is_that_of_the_outer_loop() -> None:
    vector = np.concatenate([some()["a"], some()["b"].ravel()])
    assert digest(items(some())) == blocks.digest([vector])


def test_the_digest_does_not_know_how_an_array_lies_in_memory() -> None:
    assert digest(items(some() | {"b": np.asfortranarray(some()["b"])})) == digest(items(some()))


def test_parameters_out_of_order_or_of_another_type_are_no_vector() -> None:
    with pytest.raises(ValueError, match="flat order"):
        digest(some().items())
    with pytest.raises(ValueError, match="float64"):
        digest([("a", np.ones(2))])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "found, said",
    [
        ({"a": (2,)}, "lacks b"),
        ({"a": (2,), "b": (2, 3), "c": ()}, "has c"),
        ({"a": (2,), "b": (3, 2)}, r"b has the shape \[3, 2\], the model's is \[2, 3\]"),
    ],
)
def test_the_first_parameter_that_differs_is_named(
    found: dict[str, tuple[int, ...]], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        check_shapes({"a": (2,), "b": (2, 3)}, found, whose="the blob")
