"""The order of projects: whoever has had least for its weight is served next."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ayni.broker.types import Project


@dataclass(slots=True)
class Ask:
    """What one group still wants in this cycle."""

    id: int
    project: str
    oldest: float
    left: int
    cost: float  # core seconds that one of its tasks is expected to consume


#: Gives up to so many tasks of a group to sites, and says how many it gave.
Give = Callable[[int, int], int]


def decayed(usage: float, age: float, half_life: float) -> float:
    """What `usage` still counts for after `age` seconds."""
    return float(usage * 0.5 ** (age / half_life))


def serve(
    asks: Iterable[Ask],
    projects: Mapping[str, Project],
    give: Give,
    *,
    most: int,
    step: int,
) -> None:
    """Let the projects take turns until nobody wants or nobody gets more, or `most` tasks are given.

    A turn is `step` tasks of the project's oldest group, and counts against the project at once, so
    that equals share a cycle evenly. A group that gets less than its turn is done for this cycle and
    stands in nobody's way.
    """
    queues: dict[str, deque[Ask]] = {}
    for ask in sorted(asks, key=lambda a: (a.oldest, a.id)):
        queues.setdefault(ask.project, deque()).append(ask)
    turns = []
    for name in queues:
        project = projects.get(name, Project(name))
        turns.append((project.usage / project.weight, name, project.weight))
    heapq.heapify(turns)
    while turns and most > 0:
        charge, name, weight = turns[0]
        queue = queues[name]
        ask = queue[0]
        turn = min(ask.left, most, step if len(turns) > 1 else ask.left)
        given = give(ask.id, turn)
        ask.left -= given
        most -= given
        charge += given * ask.cost / weight
        if given < turn or not ask.left:
            queue.popleft()
        if queue:
            heapq.heapreplace(turns, (charge, name, weight))
        else:
            heapq.heappop(turns)
