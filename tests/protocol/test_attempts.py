"""The life of an attempt, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.protocol.attempts import FINAL, LIVE, MOVES, WITHDRAWABLE, AttemptState, reachable

S = AttemptState
states = st.sampled_from(list(S))


def test_every_state_has_its_row_and_is_reached_from_the_first() -> None:
    assert set(MOVES) == set(S)
    assert all(reachable(S.ASSIGNED, state) for state in S)
    assert {after for moves in MOVES.values() for after in moves} == set(S) - {S.ASSIGNED}


@given(states, states, states)
def test_what_is_reachable_in_two_reports_is_reachable_in_one(
    a: AttemptState, b: AttemptState, c: AttemptState
) -> None:
    if reachable(a, b) and reachable(b, c):
        assert reachable(a, c)


@given(states, states)
def test_nothing_follows_an_end(end: AttemptState, other: AttemptState) -> None:
    if end in FINAL:
        assert not reachable(end, other)


def test_an_end_is_always_possible() -> None:
    for state in LIVE:
        assert reachable(state, S.CANCELED)
        assert reachable(state, S.LOST)


@pytest.mark.parametrize(
    ("before", "after"),
    [(S.ASSIGNED, S.COMPLETE), (S.ACCEPTED, S.SYSTEM_ERROR), (S.RUNNING, S.WITHDRAWN)],
)
def test_a_report_may_skip_states(before: AttemptState, after: AttemptState) -> None:
    assert reachable(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [(S.RUNNING, S.ACCEPTED), (S.FINALIZING, S.RUNNING), (S.FINALIZING, S.WITHDRAWN)],
)
def test_a_report_never_goes_back(before: AttemptState, after: AttemptState) -> None:
    assert not reachable(before, after)


def test_only_what_has_not_run_may_be_asked_back() -> None:
    assert {S.ASSIGNED, S.ACCEPTED, S.INITIALIZING, S.PENDING} == WITHDRAWABLE
