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


def spans(events: Iterable[Sequence[Any]], job_ended: float) -> list[Span]:
    """The tasks of a batch job, from what its pilot told.

    Args:
        events: the words of each line.
        job_ended: for tasks of whose end the pilot did not tell.
    """
    started: dict[str, float] = {}
    ended: dict[str, float] = {}
    for words in events:
        if words[0] == "started":
            started[str(words[1])] = float(words[2])
        elif words[0] == "ended":
            ended[str(words[1])] = float(words[2])
    return [Span(task, when, ended.get(task, job_ended)) for task, when in started.items()]


def deal(account: Account, tasks: Sequence[Span]) -> Mapping[str, Allocation]:
    """Each task's part of what was allocated to a batch job, by the time that it took.

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
