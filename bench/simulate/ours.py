"""Ours: the real broker, and the real protocol between it and the sites, with messages that get lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ayni.broker.types import Settings
from ayni.protocol.messages import MAX_ASSIGNMENTS, SyncRequest
from bench.simulate.agent import NEVER, Agent
from bench.simulate.hub import Desk, Hub
from bench.simulate.policies import Progress, Schedule, checked, eligible
from bench.simulate.profiles import SiteSpec
from bench.simulate.site import Partition
from bench.simulate.workload import Workload

RECALL_EVERY = 10  # seconds, as the hub does; or four cycles, if that is longer
LOOK_AGAIN = 30  # seconds after which a cycle runs although nothing happened: holds end
CYCLE_TASKS = Settings().most_tasks  # the hub's cycles are a second apart, ours `gap`


@dataclass
class Ours:
    """`gap`: seconds between cycles, at least. `loss`: of requests and of replies, each.

    `depth`: tasks that a partition wants waiting there beyond those that fit; None: as the agent decides.
    """

    gap: int = 1
    loss: float = 0.0
    depth: int | None = None

    def __call__(
        self, workload: Workload, sites: list[SiteSpec], seed: int, progress: Progress
    ) -> Schedule:
        return _Run(workload, sites, self, seed).run(progress)


class _Run:
    def __init__(self, workload: Workload, sites: list[SiteSpec], how: Ours, seed: int) -> None:
        eligible(workload, sites)  # or nothing would ever end
        self.how, self.workload = how, workload
        self.rng = random.Random(seed)
        self.hub = Hub(workload, sites, Settings(most_tasks=CYCLE_TASKS * how.gap))
        self.started = [-1] * len(workload)
        self.where = [-1] * len(workload)
        self.shape_of = workload.shape.tolist()
        runs = workload.run.tolist()
        limits = np.array([s.limit for s in workload.shapes])[workload.shape].tolist()
        needs = {n: s.need for n, s in enumerate(workload.shapes)}
        # What ends between two cycles has to be replaced from the site's own queue.
        window = max(2.0, float(how.gap))
        self.agents = []
        for n, site in enumerate(sites):
            partitions = {
                kind: Partition(n, size, needs, runs, limits, self.started)
                for kind, size in site.sizes().items()
            }
            self.agents.append(
                Agent(
                    site, partitions, workload.shapes, self.shape_of, self.where, how.depth, window
                )
            )
        self.pairs = [(a, self.hub.desks[a.spec.name]) for a in self.agents]
        self.recalled = 0

    def run(self, progress: Progress) -> Schedule:
        tasks = self._tasks()
        coming = next(tasks, None)
        now = 0
        while self.hub.done < len(self.workload):
            while coming and coming[0] <= now:
                self.hub.submit(coming[1], coming[2], coming[3], now)
                coming = next(tasks, None)
            self._cycle(now)
            progress(self.hub.done)
            now = self._next(now, coming[0] if coming else NEVER)
        notes = {name: float(count) for name, count in self.hub.notes.items()}
        return checked(self.workload, self.started, self.where, self.hub.done, notes)

    def _tasks(self) -> Iterator[tuple[int, int, int, int]]:
        w = self.workload
        rows = zip(w.submit.tolist(), w.project.tolist(), self.shape_of, strict=True)
        for task, (submit, project, shape) in enumerate(rows):
            yield submit, task, project, shape

    def _cycle(self, now: int) -> None:
        """The sites' news reach the hub, the broker decides, the hub's wishes reach the sites."""
        open_requests: dict[str, SyncRequest] = {}
        for agent, desk in self.pairs:
            agent.advance(now)
            if agent.has_news:
                self._ask(agent, desk, now, open_requests)
            else:
                desk.heard_at = now  # its request has been held open since
        self.hub.place(now)
        if now - self.recalled >= max(RECALL_EVERY, 4 * self.how.gap):
            self.recalled = now
            self.hub.recall(now)
        for agent, desk in self.pairs:
            request = open_requests.get(agent.spec.name)
            if request is None and desk.has_news:
                request = self._ask(agent, desk, now, open_requests)
            while request is not None and not self._is_lost():
                agent.hear(self.hub.reply(desk, request), now)
                more = len(desk.unaccepted) > MAX_ASSIGNMENTS  # than one reply holds
                request = self._ask(agent, desk, now, open_requests) if more else None

    def _ask(
        self, agent: Agent, desk: Desk, now: int, open_requests: dict[str, SyncRequest]
    ) -> SyncRequest | None:
        request = agent.request()
        self.hub.notes["syncs"] += 1
        if self._is_lost():
            return None
        self.hub.hear(desk, request, now)
        open_requests[agent.spec.name] = request
        return request

    def _is_lost(self) -> bool:
        lost = self.how.loss > 0 and self.rng.random() < self.how.loss
        self.hub.notes["lost messages"] += lost
        return lost

    def _next(self, now: int, submit: int) -> int:
        """The moment of the next cycle: as soon as something happens, but not before the gap."""
        soonest = now + self.how.gap
        if any(agent.has_news or desk.has_news for agent, desk in self.pairs):
            return soonest
        event = min(submit, *(agent.next_end for agent in self.agents))
        waits = bool(self.hub.queued) or any(
            p.queue.length for a in self.agents for p in a.partitions.values()
        )
        if waits:
            event = min(event, now + LOOK_AGAIN)
        return max(soonest, event)
