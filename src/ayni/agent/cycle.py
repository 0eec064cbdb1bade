"""The agent's loop: hear, decide, write down, do. One thread; what takes time is done by others.

A turn takes in what has come (answers of the hub, folders staged, jobs that changed, deliveries),
writes what changed into the journal in one transaction, and only then acts. So a kill at any
instant loses nothing, and a restart goes on from the journal and the executor's own memory.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ayni.agent.channels.relay import Relay
from ayni.agent.chores import Chores
from ayni.agent.config import Config
from ayni.agent.executors.base import Executor, ExecutorUnavailable, JobState, JobStatus
from ayni.agent.hands import Hands, Staged
from ayni.agent.jobs import job_of
from ayni.agent.journal import Entry, Journal
from ayni.agent.line import Answered, Line
from ayni.agent.now import EVERY
from ayni.agent.offer import Offer
from ayni.agent.staging.finish import Finished
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.inputs import Prepared, load
from ayni.agent.volumes import Volumes
from ayni.agent.watch import Watch
from ayni.agent.work import Acts, Work
from ayni.protocol.attempts import AttemptState
from ayni.protocol.exchange import AgentSide
from ayni.protocol.messages import MAX_WAIT, Assignment, SyncReply
from ayni.protocol.policy import Reason, not_now

log = logging.getLogger(__name__)
S = AttemptState

_QUICKEST = 0.02  # seconds between two looks at the executor while things happen …
_SLOWEST = 0.5  # … and while nothing does
_MANY = 32  # attempts in hand, beyond which nobody waits for the next one: then …
_TOGETHER = 0.1  # … seconds in which what comes is taken together, by one transaction
_ASK_AGAIN = 5.0  # after jobs of which the executor could not say anything
_OFFER = 1.0  # seconds between two looks at what the site offers, if nothing grows


@dataclass(frozen=True, slots=True)
class Remark:
    """A line for the user of an attempt."""

    attempt: str
    line: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Nothing but: look again (a signal came)."""


Message = Answered | Staged | Finished | Remark | Wake


@dataclass
class Cycle:
    """The parts in hand and the loop over them.

    Attributes:
        refuses: as of `Work`.
        wall: Unix time, for what is written down.
        clock: monotonic time, for pauses.
    """

    config: Config
    journal: Journal
    executor: Executor
    folders: Folders
    volumes: Volumes
    hands: Hands
    side: AgentSide
    line: Line
    offer: Offer
    relay: Relay
    inbox: queue.SimpleQueue[Message]
    refuses: Callable[[Assignment], Reason | None] = lambda assignment: None
    note: Callable[[Cycle], None] = lambda cycle: None
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.work = Work(self.config, self.refuses)
        self.watch = Watch(self.folders, self.offer.datasets)
        self.chores = Chores(
            self.work,
            self.journal,
            self.executor,
            self.folders,
            self.volumes,
            self.offer,
            self.hands.do,
        )
        self._unsure: set[str] = set()  # ask the executor afresh
        self._ask_after = float("-inf")
        self._pause = _QUICKEST
        self._next_look = float("-inf")
        self._next_round = float("-inf")
        self._next_offer = float("-inf")
        self._next_note = float("-inf")
        self._acknowledged: int | None = None
        self._at_least = 0

    # --- the loop ---

    def run(self) -> None:
        """Turn until told to stop. Jobs go on without us.

        Raises:
            Fenced: another process speaks for this site.
        """
        self.recover()
        while not self.stopping.is_set():
            self.turn(self._pause)
        self._commit()

    def wake(self) -> None:
        """Make the loop look at `stopping`: safe in a signal handler."""
        self.inbox.put(Wake())

    def turn(self, patience: float = 0.0) -> None:
        """One round; waits at most `patience` seconds for something to come."""
        for message in self._arrived(patience):
            self._take(message)
        now = self.clock()
        if now >= self._next_look:
            self._look(now)
        if now >= self._next_round:
            self._now_and_then(now)
        self._commit()
        self._do(self.work.take_acts())
        self._talk(self.clock())

    def _arrived(self, patience: float) -> Iterable[Message]:
        try:
            yield self.inbox.get(timeout=patience) if patience > 0 else self.inbox.get_nowait()
            if patience > 0 and self._has_many():
                self.stopping.wait(_TOGETHER)
            while True:
                yield self.inbox.get_nowait()
        except queue.Empty:
            return

    def _has_many(self) -> bool:
        return len(self.work.entries) > _MANY

    def _take(self, message: Message) -> None:
        now = self.wall()
        if isinstance(message, Answered):
            reply = self.line.take(message, self.clock())
            if reply is not None and self.side.hear(reply):
                self._hear(reply, now)
        elif isinstance(message, Staged):
            self.hands.took(message.attempt)
            self.work.staged(message.attempt, message.result, now)
        elif isinstance(message, Finished):
            self.hands.took(message.attempt)
            self.work.delivered(message.attempt, message, now)
        elif isinstance(message, Remark):
            self.work.remark(message.attempt, message.line)

    # --- the hub ---

    def _hear(self, reply: SyncReply, now: float) -> None:
        self._acknowledged = reply.acknowledged
        if self.side.is_behind(self.journal.seq):
            log.warning("the hub has heard more than this journal holds: was it restored?")
            self._at_least = reply.acknowledged
            self.work.told.update(self.work.entries)
        here = self.work.entries
        fresh = [
            a for a in reply.assignments if not (a.attempt in here or self.journal.has(a.attempt))
        ]
        closed = self._closed(len(fresh)) if fresh else None
        for assignment in fresh:
            walltime = float(assignment.shape.get("walltime", 0))
            against = closed or self.offer.against(assignment.partition, walltime, now)
            self.work.accept(assignment, now, against)
        for attempt in reply.withdrawals:
            self.work.withdraw(attempt, now)
        for attempt in reply.cancels:
            self.work.cancel(attempt, now)
        for attempt in reply.unknown:
            self.work.cancel(attempt, now, mute=True)
        self.watch.wanted = frozenset(reply.watched)
        if reply.remove_volumes and not self.volumes.unwanted.issuperset(reply.remove_volumes):
            self.chores.sweep_soon()
        self.volumes.unwanted = frozenset(reply.remove_volumes)
        self.offer.bring(reply.charters)

    def _closed(self, more: int) -> Reason | None:
        """Why nothing new is taken at this moment."""
        if self.stopping.is_set():
            return Reason(code="stopping", message="the site's agent is being stopped")
        policy = self.config.network_policy
        if policy.max_tasks is not None and len(self.work.entries) + more > policy.max_tasks:
            return Reason(code="full", message=f"has its {policy.max_tasks} tasks already")
        return not_now(policy, datetime.now(UTC)) or self.folders.no_room()

    def _talk(self, now: float) -> None:
        newest = self.journal.seq
        if not self.line.ready(now, newest):
            return
        reports = self.journal.reports(self.side.acknowledged)
        request = self.side.request(
            reports,
            newest,
            complete=not reports or reports[-1].seq >= newest,
            status=self.offer.status,
            inventory=lambda: list(self.work.entries),
            wait=MAX_WAIT,
        )
        self.line.send(request, now)

    # --- the executor ---

    def _look(self, now: float) -> None:
        """See what the jobs do; often while things happen, seldom while nothing does."""
        try:
            if self._unsure and now >= self._ask_after:
                self._sort_out(now)
            wanted = self.work.entries or not self.executor.is_idle()
            statuses = self.executor.poll() if wanted else ()
            self.offer.silence.pop("jobs", None)
        except ExecutorUnavailable as error:
            if "jobs" not in self.offer.silence:
                log.warning("the executor cannot be asked: %s", error)
            self.offer.silence["jobs"] = error.fault
            statuses, self._pause = (), _SLOWEST
        wall = self.wall()
        for status in statuses:
            self._job(status, wall)
        self.offer.pace.ended(now, [s.ended - s.started for s in statuses if s.ended and s.started])
        quickest = _TOGETHER if self._has_many() else _QUICKEST
        self._pause = quickest if statuses else min(self._pause * 1.3, _SLOWEST)
        self._next_look = now + self._pause

    def _job(self, status: JobStatus, wall: float) -> None:
        if status.state is JobState.UNKNOWN:
            self._unsure.add(status.id)
        else:
            self.work.job(status, wall)

    def _sort_out(self, now: float) -> None:
        """Ask the executor afresh about jobs whose state nobody here knows."""
        known = self.executor.states(self._unsure)
        asked, self._unsure = self._unsure, set()
        self._ask_after = now + _ASK_AGAIN
        wall = self.wall()
        again: list[Entry] = []
        for attempt in asked:
            entry = self.work.entries.get(attempt)
            status = known.get(attempt)
            if entry is None:
                continue
            if status is not None:
                self._job(status, wall)
                if status.state is JobState.PENDING:
                    again.append(entry)  # in its files, but perhaps not yet in its ears
            elif entry.state in (S.PENDING, S.RUNNING):
                lost = JobStatus(attempt, JobState.LOST, message="the executor has no such job")
                self.work.job(lost, wall)
            elif entry.doom is not None:
                self.work.cancel(attempt, wall)
            else:
                self.work.acts.stage.append(entry)
            if entry.doom is not None and attempt in self.work.entries:
                self.work.acts.cancel.add(attempt)
        self._submit({e.id: load(e.id, self.folders.path(e.id)) for e in again})

    def recover(self) -> None:
        """Take up the attempts that the journal has."""
        for entry in self.journal.live():
            self.work.take_up(entry)
            if entry.assignment.shape.get("volumes"):
                self.volumes.recall(entry.id, load(entry.id, self.folders.path(entry.id)).binds)
            if entry.job is not None:
                entry.report.state = S.FINALIZING
                self.work.acts.deliver.append(entry)
            else:
                self._unsure.add(entry.id)
        if self.work.entries:
            log.info("going on with %d attempts", len(self.work.entries))
        for attempt in self.folders.attempts():
            if attempt not in self.work.entries:
                self.folders.discard(attempt)

    # --- writing and doing ---

    def _commit(self) -> None:
        work = self.work
        noted = [e for attempt, e in work.noted.items() if attempt not in work.told]
        heard = self._acknowledged is not None and self._acknowledged != self.journal.acknowledged
        heard |= self.side.epoch != self.journal.epoch
        if not (work.told or noted or heard or self._at_least > self.journal.seq):
            return
        for attempt in work.told:
            work.quiet.pop(attempt, None)
        self.journal.commit(
            work.told.values(),
            noted,
            acknowledged=self._acknowledged,
            epoch=self.side.epoch,
            at_least=self._at_least,
        )
        work.told.clear()
        work.noted.clear()
        self._at_least = 0

    def _do(self, acts: Acts) -> None:
        self.hands.stop(acts.stop)
        if acts.stage:
            self.work.staging(acts.stage, self.wall())
            self.hands.stage([entry.assignment for entry in acts.stage])
        if acts.deliver:
            self.work.delivering(acts.deliver)
            path = self.folders.path
            self.hands.deliver([self.work.ending(e, path(e.id)) for e in acts.deliver])
        try:
            self._submit(acts.submit)
            acts.submit = {}
            self.executor.cancel(acts.cancel)
            acts.cancel = set()
            self.executor.forget(acts.forget)
        except ExecutorUnavailable as error:  # to be done when it is there again
            if "acts" not in self.offer.silence:
                log.warning("the executor cannot be told: %s", error)
            self.offer.silence["acts"] = error.fault
            self.work.acts.submit.update(acts.submit)
            self.work.acts.cancel |= acts.cancel
            self.work.acts.forget |= acts.forget
            self.work.acts.unsure |= acts.unsure
            self._discard(acts.discard, acts.unsure, keep=acts.forget)
        else:
            self.offer.silence.pop("acts", None)
            self._discard(acts.discard, acts.unsure)

    def _discard(
        self, folders: dict[str, bool], unsure: Iterable[str], keep: Iterable[str] = ()
    ) -> None:
        """Let go of folders and volumes."""
        kept, unsure = set(keep), set(unsure)
        for attempt, failed in folders.items():
            if attempt in kept:
                self.work.acts.discard[attempt] = failed
                continue
            self.volumes.release(attempt, sure=attempt not in unsure)
            self.folders.discard(attempt, failed=failed)

    def _submit(self, prepared: dict[str, Prepared]) -> None:
        ready = {a: p for a, p in prepared.items() if a in self.work.entries}
        if not ready:
            return
        jobs = [
            job_of(
                self.config, self.work.entries[a].assignment, p.folder, p.binds, p.rule, p.leases
            )
            for a, p in ready.items()
        ]
        refused = self.executor.submit(jobs)
        self.work.submitted(ready, refused, self.wall())
        self._next_look, self._pause = self.clock(), _QUICKEST

    # --- now and then ---

    def _now_and_then(self, now: float) -> None:
        self._next_round = now + 0.25
        wall = self.wall()
        self.work.tell_what_lasts(wall)
        self.work.due(wall, count=not self.line.trouble)
        self.relay.follow(self.work.relayed(), self.work.speaking)
        for attempt in self.volumes.over():
            self.work.over_quota(attempt, wall, end=self.config.volumes.over == "end")
        for entry in self.watch.look(self.work.entries, now):
            self.work.told[entry.id] = entry
        if now >= self._next_offer or self.offer.wants_more(now):
            self._next_offer = now + _OFFER
            self.side.status_due |= self.offer.is_news(now)
            self.work.partitions = self.offer.partitions
        if now >= self._next_note:
            self._next_note = now + EVERY
            self.note(self)
        self.chores.do_due(now, wall)

    def close(self) -> None:
        """Let threads leave off; nothing is waited for, since everything may be repeated."""
        self.line.close()
        self.hands.close()
        self.relay.close()
