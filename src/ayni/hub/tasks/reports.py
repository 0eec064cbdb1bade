"""What becomes of attempts and their tasks: by their sites' reports, or because the hub gives them up.

Everything is done for a batch at once, within the caller's transaction. The rules are elsewhere: which
report counts in `protocol.exchange.take`, which state follows in `tasks.life`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from ayni.hub.ledger.book import Entry, book
from ayni.hub.network import bulk, waits, wake
from ayni.hub.network.peer import Peer
from ayni.hub.store.commit import commit_outputs
from ayni.hub.tasks import ids
from ayni.hub.tasks.ending import close
from ayni.hub.tasks.life import (
    AT_SITE,
    EVENT_OF,
    FREE_OF_CHARGE,
    MOVES,
    TaskState,
    next_state,
)
from ayni.hub.tasks.life import FINAL as FINAL_TASK
from ayni.hub.tasks.models import Attempt, Group
from ayni.protocol.attempts import FINAL, LIVE, WITHDRAWABLE, AttemptState
from ayni.protocol.exchange import Known, Taken, take
from ayni.protocol.messages import LogReport, OutputReport, Report
from ayni.protocol.policy import Reason

log = logging.getLogger(__name__)
A = AttemptState
MAX_SEQ = (1 << 63) - 1


@dataclass(slots=True)
class Row:
    """An attempt and what of its task decides."""

    id: int
    state: AttemptState
    seq: int
    superseded: bool
    cancel: bool
    withdraw: bool
    site: int
    task: int
    task_state: TaskState
    tries: int
    links: int
    group: int
    project: int
    array: int | None
    partition: str
    assigned: datetime
    began: bool  # its start is known already
    foreseen: dict[str, Any] | None
    accepted: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    report: str | None = None  # JSON; None: leave what is there
    changed: bool = False
    task_changed: bool = False
    task_reason: Reason | None = None


_SELECT = """
SELECT a.id, a.state, a.seq, a.superseded, a.cancel, a.withdraw, a.site_id,
       t.id, t.state, t.tries, t.links, t.group_id, t.project_id, t.array_id,
       a.partition, a.assigned, a.started IS NOT NULL, a.foreseen
FROM tasks_attempt a JOIN tasks_task t ON t.id = a.task_id
WHERE {wanted} ORDER BY t.id{lock}
"""
_MOMENT, _FLAG = "timestamptz", "boolean"
_UPDATE_ATTEMPT = bulk.Update(
    "tasks_attempt",
    {
        "state": "text", "live": _FLAG, "superseded": _FLAG, "cancel": _FLAG, "withdraw": _FLAG,
        "seq": "bigint", "accepted": _MOMENT, "started": _MOMENT, "ended": _MOMENT, "report": "jsonb",
    },
    keep={"accepted", "started", "ended", "report"},
)  # fmt: skip
_UPDATE_TASK = bulk.Update(
    "tasks_task",
    {
        "state": "smallint", "tries": "smallint", "links": "smallint", "reason": "jsonb",
        "ended": _MOMENT,
    },
)  # fmt: skip
_UPDATE_REPORT = bulk.Update("tasks_attempt", {"report": "jsonb"})
_REFUSE = bulk.Insert(
    "tasks_refusal",
    {"group_id": "bigint", "site_id": "bigint", "reason": "jsonb", "at": _MOMENT},
    "ON CONFLICT (group_id, site_id) DO UPDATE SET reason = excluded.reason, at = excluded.at",
)


def load(attempts: Collection[int]) -> dict[int, Row]:
    """The attempts, locked with their tasks until the transaction ends."""
    sql = _SELECT.format(wanted=bulk.among("a.id"), lock=bulk.for_update("a, t"))
    return {
        r[0]: Row(
            r[0], A(r[1]), r[2], bool(r[3]), bool(r[4]), bool(r[5]), r[6],
            r[7], TaskState(r[8]), r[9], r[10], r[11], r[12], r[13],
            r[14], r[15], bool(r[16]), bulk.read_json(r[17]),
        )
        for r in bulk.select(sql, [bulk.these(attempts)])
    }  # fmt: skip


@dataclass(slots=True)
class Applied:
    """What the site must be told after its reports."""

    unknown: list[str] = field(default_factory=list)  # the hub has no such attempt of this site
    given_up: list[str] = field(default_factory=list)  # alive there, but over for the hub


def apply_reports(site: Peer, reports: Sequence[Report]) -> Applied:
    """Take in what a site says of its attempts; call it within a transaction."""
    applied = Applied()
    if not reports:
        return applied
    numbers = {r.attempt: ids.read(r.attempt) for r in reports}
    rows = load({n for n in numbers.values() if n is not None})
    batch = _Batch(site, timezone.now())
    for report in reports:
        number = numbers[report.attempt]
        row = rows.get(number) if number is not None else None
        if row is None or row.site != site.id:
            applied.unknown.append(report.attempt)
            continue
        batch.take(row, report)
        if report.state in LIVE and row.state in FINAL:
            applied.given_up.append(report.attempt)
    batch.finish(rows.values())
    return applied


def give_up(attempts: Collection[int], reason: Reason, *, kill: bool) -> int:
    """The hub stops waiting for these live attempts: LOST and superseded, their tasks go on.

    Args:
        kill: the site is told to kill them as soon as it is heard again; else it has forgotten them.

    Returns:
        How many were alive.
    """
    rows = load(attempts)
    now = timezone.now()
    batch = _Batch(None, now)
    lost = [row for row in rows.values() if row.state in LIVE]
    for row in lost:
        row.state, row.superseded, row.cancel, row.withdraw = A.LOST, True, kill, False
        row.ended, row.changed = now, True
        batch.task_follows(row, reason)
    batch.finish(lost)
    _note(lost, reason)
    return len(lost)


def settle(attempts: Collection[int], state: AttemptState, reason: Reason) -> None:
    """End attempts that their site never accepted and never will: CANCELED or WITHDRAWN."""
    now = timezone.now()
    batch = _Batch(None, now)
    rows = [r for r in load(attempts).values() if r.state is A.ASSIGNED]
    for row in rows:
        row.state, row.cancel, row.withdraw, row.ended, row.changed = state, False, False, now, True
        batch.task_follows(row, reason)
    batch.finish(rows)
    _note(rows, reason)


def _note(rows: Iterable[Row], reason: Reason) -> None:
    """Put the hub's reason where an attempt's report has its own."""
    for part in bulk.parts(row.id for row in rows):
        notes = []
        for number, report in Attempt.objects.filter(id__in=part).values_list("id", "report"):
            told = {**(report or {}), "reason": reason.model_dump()}
            notes.append([json.dumps(told), number])
        _UPDATE_REPORT(notes)


class _Batch:
    """One batch of changes, written at its end."""

    def __init__(self, site: Peer | None, now: datetime) -> None:
        self.site = site  # whose reports these are
        self.now = now
        self.usage: list[Entry] = []
        self.starts: list[waits.Began] = []
        self.refused: dict[int, Reason] = {}  # by group
        self.to_commit: dict[int, tuple[Row, Report]] = {}
        self.ended: list[int] = []
        self.shapes: dict[int, dict[str, Any]] = {}  # by group

    # --- one report -----------------------------------------------------------------------

    def take(self, row: Row, report: Report) -> None:
        taken = take(Known(row.state, row.seq, row.superseded), report)
        if taken is Taken.STALE or report.seq > MAX_SEQ:
            return
        if taken is Taken.ILLEGAL:
            log.warning(
                "site %s reports %s for attempt %s, which is %s: passed over",
                row.site, report.state, report.attempt, row.state,
            )  # fmt: skip
            return
        row.seq, row.changed = report.seq, True
        final = report.state in FINAL
        if final:
            row.cancel = row.withdraw = False
            if report.usage is not None:
                ended = bulk.moment(report.ended) or self.now
                self.usage.append(Entry(row.id, row.project, report.usage, ended, row.superseded))
        if taken is Taken.APPLY:
            self._apply(row, report)

    def _apply(self, row: Row, report: Report) -> None:
        row.state = report.state
        row.withdraw = row.withdraw and report.state in WITHDRAWABLE
        row.accepted = bulk.moment(report.accepted)
        row.started = bulk.moment(report.started)
        self._note_start(row)
        row.ended = (bulk.moment(report.ended) or self.now) if report.state in FINAL else None
        row.report = report.model_dump_json()
        if report.state is A.REFUSED:
            self.refused[row.group] = report.reason or Reason(
                code="refused", message="refused it and gave no reason"
            )
        if row.task_state not in AT_SITE:
            return  # cancelled meanwhile: the attempt only has to die
        if report.state in (A.COMPLETE, A.UNFINISHED, A.EXECUTOR_ERROR, A.SYSTEM_ERROR):
            self.to_commit[row.id] = row, report
        else:
            self.task_follows(row, report.reason)

    def _note_start(self, row: Row) -> None:
        if row.began or row.started is None or row.foreseen is None:
            return
        assigned = bulk.read_moment(row.assigned)
        assert assigned is not None
        self.starts.append(waits.began(row.partition, row.foreseen, assigned, row.started))

    def task_follows(self, row: Row, reason: Reason | None) -> None:
        """Move the task after its attempt."""
        event = EVENT_OF[row.state]
        if event is None or row.task_state in FINAL_TASK:
            return
        if event == "try again":
            row.tries -= row.state in FREE_OF_CHARGE
            charged = row.state not in FREE_OF_CHARGE
            if charged and (not _may_end_better(reason) or self._last_try(row)):
                event = "no tries left"
        elif event == "go on":
            if self._last_link(row):
                event = "executor error"
            else:  # each link has all of its tries
                row.links, row.tries = row.links + 1, 0
        elif event in ("stage", "run") and event not in MOVES[row.task_state]:
            return  # it is there already, or further
        row.task_state = next_state(row.task_state, event)
        row.task_changed = True
        if row.task_state in (TaskState.EXECUTOR_ERROR, TaskState.SYSTEM_ERROR):
            row.task_reason = reason or Reason(
                code=row.state.value, message="the site gave no reason"
            )

    def _last_try(self, row: Row) -> bool:
        return row.tries >= int(self._shape(row)["max_attempts"])

    def _last_link(self, row: Row) -> bool:
        return row.links + 1 >= int(self._shape(row).get("chain", 1))

    def _shape(self, row: Row) -> dict[str, Any]:
        if row.group not in self.shapes:
            self.shapes[row.group] = Group.objects.values_list("shape", flat=True).get(id=row.group)
        return self.shapes[row.group]

    # --- the whole batch ------------------------------------------------------------------

    def finish(self, rows: Iterable[Row]) -> None:
        """Write everything."""
        self._commit()
        rows = list(rows)
        _UPDATE_ATTEMPT([_attempt(row) for row in rows if row.changed])
        moved = [row for row in rows if row.task_changed]
        _UPDATE_TASK([self._task(row) for row in moved])
        if self.site is not None:
            book(self.site, self.usage)
            waits.learn(self.site.id, self.starts, self.now)
            self._refuse(self.site)
        if ended := [row for row in moved if row.task_state in FINAL_TASK]:
            arrays = {row.array for row in ended if row.array is not None}
            close([row.task for row in ended], arrays)
        if told := {row.project for row in rows if row.changed or row.task_changed}:
            wake.task(*told)  # whoever waits for a state, or reads a log as it grows
        if any(row.changed and row.state in FINAL for row in rows):
            wake.broker()

    def _commit(self) -> None:
        """Commit outputs and logs; an attempt whose outputs cannot be committed failed."""
        wanted: dict[int, list[OutputReport | LogReport]] = {}
        for number, (row, report) in self.to_commit.items():
            kept: list[OutputReport | LogReport] = [e for e in report.logs if e.upload]
            if row.state is A.COMPLETE:
                kept += report.outputs
            if kept:
                wanted[number] = kept
        errors = commit_outputs(wanted) if wanted else {}
        for number, (row, report) in self.to_commit.items():
            reason = report.reason
            if (error := errors.get(number)) and row.state is A.COMPLETE:
                row.state = A.SYSTEM_ERROR
                reason = Reason(code="commit", message=f"the outputs were not accepted: {error}")
                row.report = report.model_copy(update={"reason": reason}).model_dump_json()
            elif error:
                told = [*report.system_log, f"the logs were not accepted: {error}"]
                row.report = report.model_copy(update={"system_log": told}).model_dump_json()
            self.task_follows(row, reason)

    def _task(self, row: Row) -> list[Any]:
        reason = row.task_reason.model_dump_json() if row.task_reason else None
        ended = self.now if row.task_state in FINAL_TASK else None
        return [row.task_state.value, row.tries, row.links, reason, ended, row.task]

    def _refuse(self, site: Peer) -> None:
        _REFUSE([[g, site.id, r.model_dump_json(), self.now] for g, r in self.refused.items()])


def _may_end_better(reason: Reason | None) -> bool:
    """Whether another try is worth making, as the site sees it (`retryable` in its reason)."""
    return reason is None or reason.parameters.get("retryable", True) is not False


def _attempt(row: Row) -> list[Any]:
    return [
        row.state.value,
        row.state in LIVE,
        row.superseded,
        row.cancel,
        row.withdraw,
        row.seq,
        row.accepted,
        row.started,
        row.ended,
        row.report,
        row.id,
    ]
