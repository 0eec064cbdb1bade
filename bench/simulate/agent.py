"""A simulated site's agent: its half of the real protocol, over simulated partitions.

How many tasks it wants waiting is what a real agent wants.
"""

from __future__ import annotations

from collections.abc import Sequence

from ayni.agent.offer import Pace, settle
from ayni.protocol.attempts import AttemptState
from ayni.protocol.exchange import AgentSide
from ayni.protocol.messages import (
    MAX_REPORTS,
    PartitionStatus,
    Report,
    SiteStatus,
    SyncReply,
    SyncRequest,
    UsageReport,
)
from ayni.protocol.policy import Policy
from bench.simulate.profiles import SiteSpec
from bench.simulate.site import Partition
from bench.simulate.workload import Shape

NEVER = 1 << 62


class Agent:
    """`reports` is its journal: of each attempt the newest that is not acknowledged."""

    def __init__(
        self,
        spec: SiteSpec,
        partitions: dict[str, Partition],
        shapes: Sequence[Shape],
        shape_of: Sequence[int],
        where: list[int],  # told of each task that ended: the site's number
        depth: int | None,  # tasks wanted waiting; None: as many as a real agent wants
        window: float,
    ) -> None:
        self.spec, self.partitions = spec, partitions
        self.shapes, self.shape_of, self.where = shapes, shape_of, where
        self.fixed, self.depth = depth, 0
        self.pace = Pace(window)
        self.slots = sum(p.size[0] for p in partitions.values())
        self.side = AgentSide(f"journal-{spec.name}", 1, f"session-{spec.name}")
        self.answered = True  # the last request
        self.seq = 0
        self.reports: dict[str, Report] = {}
        self.attempts: dict[int, str] = {}  # that live here, by task
        self.accepted: dict[int, int] = {}  # moments

    @property
    def has_news(self) -> bool:
        return bool(self.reports) or self.side.status_due or not self.answered

    @property
    def next_end(self) -> int:
        return min((p.ends[0][0] for p in self.partitions.values() if p.ends), default=NEVER)

    def status(self) -> SiteStatus:
        return SiteStatus(
            agent_version="1",
            policy=Policy(),
            partitions=[
                PartitionStatus(
                    name=kind,
                    nodes=self.spec.nodes if kind == "cpu" else self.spec.gpu_nodes,
                    cores_per_node=self.spec.node_cores,
                    memory_per_node=self.spec.node_memory,
                    gpus_per_node=self.spec.node_gpus if kind == "gpu" else 0,
                    max_walltime=366 * 86400,
                    cores=p.size[0],
                    memory=p.size[1],
                    gpus=p.size[2],
                    depth=self.depth,
                )
                for kind, p in self.partitions.items()
            ],
        )

    def request(self) -> SyncRequest:
        self.answered = False
        reports = list(self.reports.values())[:MAX_REPORTS]
        return self.side.request(
            reports,
            self.seq,
            complete=len(reports) == len(self.reports),
            status=self.status,
            inventory=lambda: list(self.attempts.values()),
        )

    def hear(self, reply: SyncReply, now: int) -> None:
        """Take in what the hub wants; what was taken in before changes nothing."""
        if not self.side.hear(reply):
            return
        self.answered = True
        for attempt in [a for a, r in self.reports.items() if r.seq <= reply.acknowledged]:
            del self.reports[attempt]
        for assignment in reply.assignments:
            task, attempt = int(assignment.task_id), assignment.attempt
            if self.attempts.get(task) != attempt and attempt not in self.reports:
                self._accept(task, attempt, assignment.partition, now)
        for attempt in reply.withdrawals:
            self._give_back(attempt, now)

    def advance(self, until: int) -> None:
        """Live through what ends up to a moment, and what starts in its place."""
        runs: list[float] = []
        for partition in self.partitions.values():
            for moment, task in partition.advance(until):
                self._tell_starts(partition)  # it may have started within this very step
                self._tell_end(partition, task, moment)
                runs.append(moment - partition.started[task])
            self._tell_starts(partition)
        self.pace.ended(until, runs)
        wanted = self.fixed or settle(self.depth, self.pace.depth(until, self.slots))
        if wanted != self.depth:
            self.depth = wanted
            self.side.status_due = True

    # --- inside -------------------------------------------------------------------------------

    def _accept(self, task: int, attempt: str, kind: str, now: int) -> None:
        self.attempts[task], self.accepted[task] = attempt, now
        partition = self.partitions[kind]
        if partition.submit(now, self.shape_of[task], task):
            self._tell_starts(partition)
        else:
            self._report(attempt, AttemptState.PENDING)

    def _give_back(self, attempt: str, now: int) -> None:
        task = int(attempt.partition(".")[0])
        if self.attempts.get(task) != attempt:
            return
        kind = self.shape_of[task]
        partition = self.partitions[self.shapes[kind].kind]
        if partition.withdraw(now, kind, task):
            del self.attempts[task], self.accepted[task]
            self._report(attempt, AttemptState.WITHDRAWN)
            self._tell_starts(partition)

    def _tell_starts(self, partition: Partition) -> None:
        for moment, task in partition.news:
            self._report(self.attempts[task], AttemptState.RUNNING, started=moment)
        partition.news.clear()

    def _tell_end(self, partition: Partition, task: int, moment: int) -> None:
        attempt, started = self.attempts.pop(task), partition.started[task]
        self.where[task] = partition.site
        need = partition.needs[self.shape_of[task]]
        usage = UsageReport(
            job=attempt,
            cores=need[0],
            gpus=need[2],
            wall=moment - started,
            cpu=need[0] * (moment - started),
            peak_memory=need[1],
            queue_wait=started - self.accepted.pop(task),
        )
        self._report(attempt, AttemptState.COMPLETE, started=started, ended=moment, usage=usage)

    def _report(self, attempt: str, state: AttemptState, **more: object) -> None:
        self.seq += 1
        self.reports.pop(attempt, None)  # the newest alone, in the order of its number
        self.reports[attempt] = Report(attempt=attempt, seq=self.seq, state=state, **more)
