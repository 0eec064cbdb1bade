"""How many tasks of a shape a partition can still have, and when they would start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ayni.broker.foresight import UNKNOWN, Foresight, Start, expected
from ayni.broker.types import Partition, Site
from ayni.tes.shape import Shape
from ayni.tes.size import Size, size_of


def service_guess(shape: Shape) -> float:
    """Seconds that a task runs, when none like it has been seen: half its walltime, at most 30 min."""
    return min(shape.walltime, 3600) / 2


@dataclass(slots=True)
class SiteRoom:
    """What the site's policy leaves, over its partitions."""

    tasks: float  # inf: no limit


@dataclass(slots=True)
class Room:
    """A partition's room, which shrinks as a cycle gives tasks to it.

    `free` is what neither the network's attempts nor others use, waiting attempts counted as using;
    `backlog` is how many attempts wait there beyond those that fit; `waiting` by size, also those that fit.
    """

    site: Site
    partition: Partition
    shared: SiteRoom
    cores: int
    memory: int
    gpus: int
    backlog: int
    waiting: dict[Size, int]
    known: Foresight  # of its starts
    lately: float  # seconds that tasks waited there

    @classmethod
    def of(cls, site: Site, partition: Partition, shared: SiteRoom) -> Room:
        p = partition
        cores = p.cores - p.foreign_cores - p.used_cores
        memory = p.memory - p.used_memory
        gpus = p.gpus - p.used_gpus
        backlog = _backlog(p, cores, memory, gpus)
        known, lately = site.foresight.get(p.name, UNKNOWN), site.waited.get(p.name, 0.0)
        waiting = dict(p.waiting_of)
        return cls(site, p, shared, cores, memory, gpus, backlog, waiting, known, lately)

    def fits(self, shape: Shape) -> int:
        """Tasks that could start at once."""
        if self.cores < shape.cores or self.memory < shape.memory:
            return 0
        n = min(self.cores // (shape.cores * shape.nodes), self._slots(shape))
        n = min(n, self.memory // (shape.memory * shape.nodes))
        if shape.gpus:
            n = min(n, self.gpus // (shape.gpus * shape.nodes))
        return max(0, n)

    def deep(self, size: Size) -> int:
        """Tasks of a size that the site wants in its own queue beyond those that fit.

        So a queue of wide tasks, which leaves much unused until enough is free for one, keeps no
        narrow one away that could run before it.
        """
        if not self.backlog:
            return self.partition.depth
        behind = min(self.backlog, self.waiting.get(size, 0))
        return max(0, self.partition.depth - behind)

    def of_shape(self, shape: Shape) -> int:
        """Tasks that it may be given now."""
        tasks = self.fits(shape) + self.deep(size_of(shape))
        return int(max(0, min(tasks, self.shared.tasks)))

    def spent(self, size: Size) -> bool:
        """It has no room for anything of that size any more."""
        # Tasks of a size take more than half of its cores and memory.
        starts = self.cores > size.cores // 2 and self.memory > size.memory // 2 << 30
        return self.shared.tasks <= 0 or not (starts or self.deep(size))

    def take(self, shape: Shape, count: int) -> None:
        self.backlog += max(0, count - self.fits(shape))
        size = size_of(shape)
        self.waiting[size] = self.waiting.get(size, 0) + count
        self.cores -= count * shape.cores * shape.nodes
        self.memory -= count * shape.memory * shape.nodes
        self.gpus -= count * shape.gpus * shape.nodes
        self.shared.tasks -= count

    def give_back(self, shape: Shape, count: int) -> None:
        """So many of its backlog are asked back. What they take counts until it is known that they went."""
        self.backlog -= count
        size = size_of(shape)
        self.waiting[size] = self.waiting.get(size, 0) - count

    def start(self, shape: Shape, service: float, ahead: int = 0) -> Start:
        """When one more task would start, with `ahead` more before it, and how that is known."""
        fits, counted = self.fits(shape), 0.0
        if fits <= ahead:
            queue = ahead - fits + self.backlog + 1
            counted = queue * service / max(1, self._slots(shape))
        known, lately = self.known, self.lately
        size = size_of(shape) if known.by_size else None
        return expected(known, size, free=fits > ahead, counted=counted, lately=lately)

    def start_in(self, shape: Shape, service: float, ahead: int = 0) -> float:
        """`start`, in seconds."""
        return self.start(shape, service, ahead).seconds

    def _slots(self, shape: Shape) -> int:
        """Tasks of this shape that the whole partition runs at once."""
        p = self.partition
        a_node = min(p.cores_per_node // shape.cores, p.memory_per_node // shape.memory)
        if shape.gpus:
            a_node = min(a_node, p.gpus_per_node // shape.gpus)
        slots = a_node * p.nodes // shape.nodes
        return min(slots, p.cores // (shape.cores * shape.nodes))


def _backlog(p: Partition, cores: int, memory: int, gpus: int) -> int:
    """Waiting attempts beyond those that fit, judged by the mean size of those there."""
    over = 0.0
    for free, used in ((cores, p.used_cores), (memory, p.used_memory), (gpus, p.used_gpus)):
        if free < 0 and used:
            over = max(over, -free * p.live / used)
    return min(p.waiting, math.ceil(over))


def rooms_of(sites: Sequence[Site]) -> dict[tuple[str, str], Room]:
    """The rooms of all partitions, by site and partition."""
    rooms = {}
    for site in sites:
        live = sum(p.live for p in site.partitions)
        limit = math.inf if site.max_tasks is None else site.max_tasks - live
        shared = SiteRoom(limit)
        for partition in site.partitions:
            rooms[site.name, partition.name] = Room.of(site, partition, shared)
    return rooms
