"""Sizes of tasks: few of them, and in order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ayni.tes.shape import MAX_WALLTIME, Shape
from ayni.tes.size import Size, size_of

shapes = st.builds(
    Shape,
    images=st.just(("host",)),
    cores=st.integers(1, 300),
    memory=st.integers(1, 1 << 45),
    gpus=st.integers(0, 20),
    nodes=st.integers(1, 100),
    walltime=st.integers(1, MAX_WALLTIME),
)


def test_what_is_asked_in_all_is_rounded_up() -> None:
    small = Shape(images=("host",))
    assert size_of(small) == Size(cores=1, memory=1, gpus=0, walltime=3600)
    large = replace(small, cores=3, nodes=4, memory=(5 << 30) + 1, gpus=1, walltime=3601)
    assert size_of(large) == Size(cores=16, memory=32, gpus=4, walltime=4 * 3600)


@given(shapes)
def test_a_size_holds_its_tasks_and_survives_being_written(shape: Shape) -> None:
    size = size_of(shape)
    assert size.cores >= shape.cores * shape.nodes
    assert size.memory << 30 >= shape.memory * shape.nodes
    assert size.gpus >= shape.gpus * shape.nodes
    assert size.walltime >= shape.walltime
    assert Size.read(str(size)) == size


@given(shapes, shapes)
def test_who_asks_no_more_has_no_larger_size(one: Shape, other: Shape) -> None:
    smaller = Shape(
        images=one.images,
        cores=min(one.cores, other.cores),
        memory=min(one.memory, other.memory),
        gpus=min(one.gpus, other.gpus),
        nodes=min(one.nodes, other.nodes),
        walltime=min(one.walltime, other.walltime),
    )
    assert size_of(smaller).within(size_of(one))
    assert size_of(smaller).within(size_of(other))


def test_what_is_no_size_is_not_read_as_one() -> None:
    for text in ("", "1-2-3", "1-2-3-4-5", "1-2-3-x", "-1-2-3-4", "1-1-1-" + "9" * 30):
        assert Size.read(text) is None
