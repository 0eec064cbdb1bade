"""One list for all sites, with true run times: what a scheduler that knew everything would do.

All that is asked of every class of tasks, or of every site, is asked in one step over arrays: a million
tasks at a hundred sites take minutes, however many of them wait.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
from numpy.typing import NDArray

from bench.simulate.policies import Progress, Schedule, checked, eligible
from bench.simulate.profiles import SiteSpec
from bench.simulate.site import Need, Running, reservation
from bench.simulate.workload import Ints, Workload

OCTAVES = 64  # a class is a shape, and a run time's power of two
NEVER = 1 << 62
Mask = NDArray[np.bool_]


def by_list(
    workload: Workload, sites: Sequence[SiteSpec], seed: int, progress: Progress
) -> Schedule:
    """One list for all sites, in the order of submission, and every run time known beforehand.

    A task starts where most is free, if that delays nobody; else it joins the list. Whenever something
    ends at a site, the list is gone through, and what fits there starts. The oldest task that does not
    fit has a reservation at every site that is large enough, until something ends there or the list is
    empty. Of tasks alike in what they ask, those whose run times have the same power of two above them
    are one class: the oldest is tried for all.
    """
    eligible(workload, sites)  # or something would never end
    started, where = [-1] * len(workload), [-1] * len(workload)
    ended = 0
    kinds = np.array([s.kind for s in workload.shapes])[workload.shape]
    for kind in sorted(set(kinds.tolist())):
        mine = np.flatnonzero(kinds == kind)
        places = [n for n, site in enumerate(sites) if kind in site.sizes()]
        sizes = [sites[n].sizes()[kind] for n in places]
        central = _List(workload, mine, sizes)
        ended = central.run(progress, ended)
        for task, start, n in zip(mine.tolist(), central.started, central.where, strict=True):
            started[task], where[task] = start, places[n]
    return checked(workload, started, where, ended)


class _List:
    """The partitions of one kind, and all that is submitted to them. Tasks have numbers of their own."""

    def __init__(self, workload: Workload, mine: Ints, sizes: list[Need]) -> None:
        self.submits: list[int] = workload.submit[mine].tolist()
        self.runs: list[int] = workload.run[mine].tolist()
        self.started, self.where = [-1] * len(mine), [-1] * len(mine)
        asked = zip(workload.shape[mine].tolist(), self.runs, strict=True)
        numbers: dict[tuple[int, int], int] = {}
        self.classes = [numbers.setdefault((s, r.bit_length()), len(numbers)) for s, r in asked]
        self.needs = [workload.shapes[shape].need for shape, _ in numbers]
        # By class: what it asks, and its oldest task.
        self.asked = np.array(self.needs, dtype=np.int64).T.copy()
        self.waiting: list[deque[int]] = [deque() for _ in numbers]
        self.oldest = np.full(len(numbers), NEVER, dtype=np.int64)
        self.oldest_run = np.zeros(len(numbers), dtype=np.int64)
        self.length = 0
        # By partition: what is free, until when something is reserved (NEVER: nothing is), and what
        # that leaves free then.
        self.free = np.array(sizes, dtype=np.int64).T.copy()
        self.reserved = np.full(len(sizes), NEVER, dtype=np.int64)
        self.spare = np.zeros_like(self.free)
        self.large: list[Mask] = [_within(need, self.free) for need in self.needs]
        self.small: list[Mask] = [~np.array(row) for row in zip(*self.large, strict=True)]
        self.running: list[list[Running]] = [[] for _ in sizes]
        self.ends: list[tuple[int, int]] = []  # heap: when something ends, in which partition

    def run(self, progress: Progress, ended: int) -> int:
        """Live through it all; returns how many tasks have ended, with those that had before."""
        for task, submit in enumerate(self.submits):
            ended += self._advance(submit)
            progress(ended)
            self._submit(task, submit)
        return ended + self._advance(NEVER)

    def _advance(self, until: int) -> int:
        ended = 0
        while self.ends and self.ends[0][0] <= until:
            now, n = self.ends[0]
            running, gone = self.running[n], 0
            while self.ends and self.ends[0] == (now, n):
                heappop(self.ends)
                self.free[:, n] += running[gone][1:]
                gone += 1
            del running[:gone]
            ended += gone
            if self.length:
                self._schedule(n, now)
        return ended

    def _submit(self, task: int, now: int) -> None:
        kind, run = self.classes[task], self.runs[task]
        need = self.needs[kind]
        may = _within(need, self.free)
        may &= (self.reserved >= now + run) | _within(need, self.spare)
        n = int(np.where(may, self.free[0], -1).argmax())
        if may[n]:
            self._start(n, task, now)
            return
        self.waiting[kind].append(task)
        self.length += 1
        if len(self.waiting[kind]) == 1:
            self._show(kind)
        for n in np.flatnonzero(self.large[kind] & (self.reserved == NEVER)).tolist():
            self._reserve(n, kind, now)  # it is the oldest there

    def _schedule(self, n: int, now: int) -> None:
        """Go through the list: after something has ended in a partition."""
        self.reserved[n] = NEVER
        while (kind := self._first(n)) is not None:
            if not self._fits(n, kind):
                self._reserve(n, kind, now)
                self._backfill(n, now)
                return
            self._start_oldest(n, kind, now)

    def _first(self, n: int) -> int | None:
        """The class of the oldest task for which the partition is large enough."""
        orders = np.where(self.small[n], NEVER, self.oldest)
        kind = int(orders.argmin())
        return kind if orders[kind] < NEVER else None

    def _backfill(self, n: int, now: int) -> None:
        """Start what does not delay the reservation, by age."""
        may = (self.oldest < NEVER) & (_fit(self.asked, self.free[:, n]))
        may &= (self.oldest_run <= self.reserved[n] - now) | _fit(self.asked, self.spare[:, n])
        heads = [(int(self.oldest[kind]), kind) for kind in np.flatnonzero(may).tolist()]
        heapify(heads)
        while heads:
            task, kind = heads[0]
            if self._fits(n, kind) and self._may_pass(n, kind, now + self.runs[task]):
                self._start_oldest(n, kind, now)
                if self.waiting[kind]:
                    heapreplace(heads, (self.waiting[kind][0], kind))
                    continue
            heappop(heads)

    def _fits(self, n: int, kind: int) -> bool:
        return bool((self.asked[:, kind] <= self.free[:, n]).all())

    def _may_pass(self, n: int, kind: int, end: int) -> bool:
        return end <= self.reserved[n] or bool((self.asked[:, kind] <= self.spare[:, n]).all())

    def _reserve(self, n: int, kind: int, now: int) -> None:
        free = self.free[:, n].tolist()
        self.reserved[n], self.spare[:, n] = reservation(
            now, free, self.running[n], self.needs[kind]
        )

    def _start_oldest(self, n: int, kind: int, now: int) -> None:
        self._start(n, self.waiting[kind].popleft(), now)
        self._show(kind)
        self.length -= 1
        if not self.length:
            self.reserved[:] = NEVER

    def _show(self, kind: int) -> None:
        """Note which is a class's oldest. Tasks are numbered by age."""
        waiting = self.waiting[kind]
        self.oldest[kind] = waiting[0] if waiting else NEVER
        self.oldest_run[kind] = self.runs[waiting[0]] if waiting else 0

    def _start(self, n: int, task: int, now: int) -> None:
        if self.started[task] >= 0:
            raise RuntimeError(f"task {task} starts a second time")
        need, end = self.needs[self.classes[task]], now + self.runs[task]
        self.started[task], self.where[task] = now, n
        self.free[:, n] -= need
        if end > self.reserved[n]:
            self.spare[:, n] -= need
        insort(self.running[n], (end, *need))
        heappush(self.ends, (end, n))


def _within(need: Need, there: Ints) -> Mask:
    """Where there is as much as is needed: of columns of cores, memory and GPUs."""
    return (there[0] >= need[0]) & (there[1] >= need[1]) & (there[2] >= need[2])


def _fit(needs: Ints, there: Ints) -> Mask:
    """Which needs there is enough for."""
    return (needs[0] <= there[0]) & (needs[1] <= there[1]) & (needs[2] <= there[2])
