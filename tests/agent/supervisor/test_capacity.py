"""Who holds which part of a site: never more than there is, and all comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.supervisor.capacity import Capacity, Need

TOTAL = Need(4, 100, 2)
NEEDS = st.builds(Need, st.integers(1, 5), st.integers(1, 120), st.integers(0, 3))


@given(st.lists(st.one_of(NEEDS, st.none())))
def test_what_is_held_and_what_is_free_is_all_there_is(steps):
    capacity = Capacity(TOTAL, cpus=[0, 1, 2, 3])
    held = []
    for need in steps:
        if need is None:
            if held:
                capacity.give_back(held.pop(0))
        elif (share := capacity.take(need)) is not None:
            held.append(share)
        assert capacity.cores == 4 - sum(share.need.cores for share in held) >= 0
        assert capacity.memory == 100 - sum(share.need.memory for share in held) >= 0
        taken = [gpu for share in held for gpu in share.gpus]
        assert sorted([*taken, *capacity.gpus]) == [0, 1]
        for share in held:
            assert len(share.gpus) == share.need.gpus
            assert len(set(share.cpus)) == share.need.cores
    for share in held:
        capacity.give_back(share)
    assert (capacity.cores, capacity.memory, capacity.gpus) == (4, 100, [0, 1])


def test_what_does_not_fit_is_not_given():
    capacity = Capacity(TOTAL, cpus=[])
    assert capacity.take(Need(5, 1, 0)) is None
    assert capacity.take(Need(1, 101, 0)) is None
    assert capacity.take(Need(1, 1, 3)) is None
    assert capacity.take(TOTAL) is not None


def test_jobs_are_spread_over_the_least_used_cores():
    capacity = Capacity(Need(9, 100, 0), cpus=[0, 1, 2])
    shares = [capacity.take(Need(1, 1, 0)) for _ in range(6)]
    assert sorted(cpu for share in shares if share for cpu in share.cpus) == [0, 0, 1, 1, 2, 2]


def test_a_job_wider_than_the_cores_to_pin_to_is_not_pinned():
    share = Capacity(Need(9, 100, 0), cpus=[0]).take(Need(2, 1, 0))
    assert share is not None
    assert share.cpus == []


def test_what_an_adopted_job_has_is_not_given_again():
    capacity = Capacity(TOTAL, cpus=[])
    share = capacity.hold(Need(3, 10, 1), gpus=[1])
    assert (capacity.cores, capacity.gpus) == (1, [0])
    capacity.give_back(share)
    assert (capacity.cores, capacity.gpus) == (4, [0, 1])
