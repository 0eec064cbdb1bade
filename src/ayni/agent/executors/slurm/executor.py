"""The Slurm executor: tasks wait in pools, and batch jobs take them (see `supervisor.pilot`).

What tasks do is read from the pilots' files, on the shared file system; the scheduler is asked for
all of our batch jobs at once, every few seconds, and the accounting only for those that left the
queue. A batch job that is not in the queue is unknown until the accounting says how it ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ayni.agent.executors.base import (
    Allocation,
    ExecutorUnavailable,
    Fault,
    Job,
    JobStatus,
    PartitionInfo,
)
from ayni.agent.executors.jobfiles import JobFiles
from ayni.agent.executors.slurm import ends, parse
from ayni.agent.executors.slurm.accounting import Accounting
from ayni.agent.executors.slurm.allowance import Allowance
from ayni.agent.executors.slurm.books import Books, Pilot, Task
from ayni.agent.executors.slurm.cluster import Cluster
from ayni.agent.executors.slurm.fleet import Fleet
from ayni.agent.executors.slurm.foresight import Foresight, Starts, with_starts
from ayni.agent.executors.slurm.news import News
from ayni.agent.executors.slurm.pools import Key
from ayni.agent.executors.slurm.script import Rules
from ayni.agent.executors.slurm.state import job_prefix, on_shared_disk
from ayni.agent.executors.slurm.tool import Slurm, our_name, our_user
from ayni.agent.localusers import LocalUser
from ayni.agent.runtimes.base import Finding, ImageSpec, PlanError, Runtime
from ayni.agent.supervisor import files

_OFTEN = 1.0  # seconds between two looks at the queue while batch jobs are about to start or end …
_SELDOM = 10.0  # … and while nothing changes
_UNSEEN = 15.0  # seconds for which squeue may not show a job that was just submitted
_PATIENCE = 120.0  # seconds beyond a task's walltime after which nobody will know how it ended
_REQUEUED = "the scheduler put its batch job back into the queue"


class SlurmExecutor:
    """Runs jobs by Slurm."""

    def __init__(
        self,
        state: Path,
        slurm: Slurm,
        images: Mapping[str, ImageSpec],
        runtimes: Mapping[str, Runtime],
        rules: Rules | None = None,
        allowed: Collection[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        user: LocalUser | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """Open, or take over, a state folder.

        Args:
            state: on the file system that the compute nodes share, for this executor alone.
            slurm: the cluster's commands.
            images: what each image name means.
            runtimes: by name, what runs them.
            rules: what the operator adds to each batch job.
            allowed: the partitions that may be used; None for all.
            clock: monotonic time.
            user: whose batch jobs they are; None for the agent's own user.
            cluster: what is known of the site, where several executors share it.
        """
        self._state = state.absolute()
        self._state.mkdir(parents=True, exist_ok=True)
        self._slurm = slurm
        self._clock = clock
        self._rules = rules or Rules()
        self._user = our_user() if user is None else str(user.uid)
        self._prefix = job_prefix(self._state)
        self._files = JobFiles(self._state, images, runtimes, None if user is None else user.group)
        self._cluster = cluster or Cluster(slurm, allowed, clock, self._rules.reservation)
        name = our_name() if user is None else user.name
        self._allowance = Allowance(slurm, self._rules, self._cluster, name, clock)
        self._books = Books(self._state, clock)
        self._news = News(self._books)
        self._accounting = Accounting(self._state, slurm, self._user)
        self._fleet = Fleet(
            self._state,
            self._prefix,
            slurm,
            self._rules,
            self._allowance,
            self._books,
            self._news.turn_away,
        )
        self._foresight = Foresight(slurm, self._rules, self._allowance, self._books, clock)
        specs = (self._files.read(job_id) for job_id in sorted(self._files.ids()))
        self._books.recover(spec for spec in specs if spec is not None)
        self._pause = _OFTEN
        self._next_look = float("-inf")
        self._looked = False
        for task in self._books.broken_off():
            if self._books.cancel_mark(task.id).exists():
                self._news.decide(task, "ended", "canceled", "canceled before it started")
            else:
                self._news.decide(
                    task, "lost", None, "the agent was stopped while it turned it away"
                )

    findings: Sequence[Finding] = ()

    # --- the interface ---

    def partitions(self) -> Sequence[PartitionInfo]:
        return with_starts(self._cluster.infos(self.held()), [self.starts()])

    def held(self) -> Counter[str]:
        """Cores that our batch jobs hold, by partition; asks whether the accounting answers, too."""
        self._accounting.probe(self._clock())
        self._look_back()
        ours: Counter[str] = Counter()
        for found in self._books.pilots.values():
            if not found.waiting and found.gone is None:
                key = self._books.pools[found.pool].key
                ours[key.partition] += found.slots * key.cores * key.nodes
        return ours

    @on_shared_disk
    def _look_back(self) -> None:
        self._accounting.look_back(self._clock())

    def starts(self) -> Starts:
        """What is foreseen of our tasks, by partition."""
        self._foresight.ask()
        return self._foresight.starts()

    @on_shared_disk
    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str]:
        refused: dict[str, str] = {}
        for job in jobs:
            if job.id in self._books.tasks:
                continue
            try:
                self._add(job)
            except PlanError as error:
                refused[job.id] = str(error)
        return refused

    def _add(self, job: Job) -> None:
        self._allowance.check(job)
        key = Key.of(job)
        self._books.pool(key)
        entry = self._books.entry(job.id)
        more = {"pool": key.name, "key": key.as_json(), "entry": entry, "ranks": self._ranks(key)}
        if not self._files.write(job, **more):  # a full disk kept it from its pool before
            spec = self._files.read(job.id)
            assert spec is not None
            entry = spec["entry"]
        self._books.add(Task(job.id, str(job.folder), key.name, entry))

    def poll(self) -> Sequence[JobStatus]:
        self.hear()
        return self.look()

    @on_shared_disk
    def hear(self) -> None:
        """Take in what the batch jobs have said; before the queue is asked, which is newer then."""
        self._read_events()

    @on_shared_disk
    def look(self) -> Sequence[JobStatus]:
        """Look at the queue, if that is due, and submit what is lacking; all news."""
        now = self._clock()
        try:
            if now >= self._next_look:
                self._look(now)
            # Until the queue is known, so is not what an earlier executor submitted.
            if self._looked and self._fleet.balance(now):
                self._pause = _OFTEN
                self._next_look = min(self._next_look, now + self._pause)
        except ExecutorUnavailable:
            self._looked = False  # what was asked may have been done: look before asking again
            if not self._news:  # what the pilots told is true, whether or not Slurm answers
                raise
        return self._news.take()

    def known(self, ids: Collection[str]) -> set[str]:
        """Those of these jobs that are ours."""
        return {job_id for job_id in ids if job_id in self._books.tasks}

    def is_due(self) -> bool:
        """Whether the next poll looks at the queue."""
        return self._clock() >= self._next_look and not self._has_no_work()

    def _has_no_work(self) -> bool:
        return not self._books.tasks and self.is_idle()

    def look_soon(self) -> None:
        """Let the next poll look at the queue: somebody asks for it anyway."""
        self._next_look = float("-inf")

    @on_shared_disk
    def states(self, ids: Collection[str]) -> Mapping[str, JobStatus]:
        self._read_events()
        return {
            job_id: self._news.state_of(self._books.tasks[job_id])
            for job_id in ids
            if job_id in self._books.tasks
        }

    @on_shared_disk
    def cancel(self, ids: Collection[str]) -> None:
        for job_id in ids:
            task = self._books.tasks.get(job_id)
            if task is None or task.ended:
                continue
            self._books.cancel_mark(job_id).touch()
            if task.pilot is None:
                self._news.turn_away(task, "canceled", "canceled before it started")

    @on_shared_disk
    def is_idle(self) -> bool:
        return not (self._books.pilots or self._books.have_events() or self._accounting.open())

    @on_shared_disk
    def forget(self, ids: Collection[str]) -> None:
        for job_id in ids:
            self._files.path(job_id).unlink(missing_ok=True)
            self._books.forget(job_id)
            self._news.forget(job_id)
        self._books.drop_idle_pools()

    def allocations(self) -> Mapping[str, Allocation]:
        return self._accounting.allocations()

    @on_shared_disk
    def booked(self, ids: Collection[str]) -> None:
        self._accounting.booked(ids)

    def faults(self) -> Sequence[Fault]:
        return self._slurm.health.faults()

    def close(self) -> None:
        """Nothing is held: what runs goes on."""

    def _ranks(self, key: Key) -> dict[str, Any] | None:
        """How a task of several ranks is started; None for an ordinary one. See `supervisor.ranks`."""
        if key.ranks == 1:
            return None
        cores = key.cores // key.tasks_per_node
        return {
            "nodes": key.nodes, "each": key.tasks_per_node, "cores": cores, "mpi": self._rules.mpi,
        }  # fmt: skip

    # --- what pilots tell ---

    def _read_events(self) -> None:
        for job, words in self._books.events():
            match words:
                case ["pilot", node, run]:
                    if (known := self._books.pilots.get(job)) is not None:
                        self._began(known, str(node), run)
                case ["started", job_id, when]:
                    self._news.started(job, str(job_id), float(when))
                case ["ended", job_id, _]:
                    self._news.ended(str(job_id))
                case ["signal", when]:
                    if (known := self._books.pilots.get(job)) is not None:
                        known.signaled = float(when)
                case ["closed"] | ["over"]:
                    if (known := self._books.pilots.get(job)) is not None:
                        known.closed = True

    def _began(self, found: Pilot, node: str, run: int) -> None:
        """A batch job runs, perhaps anew: what its earlier run left unended is lost."""
        for job_id in list(found.live):
            task = self._books.tasks[job_id]
            if files.claim_tag(task.folder) == f"{found.id}.{run}":
                continue
            self._news.ended(job_id)
            if not task.ended:
                self._news.decide(task, "lost", None, _REQUEUED)
        found.node, found.waiting = node, False
        found.signaled, found.closed = None, False

    # --- the queue ---

    def _look(self, now: float) -> None:
        """Ask the scheduler for all of our batch jobs."""
        if self._has_no_work():
            return
        self._next_look = now + self._pause
        queue = {row.id: row for row in self._slurm.squeue(self._user) if self._is_ours(row)}
        self._looked = True
        for row in queue.values():
            self._seen(row, now)
        self._read_events()
        self._books.find_claims()
        gone = [p for p in self._books.pilots.values() if self._is_gone(p, queue, now)]
        for found in gone:
            for job_id in list(found.live):
                self._news.ended(job_id)
        barren = [p for p in gone if not p.took and not p.withdrawn]
        left = {p.id for p in gone if p.live} | {p.id for p in barren}
        accounts = self._accounting.ask(left, now)
        self._settle([found for found in gone if found.live], accounts, now)
        self._fleet.mind_barren(barren, accounts, now)
        over = [found for found in gone if not found.live]
        for found in over:
            del self._books.pilots[found.id]
        if over:
            self._books.drop_idle_pools()
        for events in self._books.stray_events(queue):
            self._accounting.keep(events)
        self._accounting.take(accounts, queue)
        busy = gone or any(found.waiting for found in self._books.pilots.values())
        self._pause = _OFTEN if busy else min(self._pause * 1.5, _SELDOM)

    def _is_ours(self, row: parse.Queued) -> bool:
        return row.name.startswith(self._prefix) and row.state not in parse.OVER

    def _seen(self, row: parse.Queued, now: float) -> None:
        found = self._books.pilots.get(row.id)
        if found is None:
            pool = self._books.pools.get(row.name.rpartition("-")[2])
            if pool is None:
                return  # of a pool that is forgotten: it finds nothing and ends
            slots = max(1, row.cores // (pool.key.cores * pool.key.nodes))
            found = Pilot(row.id, pool.key.name, slots, now)
            self._books.pilots[row.id] = found
        found.gone, found.withdrawn = None, False
        found.waiting = row.state in parse.WAITING
        found.since = None if found.waiting else found.since or now
        found.start = row.start
        found.took = found.took and not found.waiting
        if found.waiting and ends.is_for_ever(row.reason):
            self._fleet.refuse(self._books.pools[found.pool], row.reason, now)
        if found.waiting and found.live:
            for job_id in list(found.live):
                self._news.decide(self._books.tasks[job_id], "lost", None, _REQUEUED)

    def _is_gone(self, found: Pilot, queue: Mapping[str, parse.Queued], now: float) -> bool:
        if found.id in queue or (now - found.submitted < _UNSEEN and found.waiting):
            return False
        found.gone = found.gone or now
        return True

    def _settle(
        self, gone: Sequence[Pilot], accounts: Mapping[str, parse.Account], now: float
    ) -> None:
        """Say of tasks whose batch job left the queue without their end how they ended."""
        for found in gone:
            account = accounts.get(found.id)
            over = account is not None and account.state in parse.OVER
            alone = len(found.live) == 1 and found.slots == 1
            end = ends.of_account(account, alone=alone)
            for task in [self._books.tasks[job_id] for job_id in found.live]:
                if over or self._is_past_hope(task, found, now):
                    self._news.decide(task, end.state, end.reason, end.message)

    def _is_past_hope(self, task: Task, by: Pilot, now: float) -> bool:
        """Whether a task of a batch job that is gone would have been ended by its supervisor long since.

        A controller that was killed may have lost a batch job, whose end the accounting then never learns.
        """
        assert by.gone is not None
        key = self._books.pools[task.pool].key
        return now - max(by.gone, task.since + key.walltime + key.grace) > _PATIENCE
