"""The task's life is one table, and its diagram in the documentation is drawn from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ayni.hub.tasks.life import (
    AT_SITE,
    EVENT_OF,
    FINAL,
    FREE_OF_CHARGE,
    MOVES,
    SHOWN,
    IllegalMove,
    TaskState,
    diagram,
    next_state,
)
from ayni.protocol.attempts import FINAL as FINAL_ATTEMPTS
from ayni.protocol.attempts import AttemptState
from ayni.tes.models import FINAL_STATES

PAGE = Path(__file__).parents[2] / "docs" / "developers" / "task-life.md"


def test_the_diagram_in_the_documentation_is_the_tables():
    drawn = re.search(r"```mermaid\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert drawn is not None
    assert drawn.group(1) == diagram(), f"put the output of ayni.hub.tasks.life into {PAGE}"


def test_every_state_can_be_reached_and_left_for_a_final_one():
    reached = {TaskState.WAITING, TaskState.QUEUED}
    for _ in TaskState:
        reached |= {to for state in reached for to in MOVES[state].values()}
    assert reached == set(TaskState)
    for state in TaskState:
        assert state in FINAL or MOVES[state]["cancel"] is TaskState.CANCELED


def test_what_is_final_is_final_to_a_client_too():
    assert {SHOWN[state] for state in FINAL} == FINAL_STATES
    assert not {SHOWN[state] for state in set(TaskState) - FINAL} & FINAL_STATES


def test_whatever_an_attempt_reports_its_task_knows_the_event():
    for attempt, event in EVENT_OF.items():
        for state in AT_SITE:
            if event is not None and event not in ("stage", "run"):
                next_state(state, event)
        assert (attempt in FINAL_ATTEMPTS) <= (event is not None)
    assert set(EVENT_OF) == set(AttemptState)
    assert all(EVENT_OF[state] == "try again" for state in FREE_OF_CHARGE)


def test_a_move_that_the_table_does_not_hold_is_a_fault():
    with pytest.raises(IllegalMove):
        next_state(TaskState.COMPLETE, "cancel")
