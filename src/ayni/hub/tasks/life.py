"""The task's life. Everything that decides what state a task may go to next is in this file.

The table draws the diagram in the documentation (`python -m ayni.hub.tasks.life`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from ayni.protocol.attempts import AttemptState
from ayni.tes.models import State


class TaskState(IntEnum):
    """Small integers, since a million rows are indexed by them. Never renumber."""

    WAITING = 1  # for other tasks (`after`)
    QUEUED = 2  # at the hub, for the broker
    PLACED = 3  # given to a site, not yet running there
    INITIALIZING = 4
    RUNNING = 5
    COMPLETE = 10
    EXECUTOR_ERROR = 11
    SYSTEM_ERROR = 12
    CANCELED = 13


T = TaskState

#: state → event → next state
MOVES: Mapping[TaskState, Mapping[str, TaskState]] = {
    T.WAITING: {"released": T.QUEUED, "dependency failed": T.SYSTEM_ERROR, "cancel": T.CANCELED},
    T.QUEUED: {"place": T.PLACED, "no site takes it": T.SYSTEM_ERROR, "cancel": T.CANCELED},
    T.PLACED: {
        "stage": T.INITIALIZING,
        "run": T.RUNNING,
        "complete": T.COMPLETE,
        "go on": T.QUEUED,
        "executor error": T.EXECUTOR_ERROR,
        "try again": T.QUEUED,
        "no tries left": T.SYSTEM_ERROR,
        "cancel": T.CANCELED,
    },
    T.INITIALIZING: {
        "run": T.RUNNING,
        "complete": T.COMPLETE,
        "go on": T.QUEUED,
        "executor error": T.EXECUTOR_ERROR,
        "try again": T.QUEUED,
        "no tries left": T.SYSTEM_ERROR,
        "cancel": T.CANCELED,
    },
    T.RUNNING: {
        "complete": T.COMPLETE,
        "go on": T.QUEUED,
        "executor error": T.EXECUTOR_ERROR,
        "try again": T.QUEUED,
        "no tries left": T.SYSTEM_ERROR,
        "cancel": T.CANCELED,
    },
    T.COMPLETE: {},
    T.EXECUTOR_ERROR: {},
    T.SYSTEM_ERROR: {},
    T.CANCELED: {},
}

FINAL = frozenset(state for state, moves in MOVES.items() if not moves)
AT_SITE = frozenset({T.PLACED, T.INITIALIZING, T.RUNNING})

#: What a person and a TES client see.
SHOWN: Mapping[TaskState, State] = {
    T.WAITING: State.QUEUED,
    T.QUEUED: State.QUEUED,
    T.PLACED: State.QUEUED,
    T.INITIALIZING: State.INITIALIZING,
    T.RUNNING: State.RUNNING,
    T.COMPLETE: State.COMPLETE,
    T.EXECUTOR_ERROR: State.EXECUTOR_ERROR,
    T.SYSTEM_ERROR: State.SYSTEM_ERROR,
    T.CANCELED: State.CANCELED,
}

#: What the report of the attempt in force does to its task; None: nothing yet.
#: SYSTEM_ERROR, LOST, REFUSED and WITHDRAWN mean another try where tries are left.
EVENT_OF: Mapping[AttemptState, str | None] = {
    AttemptState.ASSIGNED: None,
    AttemptState.ACCEPTED: None,
    AttemptState.INITIALIZING: "stage",
    AttemptState.PENDING: "stage",
    AttemptState.RUNNING: "run",
    AttemptState.FINALIZING: "run",
    AttemptState.COMPLETE: "complete",
    AttemptState.UNFINISHED: "go on",  # where its chain has links left, else "executor error"
    AttemptState.EXECUTOR_ERROR: "executor error",
    AttemptState.SYSTEM_ERROR: "try again",
    AttemptState.REFUSED: "try again",
    AttemptState.WITHDRAWN: "try again",
    AttemptState.CANCELED: "try again",  # not by the user: the task would be CANCELED already
    AttemptState.LOST: "try again",
}

#: Attempts that ended so do not count against `max_attempts`.
FREE_OF_CHARGE = frozenset({AttemptState.REFUSED, AttemptState.WITHDRAWN})


class IllegalMove(Exception):
    """A move that the table does not hold: a fault in the program, never a user's mistake."""


def next_state(state: TaskState, event: str) -> TaskState:
    """The state after `event`.

    Raises:
        IllegalMove: the table does not hold it.
    """
    try:
        return MOVES[state][event]
    except KeyError:
        raise IllegalMove(f"{state.name} does not know {event!r}") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> WAITING: after", "    [*] --> QUEUED"]
    for state, moves in MOVES.items():
        lines += [f"    {state.name} --> {to.name}: {event}" for event, to in moves.items()]
        if not moves:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram())
