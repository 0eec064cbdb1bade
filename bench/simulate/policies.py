"""What ours is compared with: tasks at home, at random, and by a list with true run times.

A policy says for every task when and where it starts; the sites are the same for all. It runs over a
workload without losing or inventing a task, which is checked at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from bench.simulate.profiles import SiteSpec
from bench.simulate.site import Need, Partition, Queue
from bench.simulate.workload import Ints, Workload

OCTAVES = 64  # a class of the list is a shape, and a run time's power of two
#: Told how many tasks have ended.
Progress = Callable[[int], None]


@dataclass
class Schedule:
    """When and where each task started."""

    start: Ints
    site: Ints
    notes: dict[str, float] = field(default_factory=dict)


class StrandedError(ValueError):
    """A task fits nowhere."""


def eligible(workload: Workload, sites: Sequence[SiteSpec]) -> list[list[int]]:
    """The sites that are large enough, by shape.

    Raises:
        StrandedError: no site is.
    """
    found: list[list[int]] = []
    used = set(workload.shape.tolist())
    for number, shape in enumerate(workload.shapes):
        sizes = [site.sizes().get(shape.kind, (0, 0, 0)) for site in sites]
        fit = [n for n, size in enumerate(sizes) if within(shape.need, size)]
        if not fit and number in used:
            cores, memory, gpus = shape.need
            raise StrandedError(
                f"no site has {cores} cores, {memory} bytes and {gpus} GPUs in partition {shape.kind}"
            )
        found.append(fit)
    return found


def within(need: Need, size: Need) -> bool:
    return all(n <= s for n, s in zip(need, size, strict=True))


def home(workload: Workload, sites: Sequence[SiteSpec], seed: int, progress: Progress) -> Schedule:
    """Every task at its home; one that its home is too small for goes to the first that is not."""
    fits = eligible(workload, sites)
    pairs = zip(workload.home().tolist(), workload.shape.tolist(), strict=True)
    where = [home if home in fits[shape] else fits[shape][0] for home, shape in pairs]
    return run_apart(workload, sites, where, progress)


def at_random(
    workload: Workload, sites: Sequence[SiteSpec], seed: int, progress: Progress
) -> Schedule:
    """Every task at a site drawn from those that are large enough, each as likely."""
    fits, rng = eligible(workload, sites), random.Random(seed)
    where = [rng.choice(fits[s]) for s in workload.shape.tolist()]
    return run_apart(workload, sites, where, progress)


def run_apart(
    workload: Workload, sites: Sequence[SiteSpec], where: list[int], progress: Progress
) -> Schedule:
    """The sites know nothing of each other: one partition after the other lives through its tasks."""
    shapes, runs = workload.shape.tolist(), workload.run.tolist()
    limits = np.array([s.limit for s in workload.shapes])[workload.shape].tolist()
    needs = {n: s.need for n, s in enumerate(workload.shapes)}
    submits, started = workload.submit.tolist(), [-1] * len(workload)
    lines: dict[tuple[int, str], list[int]] = {}
    kinds = [s.kind for s in workload.shapes]
    for task, site in enumerate(where):
        lines.setdefault((site, kinds[shapes[task]]), []).append(task)
    ended = 0
    for (site, kind), tasks in lines.items():
        partition = Partition(site, sites[site].sizes()[kind], needs, runs, limits, started)
        for task in tasks:
            for _ in partition.advance(submits[task]):
                ended += 1
            partition.submit(submits[task], shapes[task], task)
        for _ in partition.advance(1 << 62):
            ended += 1
        progress(ended)
    return checked(workload, started, where, ended)


def by_list(
    workload: Workload, sites: Sequence[SiteSpec], seed: int, progress: Progress
) -> Schedule:
    """One list for all sites, in the order of submission, and every run time known beforehand.

    Whenever something is free somewhere, the list is gone through, and what fits starts; the oldest
    task that does not fit has a reservation at every site, until something ends there. Of tasks
    alike in what they ask, those whose run times have the same power of two above them are one
    class: the oldest is tried for all.
    """
    return _List(workload, sites).run(progress)


class _List:
    def __init__(self, workload: Workload, sites: Sequence[SiteSpec]) -> None:
        self.workload = workload
        self.shapes, self.runs = workload.shape.tolist(), workload.run.tolist()
        pairs = zip(self.shapes, self.runs, strict=True)
        self.classes = [s * OCTAVES + run.bit_length() for s, run in pairs]
        self.started = [-1] * len(workload)
        fits = eligible(workload, sites)
        classes = [(c, c // OCTAVES) for c in set(self.classes)]
        self.partitions: dict[str, list[Partition]] = {}
        for kind in sorted({s.kind for s in workload.shapes}):
            mine = [(c, s) for c, s in classes if workload.shapes[s].kind == kind]
            queue = Queue()
            for n, site in enumerate(sites):
                if kind in site.sizes():
                    needs = {c: workload.shapes[s].need for c, s in mine if n in fits[s]}
                    size = site.sizes()[kind]
                    made = Partition(n, size, needs, self.runs, self.runs, self.started, queue)
                    self.partitions.setdefault(kind, []).append(made)

    def run(self, progress: Progress) -> Schedule:
        submits = self.workload.submit.tolist()
        where = [-1] * len(submits)
        ended = 0
        for kind, partitions in self.partitions.items():
            mine = [t for t, s in enumerate(self.shapes) if self.workload.shapes[s].kind == kind]
            ends: list[tuple[int, int]] = []  # when something ends next, in which partition
            for task in [*mine, None]:
                until = 1 << 62 if task is None else submits[task]
                while ends and ends[0][0] <= until:
                    moment, n = heappop(ends)
                    for _ in partitions[n].advance(moment):
                        ended += 1
                    self._news(partitions[n], n, where, ends)
                progress(ended)
                if task is not None:
                    self._submit(task, until, partitions, where, ends)
        return checked(self.workload, self.started, where, ended)

    def _submit(
        self, task: int, now: int, partitions: list[Partition], where: list[int], ends: list[tuple[int, int]]
    ) -> None:  # fmt: skip
        """It starts where most is free, if that delays nobody; else it waits for all to free something."""
        kind = self.classes[task]
        large = [(p.needs[kind], n, p) for n, p in enumerate(partitions) if kind in p.needs]
        for need, n, partition in sorted(large, key=lambda one: -one[2].free_cores):
            if not partition.queue.length:
                partition.reserved = None
            if partition.starts(now, task, need):
                self._news(partition, n, where, ends)
                return
        partitions[0].queue.add(kind, task)
        for need, _, partition in large:
            if partition.reserved is None:  # it is the oldest there
                partition.reserve(now, need)

    def _news(
        self, partition: Partition, n: int, where: list[int], ends: list[tuple[int, int]]
    ) -> None:
        for moment, task in partition.news:
            where[task] = partition.site
            heappush(ends, (moment + self.runs[task], n))
        partition.news.clear()


def checked(
    workload: Workload,
    started: list[int],
    where: list[int],
    ended: int,
    notes: dict[str, float] | None = None,
) -> Schedule:
    """Each task ran once, and none before it was submitted."""
    start = np.array(started, dtype=np.int64)
    if ended != len(workload) or bool((start < workload.submit).any()):
        raise RuntimeError(f"{ended} of {len(workload)} tasks ended: the simulation is wrong")
    return Schedule(start, np.array(where, dtype=np.int64), notes or {})
