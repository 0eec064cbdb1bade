"""What a batch job consumed, dealt to the tasks that it ran: the parts sum to the whole. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ayni.agent.executors.base import Allocation
from ayni.agent.executors.slurm.parse import Account

_SKEW = 5.0  # seconds by which a node's clock and whole seconds may differ from the accounting's


@dataclass(frozen=True, slots=True)
class Span:
    """A task's time in a batch job: Unix seconds."""

    task: str
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.started)


def spans(events: Iterable[Sequence[Any]]) -> list[Span]:
    """The tasks that a batch job's pilots told of; one of whose end they did not tell ends at infinity."""
    started: dict[str, float] = {}
    ended: dict[str, float] = {}
    for words in events:
        if words[0] == "started":
            started.setdefault(str(words[1]), float(words[2]))
        elif words[0] == "ended":
            ended[str(words[1])] = float(words[2])
    return [Span(task, when, ended.get(task, math.inf)) for task, when in started.items()]


def deal(account: Account, events: Iterable[Sequence[Any]]) -> Mapping[str, Allocation] | None:
    """By task, its part of what each run of a batch job was given. A task is in one run only.

    The last record of a number may never be completed: a killed controller forgets a job, and gives its
    number again. Such a record keeps nothing waiting, so long as each task lies in a run that is over.

    Returns:
        Nothing while the accounting still lacks what some of the tasks were in.
    """
    ended = [run for run in account.runs if run.has_run]
    tasks = spans(events)
    if not account.is_whole:
        if not ended or any(min(_distance(run, task) for run in ended) > _SKEW for task in tasks):
            return None
    elif not ended:  # canceled before it started
        ended = [account]
    return {
        task: part
        for run, dealt in zip(ended, _by_run(ended, tasks), strict=True)
        for task, part in deal_run(run, dealt).items()
    }


def _by_run(runs: Sequence[Account], tasks: Iterable[Span]) -> list[list[Span]]:
    """Each run's tasks: those nearest to it; what outlasts it, by what was told, ended with it."""
    found: list[list[Span]] = [[] for _ in runs]
    for task in tasks:
        nearest = min(range(len(runs)), key=lambda n: _distance(runs[n], task))
        end = runs[nearest].ended or 0.0
        late = task.ended > end + _SKEW
        found[nearest].append(replace(task, ended=end) if late else task)
    return found


def _distance(run: Account, task: Span) -> float:
    """Seconds between a task's start and a run of its batch job; 0 within it."""
    begin, end = run.started or 0.0, run.ended or 0.0
    return max(begin - task.started, task.started - end, 0.0)


def deal_run(account: Account, tasks: Sequence[Span]) -> Mapping[str, Allocation]:
    """Each task's part of what was allocated to one run, by the time that it took.

    Tasks of one batch job are of one shape, so their time alone decides; a pilot's own time, and
    that of a slot without a task, is borne by all in the same proportion.
    """
    total = sum(span.seconds for span in tasks)
    found = {}
    for span in tasks:
        part = span.seconds / total if total > 0 else 1 / len(tasks)
        seconds = account.elapsed * part
        found[span.task] = Allocation(
            job=account.id,
            submitted=account.submitted,
            core_seconds=seconds * account.cores,
            node_seconds=seconds * account.nodes,
            gpu_seconds=seconds * account.gpus,
            memory_seconds=seconds * account.memory,
            energy=None if account.energy is None else account.energy * part,
        )
    return found
