"""What a site offers: how deep a queue it wants, and what of its partitions is the network's."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ayni.agent import config
from ayni.agent.executors.base import PartitionInfo
from ayni.agent.offer import Pace, partition_status, settle
from ayni.protocol.messages import MAX_ASSIGNMENTS

INFO = PartitionInfo("local", 1, 8, 1 << 30, 2, 86400, 5, 1 << 29, 1)


def test_long_tasks_want_a_short_queue() -> None:
    assert Pace().depth(0.0, slots=4) == 4
    assert Pace().depth(0.0, slots=100_000) == 64


def test_short_tasks_want_as_many_waiting_as_end_in_two_seconds() -> None:
    pace = Pace()
    for tenth in range(20):
        pace.ended(tenth / 10, [0.025] * 15)
    assert pace.depth(2.0, slots=4) == 320
    assert pace.depth(9.0, slots=4) == 4, "and not for long after"


def test_a_few_short_tasks_show_that_more_are_wanted() -> None:
    pace = Pace()
    pace.ended(0.1, [1 / 64] * 4)
    assert pace.depth(0.2, slots=2) == 32, "eight times as many at once, if they run so briefly"
    pace.ended(0.6, [1 / 64] * 32)
    assert pace.depth(0.7, slots=2) == 256


def test_long_tasks_that_end_together_want_no_longer_queue() -> None:
    pace = Pace()
    pace.ended(0.1, [3600.0] * 4)
    assert pace.depth(0.2, slots=4) == 4


_RUNS = st.lists(st.floats(-10, 1e6), max_size=50)  # less than nothing: the clock was set back


@given(st.lists(_RUNS, max_size=20), st.integers(0, 10_000))
def test_the_depth_stays_in_its_bounds(ends: list[list[float]], slots: int) -> None:
    pace = Pace()
    for number, runs in enumerate(ends):
        pace.ended(float(number), runs)
    assert 1 <= pace.depth(float(len(ends)), slots) <= MAX_ASSIGNMENTS


def test_a_depth_that_hardly_changed_is_no_news() -> None:
    assert settle(0, 4) == 4
    assert settle(100, 120) == 100
    assert settle(100, 126) == 126
    assert settle(100, 60) == 100
    assert settle(100, 49) == 49


def test_the_policys_longest_time_bounds_the_partition() -> None:
    loaded = config.parse(
        'hub = "http://hub"\n[policy]\nmax_walltime = "1h"\n[partition]\nname = "main"', Path("/a")
    )
    status = partition_status(loaded, INFO, depth=9)
    assert (status.name, status.max_walltime, status.depth) == ("main", 3600, 9)
    assert (status.cores, status.memory, status.gpus) == (8, 1 << 30, 2)
    assert status.foreign_cores == 0
