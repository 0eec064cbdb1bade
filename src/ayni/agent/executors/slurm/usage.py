"""What a batch job consumed, dealt to the tasks that it ran: the parts sum to the whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ayni.agent.executors.base import Allocation
from ayni.agent.executors.slurm.parse import Account


@dataclass(frozen=True, slots=True)
class Span:
    """A task's time in a batch job: Unix seconds."""

    task: str
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return max(0.0, self.ended - self.started)


def runs(events: Iterable[Sequence[Any]], ended: Sequence[float]) -> list[list[Span]]:
    """The tasks of each run of a batch job, from what its pilots told.

    Args:
        events: the words of each line.
        ended: when each run ended: for tasks of whose end its pilot did not tell.
    """
    started: list[dict[str, float]] = [{} for _ in ended]
    told: list[dict[str, float]] = [{} for _ in ended]
    run = 0
    for words in events:
        if words[0] == "pilot":
            run = min(int(words[2]), len(ended) - 1)
        elif words[0] == "started":
            started[run][str(words[1])] = float(words[2])
        elif words[0] == "ended":
            told[run][str(words[1])] = float(words[2])
    return [
        [Span(task, when, told[n].get(task, end)) for task, when in started[n].items()]
        for n, end in enumerate(ended)
    ]


def deal(account: Account, events: Iterable[Sequence[Any]]) -> Mapping[str, Allocation]:
    """By task, its part of what each run of a batch job was given. A task is in one run only."""
    tasks = runs(events, [run.ended or 0.0 for run in account.runs])
    parts = (deal_run(run, spans) for run, spans in zip(account.runs, tasks, strict=True))
    return {task: part for dealt in parts for task, part in dealt.items()}


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
        )
    return found
