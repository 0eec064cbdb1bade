"""A model falls into fragments that are alike, and that take turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.outer.fragments import split
from ayni.lm.outer.schedule import warmed_up


def llama(layers: int, width: int = 64, words: int = 1000) -> dict[str, int]:
    sizes = {"model.embed_tokens.weight": words * width, "model.norm.weight": width}
    for layer in range(layers):
        sizes[f"model.layers.{layer}.self_attn.q_proj.weight"] = width * width
        sizes[f"model.layers.{layer}.mlp.up_proj.weight"] = 4 * width * width
    return sizes


@given(st.integers(1, 40), st.integers(1, 12))
def test_each_tensor_is_in_one_fragment(layers: int, parts: int) -> None:
    sizes = llama(layers)
    found = split(sizes, parts)
    assert sorted(name for part in found.values() for name in part) == sorted(sizes)
    assert len(found) == min(parts, layers) and all(part == sorted(part) for part in found.values())
    assert list(found) == sorted(found)


def test_each_fragment_holds_shallow_and_deep_layers() -> None:
    found = split(llama(12), 4)
    assert [n for n in found["part-1"] if "q_proj" in n] == [
        f"model.layers.{i}.self_attn.q_proj.weight" for i in (1, 5, 9)
    ]


def test_layers_are_counted_as_numbers() -> None:
    found = split(llama(11), 11)
    assert any("layers.10." in name for name in found["part-10"])


def test_one_fragment_is_the_whole() -> None:
    assert list(split(llama(3), 1)) == ["all"]
    assert list(split({"w": 5}, 4)) == ["all"]
    for sizes, parts in (({}, 1), ({"w": 1}, 0)):
        with pytest.raises(ValueError, match="at least"):
            split(sizes, parts)


def test_fragments_take_turns_within_the_first_round() -> None:
    schedule = warmed_up(1000, 20, 40)
    assert [schedule.turn(place, 4) for place in range(4)] == [5, 10, 15, 20]
    assert schedule.turn(0, 1) == schedule.inner_steps(0)
    assert warmed_up(100, 1, 2).turn(0, 8) == 1
