"""The life of an attempt: one table of allowed moves, shared by hub and agent.

The agent owns the life of an attempt that it has accepted; the hub owns it before, and after it has
given the attempt up (`LOST`, `SUPERSEDED`). Reports are snapshots, so a report may skip states:
`reachable` says whether a later state follows from an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache


class AttemptState(StrEnum):
    ASSIGNED = "assigned"  # the hub decided; the agent has not said that it knows
    ACCEPTED = "accepted"  # in the agent's journal
    INITIALIZING = "initializing"  # inputs are being staged
    PENDING = "pending"  # in the site's scheduler's queue
    RUNNING = "running"
    FINALIZING = "finalizing"  # outputs are being hashed and sent
    COMPLETE = "complete"
    UNFINISHED = "unfinished"  # a link of a chain: the next one goes on from its volume
    EXECUTOR_ERROR = "executor_error"  # the user's command failed: final for the task
    SYSTEM_ERROR = "system_error"  # the site failed: the task may be tried again
    REFUSED = "refused"  # the site's policy said no: not counted as a try
    WITHDRAWN = "withdrawn"  # given back before it ran, at the hub's wish
    CANCELED = "canceled"
    LOST = "lost"  # nobody knows, and nobody will


S = AttemptState

#: From each state, the states that may follow it at once.
MOVES: Mapping[AttemptState, frozenset[AttemptState]] = {
    S.ASSIGNED: frozenset({S.ACCEPTED, S.REFUSED, S.WITHDRAWN, S.CANCELED, S.LOST}),
    S.ACCEPTED: frozenset({S.INITIALIZING, S.REFUSED, S.WITHDRAWN, S.CANCELED, S.LOST}),
    S.INITIALIZING: frozenset(
        {S.PENDING, S.RUNNING, S.WITHDRAWN, S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.CANCELED, S.LOST}
    ),
    S.PENDING: frozenset({S.RUNNING, S.WITHDRAWN, S.SYSTEM_ERROR, S.CANCELED, S.LOST}),
    S.RUNNING: frozenset(
        {S.PENDING, S.FINALIZING, S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.CANCELED, S.LOST}
    ),
    S.FINALIZING: frozenset(
        {S.COMPLETE, S.UNFINISHED, S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.CANCELED, S.LOST}
    ),
    S.COMPLETE: frozenset(),
    S.UNFINISHED: frozenset(),
    S.EXECUTOR_ERROR: frozenset(),
    S.SYSTEM_ERROR: frozenset(),
    S.REFUSED: frozenset(),
    S.WITHDRAWN: frozenset(),
    S.CANCELED: frozenset(),
    S.LOST: frozenset(),
}

FINAL = frozenset(state for state, after in MOVES.items() if not after)
LIVE = frozenset(MOVES) - FINAL
#: Live states in which nothing has run yet, so that the hub may still ask for the attempt back.
WITHDRAWABLE = frozenset(s for s in LIVE if S.WITHDRAWN in MOVES[s])


@cache
def reachable(before: AttemptState, after: AttemptState) -> bool:
    """Whether `after` may be reported when `before` was the last thing heard (skipping allowed)."""
    seen: set[AttemptState] = set()
    frontier = [before]
    while frontier:
        state = frontier.pop()
        for following in MOVES[state] - seen:
            seen.add(following)
            frontier.append(following)
    return after in seen or (after is before and before in LIVE)
