"""H grows, momentum comes late, and a run ends where it said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ayni.lm.outer.schedule import MOST_STEPS, Phase, Schedule, warmed_up


def lengths(schedule: Schedule) -> list[int]:
    step, found = 0, []
    while (length := schedule.inner_steps(step)) > 0:
        found.append(length)
        step += length
    return found


@given(st.integers(1, 20_000), st.integers(1, 20), st.integers(20, 200))
def test_rounds_grow_and_add_up_to_the_run(steps: int, first: int, last: int) -> None:
    schedule = warmed_up(steps, first, last)
    found = lengths(schedule)
    assert sum(found) == steps and len(found) == schedule.rounds()
    assert found[:-1] == sorted(found[:-1])


@given(
    st.integers(1, 500),
    st.lists(
        st.tuples(st.integers(1, 600), st.integers(1, 90)), max_size=5, unique_by=lambda p: p[0]
    ),
    st.integers(1, 90),
)
def test_stretches_are_the_rounds_one_after_the_other(
    steps: int, later: list[tuple[int, int]], first: int
) -> None:
    phases = [(0, first), *sorted(later)]
    schedule = Schedule(
        steps=steps, phases=tuple(Phase(from_step=s, inner_steps=h) for s, h in phases)
    )
    found = [length for length, count in schedule.stretches() for _ in range(count)]
    assert found == lengths(schedule)


def test_the_rounds_of_the_longest_run_are_counted_at_once() -> None:
    longest = Schedule(steps=MOST_STEPS, phases=(Phase(from_step=0, inner_steps=1),))
    assert longest.rounds() == MOST_STEPS and len(list(longest.stretches())) == 1


def test_h_is_warmed_up_from_5_to_50_by_the_fortieth_percent() -> None:
    schedule = warmed_up(10_000, momentum=0.9, lr=0.7)
    assert schedule.inner_steps(0) == 5
    assert schedule.inner_steps(4000) == 50
    assert schedule.at(3999).momentum == 0 and schedule.at(3999).lr == 1
    assert (schedule.at(4000).momentum, schedule.at(4000).lr) == (0.9, 0.7)


@pytest.mark.parametrize("starts", [[1], [0, 10, 10], [0, 20, 10]])
def test_phases_are_in_order(starts: list[int]) -> None:
    with pytest.raises(ValidationError, match="from_step"):
        Schedule(steps=100, phases=tuple(Phase(from_step=s, inner_steps=5) for s in starts))


@pytest.mark.parametrize(
    "bad",
    [{"inner_steps": 0}, {"momentum": 1.0}, {"lr": float("inf")}, {"from_step": -1}, {"x": 1}],
)
def test_a_phase_that_cannot_be_is_refused_by_the_field(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError) as failed:
        Phase.model_validate({"from_step": 0, "inner_steps": 5, **bad})
    assert failed.value.errors()[0]["loc"] == (next(iter(bad)),)


def test_it_survives_json() -> None:
    schedule = warmed_up(1000)
    assert Schedule.model_validate_json(schedule.model_dump_json()) == schedule
