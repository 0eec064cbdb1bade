"""A partition of a simulated site: first come, first served, with EASY backfill.

The oldest waiting task that does not fit has a reservation: the earliest moment at which, by the limits of
what runs, enough is free. A younger task may start before it if it ends by then, or takes only
what that task leaves free.

Waiting tasks are kept by class (tasks alike in what they ask and for how long). If the oldest of a class
cannot start now, none of it can: a pass costs by the number of classes, not of tasks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace

Need = tuple[int, int, int]  # cores, memory, GPUs
Entry = tuple[int, int]  # order of arrival, task
Running = tuple[int, int, int, int]  # when it ends, and the cores, memory and GPUs that it frees


def reservation(
    now: int, free: Sequence[int], running: Sequence[Running], need: Need
) -> tuple[int, Need]:
    """When enough will be free for a task, and what it leaves free then. `running` is sorted."""
    cores, memory, gpus = free
    when = now
    n = 0
    while cores < need[0] or memory < need[1] or gpus < need[2]:
        when, c, m, g = running[n]
        cores, memory, gpus, n = cores + c, memory + m, gpus + g, n + 1
    while n < len(running) and running[n][0] == when:
        _, c, m, g = running[n]
        cores, memory, gpus, n = cores + c, memory + m, gpus + g, n + 1
    return when, (cores - need[0], memory - need[1], gpus - need[2])


class Queue:
    """What waits, by class."""

    def __init__(self) -> None:
        self.classes: dict[int, deque[Entry]] = {}
        self.length = 0
        self._arrivals = 0

    def add(self, kind: int, task: int) -> None:
        self._arrivals += 1
        self.length += 1
        waiting = self.classes.get(kind)
        if waiting is None:
            waiting = self.classes[kind] = deque()
        waiting.append((self._arrivals, task))

    def pop(self, kind: int) -> int:
        """Take the oldest of a class."""
        waiting = self.classes[kind]
        task = waiting.popleft()[1]
        self.length -= 1
        if not waiting:
            del self.classes[kind]
        return task

    def remove(self, kind: int, task: int) -> bool:
        """Take one out, wherever it stands; False if it does not wait."""
        waiting = self.classes.get(kind, deque())
        for entry in waiting:
            if entry[1] == task:
                waiting.remove(entry)
                self.length -= 1
                if not waiting:
                    del self.classes[kind]
                return True
        return False


class Partition:
    """`runs` are the true run times, `limits` what the scheduler believes; both by task."""

    def __init__(
        self,
        site: int,
        size: Need,
        needs: dict[int, Need],
        runs: Sequence[int],
        limits: Sequence[int],
        started: list[int],
    ) -> None:
        self.site = site
        self.size = size
        self.free_cores, self.free_memory, self.free_gpus = size
        self.needs = needs
        self.runs, self.limits = runs, limits
        self.started = started  # moment by task, -1 before
        self.queue = Queue()
        self.running: list[Running] = []  # sorted; ends by limit
        self.ends: list[tuple[int, int, int, Need]] = []  # heap: true end, task, end by limit
        self.news: list[tuple[int, int]] = []  # moment of start, task: for who wants to know
        self.reserved: int | None = None  # when the oldest that waits can start at the latest
        self._spare: Need = (0, 0, 0)  # what it leaves free then

    def fits(self, need: Need) -> bool:
        cores, memory, gpus = need
        return cores <= self.free_cores and memory <= self.free_memory and gpus <= self.free_gpus

    # --- events -----------------------------------------------------------------------------

    def submit(self, now: int, kind: int, task: int) -> bool:
        """A task arrives: whether it starts at once. All ends up to now must be known."""
        need = self.needs[kind]
        if not self.queue.length:
            self.reserved = None
        if self.starts(now, task, need):
            return True
        if not self.queue.length:
            self.reserve(now, need)
        self.queue.add(kind, task)
        return False

    def starts(self, now: int, task: int, need: Need) -> bool:
        """Start a task that has just come, if it fits and delays nobody."""
        if self.fits(need) and (self.reserved is None or self._may_pass(now, task, need)):
            self._start(now, task, need)
            return True
        return False

    def withdraw(self, now: int, kind: int, task: int) -> bool:
        """Take a waiting task out; False if it does not wait here."""
        if not self.queue.remove(kind, task):
            return False
        self.schedule(now)  # it may have been the one that others waited for
        return True

    def advance(self, until: int) -> Iterator[tuple[int, int]]:
        """Live through all ends up to a moment; yields them with their tasks."""
        ends = self.ends
        while ends and ends[0][0] <= until:
            now = ends[0][0]
            while ends and ends[0][0] == now:
                _, task, by_limit, need = heappop(ends)
                self._free(by_limit, need)
                yield now, task
            self.schedule(now)

    # --- scheduling ---------------------------------------------------------------------------

    def schedule(self, now: int) -> None:
        """Start what may start: after something was freed or taken out of the queue."""
        self.reserved = None
        heads, blocked = self._heads()
        heapify(heads)
        while heads:
            head, kind = heads[0]
            need = self.needs[kind]
            if self.reserved is None and blocked and blocked[0] < head:
                self.reserve(now, self.needs[blocked[1]])
            if not self.fits(need):
                if self.reserved is None:
                    self.reserve(now, need)
                heappop(heads)
            elif self.reserved is None or self._may_pass(now, head[1], need):
                waiting = self.queue.classes[kind]
                self._start(now, self.queue.pop(kind), need)
                if waiting:
                    heapreplace(heads, (waiting[0], kind))
                else:
                    heappop(heads)
            else:
                heappop(heads)
        if self.reserved is None and blocked:
            self.reserve(now, self.needs[blocked[1]])

    def _heads(self) -> tuple[list[tuple[Entry, int]], tuple[Entry, int] | None]:
        """The oldest of each class that fits now, and the oldest that does not but might."""
        heads: list[tuple[Entry, int]] = []
        blocked: tuple[Entry, int] | None = None
        cores, memory, gpus = self.free_cores, self.free_memory, self.free_gpus
        for kind, waiting in self.queue.classes.items():
            need = self.needs[kind]
            if need[0] <= cores and need[1] <= memory and need[2] <= gpus:
                heads.append((waiting[0], kind))
            elif blocked is None or waiting[0] < blocked[0]:
                blocked = waiting[0], kind
        return heads, blocked

    def reserve(self, now: int, need: Need) -> None:
        """Find when enough will be free for the oldest, and what it leaves."""
        free = self.free_cores, self.free_memory, self.free_gpus
        self.reserved, self._spare = reservation(now, free, self.running, need)

    def _may_pass(self, now: int, task: int, need: Need) -> bool:
        """Whether it can start without delaying the oldest; takes of what that leaves, if it must."""
        if self.reserved is None:
            return False
        if now + self.limits[task] <= self.reserved:
            return True
        cores, memory, gpus = self._spare
        if need[0] > cores or need[1] > memory or need[2] > gpus:
            return False
        self._spare = cores - need[0], memory - need[1], gpus - need[2]
        return True

    def _start(self, now: int, task: int, need: Need) -> None:
        cores, memory, gpus = need
        self.free_cores -= cores
        self.free_memory -= memory
        self.free_gpus -= gpus
        by_limit = now + self.limits[task]
        insort(self.running, (by_limit, *need))
        heappush(self.ends, (now + self.runs[task], task, by_limit, need))
        if self.started[task] >= 0:
            raise RuntimeError(f"task {task} starts a second time")
        self.started[task] = now
        self.news.append((now, task))

    def _free(self, by_limit: int, need: Need) -> None:
        self.free_cores += need[0]
        self.free_memory += need[1]
        self.free_gpus += need[2]
        del self.running[bisect_left(self.running, (by_limit, *need))]
