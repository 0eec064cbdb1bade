"""Small charts as SVG coordinates; the templates only print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ayni.hub.portal import words
from ayni.hub.tasks.life import TaskState

HALF = 170  # units to the middle of the balance chart
ROW = 34
_LONGEST = 120  # units of the longest bar; the rest is for its number


@dataclass(frozen=True, slots=True)
class Balance:
    """One country's bars: received to the left of the middle, given to the right."""

    country: str
    given: float
    received: float
    given_width: str
    received_width: str
    received_x: str
    given_end: str  # where the numbers stand
    received_end: str
    y: int


def balances(rows: Sequence[tuple[str, float, float]]) -> list[Balance]:
    """Rows of country, hours given, hours received; all bars on one scale."""
    most = max((max(given, received) for _, given, received in rows), default=0.0) or 1.0
    answer = []
    for n, (country, given, received) in enumerate(rows):
        left, right = _LONGEST * received / most, _LONGEST * given / most
        answer.append(
            Balance(
                country, given, received, f"{right:.1f}", f"{left:.1f}", f"{HALF - left:.1f}",
                f"{HALF + right + 6:.1f}", f"{HALF - left - 6:.1f}", ROW * n,
            )  # fmt: skip
        )
    return answer


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a bar of states, in hundredths."""

    label: words.Label
    count: int
    x: str
    width: str


def state_bar(counts: Mapping[TaskState, int]) -> list[Part]:
    """A bar of 100 units: what ended first, then what runs, then what waits."""
    order = sorted(TaskState, key=lambda s: _ORDER.index(s))
    shown = [(s, counts.get(s, 0)) for s in order if counts.get(s, 0)]
    total = sum(n for _, n in shown)
    edges = [0]
    for _, n in shown:
        edges.append(edges[-1] + n)
    return [
        Part(
            words.TASK_STATES[state], count,
            f"{100 * left / total:.3f}", f"{100 * (right - left) / total:.3f}",
        )
        for (state, count), (left, right) in zip(shown, pairwise(edges), strict=True)
    ]  # fmt: skip


_ORDER = [
    TaskState.COMPLETE, TaskState.EXECUTOR_ERROR, TaskState.SYSTEM_ERROR, TaskState.CANCELED,
    TaskState.RUNNING, TaskState.INITIALIZING, TaskState.PLACED, TaskState.QUEUED, TaskState.WAITING,
]  # fmt: skip
