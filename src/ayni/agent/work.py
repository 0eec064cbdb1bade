"""The attempts in hand and what is to be done about them. Decides; does nothing itself.

Every event (an assignment, an order of the hub, a folder staged, a job's status, a delivery) changes
entries and leaves *acts* for the cycle: it writes what changed into the journal and then does them.
All of it may be repeated after a kill: that is how a restart goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ayni.agent.config import Config
from ayni.agent.executors.base import JobState, JobStatus
from ayni.agent.jobs import ignored_errors
from ayni.agent.journal import Entry
from ayni.agent.judge import objections
from ayni.agent.life import (
    MAX_NAMES,
    OVER_QUOTA,
    Verdict,
    fitting,
    names_size,
    note_status,
    verdict,
)
from ayni.agent.staging.errors import StagingError, Waits, broken_promise
from ayni.agent.staging.finish import Ended, Finished
from ayni.agent.staging.inputs import Prepared
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import Assignment, PartitionStatus, Report
from ayni.protocol.policy import Reason
from ayni.tes.models import Task
from ayni.tes.shape import Shape

S = AttemptState
_NOT_STARTED = (S.ACCEPTED, S.INITIALIZING)
_LAST = (S.COMPLETE, S.EXECUTOR_ERROR, S.CANCELED)  # the task is not tried again
_FAILED = (S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.LOST)
MOST_REMARKS = 40
TRIES = 8  # of a staging or a delivery that failed for a passing reason
ORDER_AGAIN = 5.0  # seconds after which a cancel that had no effect is given again


@dataclass(slots=True)
class Acts:
    """What is to be done once the journal has what changed."""

    stage: list[Entry] = field(default_factory=list)
    submit: dict[str, Prepared] = field(default_factory=dict)
    cancel: set[str] = field(default_factory=set)
    deliver: list[Entry] = field(default_factory=list)
    stop: set[str] = field(default_factory=set)  # a thread is to leave off
    forget: set[str] = field(default_factory=set)  # by the executor
    unsure: set[str] = field(default_factory=set)  # over, and nobody saw their processes end
    discard: dict[str, bool] = field(default_factory=dict)  # folders; True: the attempt failed


@dataclass(slots=True)
class Work:
    """The attempts in hand.

    Attributes:
        refuses: why the operator's word on its channels keeps an attempt from here.
        entries: those that are not over.
        speaking: those of them that use channels.
        told: their reports changed and are to be journaled and told.
        quiet: their reports changed by a step that is told only if it lasts: id → since when.
        noted: changed in what only the agent needs.
        again: to be staged or delivered once more: id → not before.
    """

    config: Config
    refuses: Callable[[Assignment], Reason | None] = lambda assignment: None
    partitions: Sequence[PartitionStatus] = ()
    entries: dict[str, Entry] = field(default_factory=dict)
    speaking: dict[str, Entry] = field(default_factory=dict)
    acts: Acts = field(default_factory=Acts)
    told: dict[str, Entry] = field(default_factory=dict)
    quiet: dict[str, float] = field(default_factory=dict)
    noted: dict[str, Entry] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)  # a thread works in their folder
    _failed: dict[str, bool] = field(default_factory=dict)  # over, but a thread is still busy
    _tries: dict[str, int] = field(default_factory=dict)
    _ordered: dict[str, float] = field(default_factory=dict)

    def take_acts(self) -> Acts:
        acts, self.acts = self.acts, Acts()
        return acts

    # --- the hub's orders -----------------------------------------------------------------

    def accept(self, assignment: Assignment, now: float, closed: Reason | None) -> None:
        """Take an attempt in, refuse it by the policy, or give it back because of the moment."""
        report = Report(attempt=assignment.attempt, seq=0, state=S.ACCEPTED, accepted=now)
        entry = Entry(assignment, report)
        self.take_up(entry)
        self.told[entry.id] = entry
        refusal = self._refusal(assignment)
        if refusal is not None:
            self._end(entry, Verdict(S.REFUSED, refusal), now)
        elif closed is not None:
            self._end(entry, Verdict(S.WITHDRAWN, closed), now)
        else:
            self.acts.stage.append(entry)

    def take_up(self, entry: Entry) -> None:
        """An attempt is in hand from now on."""
        self.entries[entry.id] = entry
        if entry.assignment.channels:
            self.speaking[entry.id] = entry

    def relayed(self) -> list[Assignment]:
        """Attempts whose jobs are there, and whose channels are to be relayed."""
        return [
            entry.assignment
            for entry in self.speaking.values()
            if entry.state in (S.PENDING, S.RUNNING) and entry.doom is None and not entry.mute
        ]

    def remark(self, attempt: str, line: str) -> None:
        """A line for the user of an attempt, while it is in hand; a few at most."""
        entry = self.entries.get(attempt)
        if entry is not None and len(entry.report.system_log) < MOST_REMARKS:
            entry.report.system_log = [*entry.report.system_log, line]
            self.told[attempt] = entry

    def _refusal(self, assignment: Assignment) -> Reason | None:
        try:
            task = Task.model_validate(assignment.task)
            shape = Shape.from_json(assignment.shape)
        except (ValidationError, TypeError, KeyError):
            message = "does not understand the task; its agent may be older than the hub"
            return Reason(code="task", message=message)
        queues = [p for p in self.partitions if p.name == assignment.partition]
        if self.partitions and not queues:
            return Reason(code="partition", message=f"has no partition {assignment.partition}")
        no = next(objections(self.config, task, shape, assignment.who, queues), None)
        return no or self.refuses(assignment)

    def withdraw(self, attempt: str, now: float) -> None:
        """Give an attempt back if it has not run yet."""
        entry = self.entries.get(attempt)
        if entry is None or entry.doom is not None:
            return
        if entry.state in _NOT_STARTED and attempt not in self.acts.submit:
            self._end(entry, Verdict(S.WITHDRAWN), now)
        elif entry.state is S.PENDING or entry.state in _NOT_STARTED:
            self._doom(entry, S.WITHDRAWN, now)

    def cancel(self, attempt: str, now: float, *, mute: bool = False) -> None:
        """End an attempt.

        Args:
            attempt: its id; one that is over or was never here is passed over.
            now: the time.
            mute: the hub has no such attempt, so nothing of it is sent.
        """
        entry = self.entries.get(attempt)
        if entry is None:
            return
        if mute and not entry.mute:
            entry.mute = True
            self.noted[attempt] = entry
        waiting = entry.state in _NOT_STARTED and attempt not in self.acts.submit
        resting = entry.state is S.FINALIZING and attempt not in self._busy
        if waiting or resting:
            self._end(entry, Verdict(S.CANCELED), now)
        else:
            self._doom(entry, S.CANCELED, now)

    def over_quota(self, attempt: str, now: float, *, end: bool) -> None:
        """Tell an attempt that its project holds more in volumes than it may; `end`: and end it."""
        entry = self.entries.get(attempt)
        if entry is None or entry.state in (*_NOT_STARTED, S.FINALIZING):
            return
        if OVER_QUOTA not in entry.report.system_log:
            entry.report.system_log = [*entry.report.system_log, OVER_QUOTA]
            self.told[attempt] = entry
        if end and entry.doom in (None, S.EXECUTOR_ERROR):
            self._doom(entry, S.EXECUTOR_ERROR, now)

    def _doom(self, entry: Entry, doom: AttemptState, now: float) -> None:
        if entry.doom is not doom:
            entry.doom = doom
            self.noted[entry.id] = entry
        elif now - self._ordered.get(entry.id, 0.0) < ORDER_AGAIN:
            return
        self._ordered[entry.id] = now
        if entry.state is S.FINALIZING:
            self.acts.stop.add(entry.id)
        else:
            self.acts.cancel.add(entry.id)

    # --- staging and submission -----------------------------------------------------------

    def staging(self, entries: Iterable[Entry], now: float) -> None:
        """Threads have begun on these folders."""
        for entry in entries:
            self._busy.add(entry.id)
            self._step(entry, S.INITIALIZING, now)

    def staged(self, attempt: str, result: Prepared | StagingError, now: float) -> None:
        """A thread is done with a folder."""
        entry = self._free(attempt)
        if entry is None:
            return
        if isinstance(result, Prepared):
            self._tries.pop(attempt, None)
            self.acts.submit[attempt] = result
        elif isinstance(result, Waits):  # for as long as it takes
            self.again[attempt] = now + result.seconds
            if result.message not in entry.report.system_log[-1:]:
                entry.report.system_log = [*entry.report.system_log[-20:], result.message]
                self.told[attempt] = entry
        elif not (result.retryable and self._try_again(entry, now)):
            self._end(entry, Verdict(result.state, result.reason), now)

    def submitted(self, ids: Iterable[str], refused: Mapping[str, str], now: float) -> None:
        """The executor has these jobs, or says why not."""
        for attempt in ids:
            entry = self.entries[attempt]
            if attempt in refused:
                reason = Reason(
                    code="submit", message=refused[attempt], parameters={"retryable": False}
                )
                self._end(entry, Verdict(S.SYSTEM_ERROR, reason), now)
            else:
                self._step(entry, S.PENDING, now)

    # --- the job --------------------------------------------------------------------------

    def job(self, status: JobStatus, now: float) -> None:
        """Take in what the executor says of a job."""
        entry = self.entries.get(status.id)
        if entry is None:
            if status.state in (JobState.ENDED, JobState.LOST):
                self.acts.forget.add(status.id)  # told again of what is over
            return
        if entry.state is S.FINALIZING:
            return
        if status.state is JobState.RUNNING:
            note_status(entry.report, status)
            self._step(entry, S.RUNNING, now)
        elif status.state is JobState.PENDING:
            self._step(entry, S.PENDING, now)
        elif status.state in (JobState.ENDED, JobState.LOST):
            self._job_over(entry, status, now)

    def _job_over(self, entry: Entry, status: JobStatus, now: float) -> None:
        entry.job = status
        note_status(entry.report, status)
        found = self._verdict(entry)
        if entry.mute or found.state is S.WITHDRAWN:
            self._end(entry, found, now)
            return
        self._step(entry, S.FINALIZING, now)
        self.acts.deliver.append(entry)

    def _verdict(self, entry: Entry) -> Verdict:
        assert entry.job is not None
        assignment = entry.assignment
        followed = assignment.link < int(assignment.shape.get("chain", 1))
        return verdict(entry.job, ignored_errors(assignment), entry.doom, followed=followed)

    # --- delivery -------------------------------------------------------------------------

    def ending(self, entry: Entry, folder: Path) -> Ended:
        """What is to become of the files of an attempt whose job has ended."""
        found = self._verdict(entry)
        return Ended(
            entry.assignment,
            folder,
            succeeded=found.good,
            final=found.state in _LAST,
            relayed=entry.doom is None,
        )

    def delivering(self, entries: Iterable[Entry]) -> None:
        """Threads have begun to send what these left."""
        self._busy.update(entry.id for entry in entries)

    def delivered(self, attempt: str, result: Finished, now: float) -> None:
        """A thread is done with what a job left."""
        entry = self._free(attempt)
        if entry is None:
            return
        found, error = self._verdict(entry), result.error
        if found.good and error is None and names_size(result.outputs) > MAX_NAMES:
            error = broken_promise(
                "output", "the outputs' names are too many and too long; pack them into archives"
            )
        passing = error is not None and error.retryable and entry.doom is None
        if passing and self._try_again(entry, now):
            return
        report = entry.report
        report.logs = fitting(result.logs)
        report.system_log = [*report.system_log, *result.lines]
        if error is None and found.good:
            report.outputs = list(result.outputs)
        elif error is not None and found.good:
            found = Verdict(error.state, error.reason)
        elif error is not None:
            report.system_log = [*report.system_log, error.message]
        self._end(entry, found, now)

    # --- shared ---------------------------------------------------------------------------

    def _free(self, attempt: str) -> Entry | None:
        """A thread has left a folder; if its attempt is over meanwhile, the folder goes now."""
        self._busy.discard(attempt)
        if attempt in self._failed:
            self.acts.discard[attempt] = self._failed.pop(attempt)
        return self.entries.get(attempt)

    def _try_again(self, entry: Entry, now: float) -> bool:
        """Plan another try after a passing failure; False if there were enough."""
        tries = self._tries.get(entry.id, 0) + 1
        if tries >= TRIES:
            return False
        self._tries[entry.id] = tries
        self.again[entry.id] = now + min(2.0 ** (tries - 1), 60.0)
        return True

    def due(self, now: float, *, count: bool = True) -> None:
        """Bring back what waits for another try.

        Args:
            now: the time.
            count: whether tries count; not while the hub cannot be reached at all.
        """
        for attempt in [a for a, when in self.again.items() if when <= now]:
            del self.again[attempt]
            entry = self.entries.get(attempt)
            if entry is None:
                continue
            if not count:
                self._tries[attempt] = min(self._tries.get(attempt, 0), 4)
            if entry.state is S.FINALIZING:
                self.acts.deliver.append(entry)
            else:
                self.acts.stage.append(entry)

    def _step(self, entry: Entry, state: AttemptState, now: float) -> None:
        """A step that is told only if it lasts: most tasks are over before anybody could look."""
        if entry.state is not state:
            entry.report.state = state
            self.quiet.setdefault(entry.id, now)

    def tell_what_lasts(self, now: float, after: float = 0.5) -> None:
        """Tell the steps that were taken some time ago."""
        for attempt in [a for a, since in self.quiet.items() if now - since >= after]:
            del self.quiet[attempt]
            if (entry := self.entries.get(attempt)) is not None:
                self.told[attempt] = entry

    def _end(self, entry: Entry, found: Verdict, now: float) -> None:
        report = entry.report
        report.state, report.reason = found.state, found.reason
        report.ended = report.ended or now
        self.told[entry.id] = entry
        del self.entries[entry.id]
        self.speaking.pop(entry.id, None)
        for table in (self.quiet, self.again, self._tries, self._ordered, self.acts.submit):
            table.pop(entry.id, None)
        self.acts.stage = [e for e in self.acts.stage if e is not entry]
        if found.state is S.REFUSED:
            return
        self.acts.forget.add(entry.id)
        if entry.job is not None and entry.job.state is JobState.LOST and not entry.job.gone:
            self.acts.unsure.add(entry.id)
        failed = found.state in _FAILED and entry.job is not None
        if entry.id in self._busy:
            self._failed[entry.id] = failed
            self.acts.stop.add(entry.id)
        else:
            self.acts.discard[entry.id] = failed
