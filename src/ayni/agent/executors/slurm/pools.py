"""Pools of like tasks, and how many batch jobs, of what size, they should have. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ayni.agent.executors.base import Job

SHORT = 60.0  # seconds: tasks that are expected to end sooner share a batch job
_SPAN = 600  # seconds of life that a batch job of short tasks has beyond one task's walltime
_LEAST_SPAN = 60  # … and one of a long task, so that it can take another that turns out short
_LINGER = 2.0  # seconds that a pilot of short tasks waits for more
_SMALLER, _A_NODE = (
    8,
    4,
)  # batch jobs beside others that are stuck: how much smaller, how many to a node
OVERHEAD = 64 << 20  # bytes for the pilot and each of its supervisors
_FIRST = 8  # batch jobs of tasks of which nobody knows yet that they are long; then twice as many
_AHEAD = 10.0  # seconds of work for which waiting batch jobs are asked …
_SOON = 2.0  # … and for which one more is where it starts at once: a pilot takes as long to begin and end


@dataclass(frozen=True, slots=True)
class Key:
    """What tasks have in common that may share a batch job: project, owner, data, partition, shape."""

    owner: str
    share: str
    partition: str
    cores: int
    memory: int
    walltime: int
    grace: float
    gpus: int
    nodes: int = 1
    tasks_per_node: int = 1
    project: str = ""

    @classmethod
    def of(cls, job: Job) -> Key:
        limits = job.limits
        return cls(
            owner=job.owner,
            share=job.share,
            partition=job.partition,
            cores=limits.cores,
            memory=limits.memory,
            walltime=limits.walltime,
            grace=limits.grace,
            gpus=job.gpus,
            nodes=job.nodes,
            tasks_per_node=job.tasks_per_node,
            project=job.project,
        )

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks_per_node

    @property
    def name(self) -> str:
        """A short name, the same after a restart."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Key:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Room:
    """A partition as a pool sees it: one node's shape and what is free on the emptiest."""

    cores: int
    memory: int
    gpus: int
    free_cores: int
    free_memory: int
    free_gpus: int
    nodes: int
    max_walltime: int

    def has_free(self, key: Key) -> bool:
        """Whether one more task of a pool fits on a node now."""
        return self.fit_now(key) > 0

    def fit_now(self, key: Key) -> int:
        """How many tasks of a pool fit on the emptiest node now."""
        return _fit(key, self.free_cores, self.free_memory, self.free_gpus)


@dataclass(frozen=True, slots=True)
class Batch:
    """An array of batch jobs to submit: `count` elements, each with `slots` tasks side by side."""

    count: int
    slots: int
    cores: int
    memory: int  # bytes
    gpus: int
    walltime: int  # seconds
    linger: float


def expected(key: Key, seen: float | None) -> float:
    """How long a task will probably run: as those before it, else as it says."""
    return float(key.walltime) if seen is None else min(seen, float(key.walltime))


def batch(
    key: Key,
    room: Room,
    *,
    waiting: int,
    pending: int,
    running: int,
    seen: float | None,
    most: int,
    stuck: bool = False,
) -> Batch | None:
    """What to submit so that the waiting tasks of a pool are taken.

    Args:
        key: the pool's.
        room: of its partition.
        waiting: tasks that no pilot has taken.
        pending: task slots of batch jobs that wait in Slurm's queue.
        running: task slots of pilots that run: short tasks will be taken by them.
        seen: seconds that its tasks took so far, as a mean; None if none has ended.
        most: elements of one array, at most.
        stuck: batch jobs have waited for a while, all that wait.

    Returns:
        None if nothing is to be submitted.
    """
    each = expected(key, seen)
    short = each <= SHORT
    ahead = each * waiting / running if running and short else math.inf  # seconds
    lacking = waiting - pending
    some = room.has_free(key) and (stuck or not pending)
    if lacking <= 0 or ahead <= (_SOON if some else _AHEAD):
        return None
    slots = _slots(key, room, lacking) if short and key.ranks == 1 else 1
    if stuck and ahead > _AHEAD:  # they do not fit beside others on a node: smaller ones do
        slots = max(1, slots // _SMALLER)
    count = -(-lacking // slots)
    if ahead <= _AHEAD:
        count = 1  # on the emptiest node; the next look finds the next one
    elif short:
        count = min(count, room.nodes * (_A_NODE if stuck else 1))
    elif seen is None:
        count = min(count, max(_FIRST, pending + running))
    span = _SPAN if short else max(_LEAST_SPAN, key.walltime // 10)
    needed = key.walltime + int(key.grace) + _LEAST_SPAN
    return Batch(
        count=min(count, most),
        slots=slots,
        cores=slots * key.cores,
        memory=slots * key.memory + OVERHEAD,
        gpus=slots * key.gpus,
        walltime=max(needed, min(key.walltime + span, room.max_walltime)),
        linger=_LINGER if short else 0.0,
    )


def surplus(*, waiting: int, pending: int) -> int:
    """How many waiting task slots are too many."""
    return max(0, pending - waiting)


def _slots(key: Key, room: Room, lacking: int) -> int:
    """Tasks side by side in one batch job: what fits on a node now, spread over the nodes."""
    fit = room.fit_now(key) or _fit(key, room.cores, room.memory, room.gpus)
    return max(1, min(fit, -(-lacking // max(1, room.nodes))))


def _fit(key: Key, cores: int, memory: int, gpus: int) -> int:
    by_gpus = gpus // key.gpus if key.gpus else cores
    return min(cores // key.cores, (memory - OVERHEAD) // key.memory, by_gpus)
