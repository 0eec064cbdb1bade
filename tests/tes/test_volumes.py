"""What a task says of volumes and chains, read from its backend parameters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.tes.models import Task
from ayni.tes.shape import Shape, ShapeError, shape_of
from ayni.tes.volumes import Mount, parse_mounts


def task(**parameters: str) -> Task:
    resources = {"backend_parameters": parameters, "backend_parameters_strict": True}
    executors = [{"image": "host", "command": ["true"]}]
    return Task.model_validate({"executors": executors, "resources": resources})


def test_mounts_are_read_with_their_modes() -> None:
    assert parse_mounts("state:/state, tokens://data/tokens/:ro,x:/x:rw") == (
        Mount("state", "/state"),
        Mount("tokens", "/data/tokens", write=False),
        Mount("x", "/x"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "state", "state:", "state:x", "State:/x", "state:/", "state:/a/../b", "state:/x:wo",
        "state:/x y", "a:/x,a:/y", "a:/x,b:/x/y", "a:/x,b:/x", "../a:/x", "a:/x,",
        ",".join(f"v{n}:/v{n}" for n in range(9)),
    ],
)  # fmt: skip
def test_what_is_no_volume_is_said_with_the_remedy(text: str) -> None:
    with pytest.raises(ShapeError, match=r"resources.backend_parameters.volume: .+"):
        shape_of(task(volume=text))


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_and_paths_are_plain(text: str) -> None:
    try:
        mounts = parse_mounts(text)
    except ValueError:
        return
    for mount in mounts:
        assert mount.path.startswith("/") and "//" not in mount.path
        assert not {"..", ".", ""} & set(mount.path[1:].split("/"))


def test_a_shape_says_nothing_new_of_a_task_that_asks_for_nothing_new() -> None:
    """An older agent would not understand it, and groups would be others than before."""
    data = shape_of(task(walltime="1h")).to_json()
    assert not {"volumes", "chain", "warning"} & data.keys()
    assert Shape.from_json(data) == shape_of(task(walltime="1h"))


def test_a_shape_survives_its_json() -> None:
    shape = shape_of(task(volume="a:/a,b:/b:ro", chain="12", warning="90s"))
    assert Shape.from_json(shape.to_json()) == shape
    assert (shape.chain, shape.warning) == (12, 90)


@pytest.mark.parametrize(
    ("parameters", "seconds"),
    [
        ({}, None),
        ({"warning": "60"}, 60),
        ({"warning": "0", "chain": "2", "volume": "a:/a"}, None),
        ({"chain": "2", "volume": "a:/a"}, 300),
        ({"chain": "2", "volume": "a:/a", "walltime": "10m"}, 150),
        ({"chain": "2", "volume": "a:/a", "walltime": "3"}, None),
    ],
)
def test_a_link_is_warned_five_minutes_before_or_a_quarter_of_its_time(
    parameters: dict[str, Any], seconds: int | None
) -> None:
    assert shape_of(task(**parameters)).warned == seconds


def test_a_chain_needs_a_volume_that_it_may_write_to() -> None:
    for wrong in ({}, {"volume": "a:/a:ro"}):
        with pytest.raises(ShapeError, match="chain: needs a volume"):
            shape_of(task(chain="2", **wrong))
    assert shape_of(task(chain="1")).chain == 1
