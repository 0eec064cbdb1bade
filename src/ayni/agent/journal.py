"""The agent's memory: every attempt that it has accepted, and what it said of it. SQLite.

Written before anything is acted on, so that a kill at any instant loses nothing: whoever starts next
reads the live attempts here and goes on. One process at a time holds a state folder (`flock`), and
one thread of it writes. What changed in a cycle is one transaction.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ayni.agent.ballast import Ballast
from ayni.agent.database import connect, transaction
from ayni.agent.executors.base import CommandResult, EndReason, JobState, JobStatus, Usage
from ayni.errors import UserError
from ayni.protocol.attempts import LIVE, AttemptState
from ayni.protocol.exchange import KEEP
from ayni.protocol.messages import (
    LOG_TAIL,
    MAX_REPORTS,
    MAX_TEXT,
    AllocationReport,
    Assignment,
    Report,
    UsageReport,
)

FILE = "journal.sqlite"
LOCK = "lock"
_SHORTEST = 256  # characters to which a tail is cut at most

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,       -- of the last change that the hub must hear
    live INTEGER NOT NULL,
    ended REAL,                 -- Unix seconds
    who TEXT NOT NULL,          -- protocol.policy.Who
    assignment TEXT,            -- protocol.messages.Assignment; gone when it is over
    report TEXT NOT NULL,       -- protocol.messages.Report
    doom TEXT,                  -- the end that was decided before the job knows of it
    mute INTEGER NOT NULL,      -- the hub has no such attempt: nothing of it is sent
    job TEXT                    -- how the job ended, as the executor said
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_seq ON attempts (seq);
CREATE INDEX IF NOT EXISTS attempts_live ON attempts (id) WHERE live;
CREATE INDEX IF NOT EXISTS attempts_ended ON attempts (ended) WHERE ended IS NOT NULL;
"""

_INSERT = """
INSERT INTO attempts (seq, live, ended, report, doom, mute, job, id, who, assignment)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_UPDATE = """
UPDATE attempts SET seq = ?, live = ?, ended = ?, report = ?, doom = ?, mute = ?, job = ?
WHERE id = ?
"""

_CLEAR = "UPDATE attempts SET assignment = NULL WHERE id = ?"


@dataclass(slots=True)
class Entry:
    """One attempt as the agent knows it. `report` is what the hub hears; the rest stays here."""

    assignment: Assignment
    report: Report
    doom: AttemptState | None = None
    mute: bool = False
    job: JobStatus | None = None
    saved: bool = False  # it has its row

    @property
    def id(self) -> str:
        return self.report.attempt

    @property
    def state(self) -> AttemptState:
        return self.report.state

    @property
    def live(self) -> bool:
        return self.report.state in LIVE


class Journal:
    """The journal, open for writing. `seq` is the newest number given."""

    def __init__(self, folder: Path) -> None:
        """Open or make the journal in the state folder; each opening is a new generation.

        Raises:
            UserError: another agent holds the folder, or it cannot be written.
        """
        self._lock = _hold(folder)
        self._ballast = Ballast(folder)
        self._ballast.make_room()
        self._db = connect(folder / FILE)
        self._db.executescript(_SCHEMA)
        with transaction(self._db):
            self.incarnation = self._meta("incarnation") or uuid.uuid4().hex
            self.generation = int(self._meta("generation") or 0) + 1
            self._set_meta(incarnation=self.incarnation, generation=self.generation)
        self.seq = int(self._meta("seq") or 0)
        self.acknowledged = int(self._meta("acknowledged") or 0)
        self.epoch: str | None = self._meta("epoch")
        self._ballast.lay()

    # --- meta ---

    def _meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _set_meta(self, **values: object) -> None:
        self._db.executemany(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(key, str(value)) for key, value in values.items()],
        )

    # --- writing ---

    def commit(
        self,
        told: Iterable[Entry] = (),
        noted: Iterable[Entry] = (),
        *,
        acknowledged: int | None = None,
        epoch: str | None = None,
        at_least: int = 0,
    ) -> None:
        """Write what changed, durably, in one transaction.

        Args:
            told: entries whose report changed: each takes the next sequence number.
            noted: entries that changed in what only the agent needs.
            acknowledged: what the hub said last.
            epoch: the hub's, as last seen.
            at_least: count on from here: the hub has heard more than this journal remembers.
        """
        seq = max(self.seq, at_least)
        changed = list(told)
        for entry in changed:
            seq += 1
            entry.report.seq = seq
        changed += noted
        new = [entry for entry in changed if not entry.saved]

        def write() -> None:
            self._db.executemany(_UPDATE, [_row(entry) for entry in changed if entry.saved])
            self._db.executemany(_INSERT, [_row(entry) + _given(entry) for entry in new])
            self._db.executemany(_CLEAR, [(entry.id,) for entry in changed if not entry.live])
            if seq != self.seq:
                self._set_meta(seq=seq)
            if acknowledged is not None and acknowledged != self.acknowledged:
                self._set_meta(acknowledged=acknowledged)
            if epoch is not None and epoch != self.epoch:
                self._set_meta(epoch=epoch)

        self._durably(write)
        for entry in new:
            entry.saved = True
        self.seq = seq
        self.acknowledged = self.acknowledged if acknowledged is None else acknowledged
        self.epoch = self.epoch if epoch is None else epoch

    def allocate(self, found: Mapping[str, AllocationReport]) -> None:
        """Add what the scheduler's accounting says to reports of attempts that are over.

        Each changed report takes the next sequence number, so that the hub hears of it. What is
        there already, or not here any more, is passed over.
        """
        changed: list[tuple[int, str, str]] = []
        for attempt, allocation in found.items():
            row = self._db.execute(
                "SELECT report FROM attempts WHERE id = ? AND NOT live AND NOT mute", (attempt,)
            ).fetchone()
            if row is None:
                continue
            report = Report.model_validate_json(row[0])
            usage = report.usage or _unmeasured(report, allocation)
            if usage.allocation == allocation:
                continue
            report.usage = usage.model_copy(update={"allocation": allocation})
            report.seq = self.seq + len(changed) + 1
            changed.append((report.seq, report.model_dump_json(exclude_none=True), attempt))

        def write() -> None:
            self._db.executemany("UPDATE attempts SET seq = ?, report = ? WHERE id = ?", changed)
            self._set_meta(seq=self.seq + len(changed))

        if changed:
            self._durably(write)
            self.seq += len(changed)

    def _durably(self, write: Callable[[], None]) -> None:
        """Write in one transaction; on a full disk once more, with the room kept for that."""
        try:
            with transaction(self._db):
                write()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._ballast.let_go():
                raise
            with transaction(self._db):
                write()

    def prune(self, now: float, limit: int = 5000) -> int:
        """Forget attempts that ended, were acknowledged and are older than 30 days; how many."""
        self._ballast.lay()
        with transaction(self._db):
            return self._db.execute(
                "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts "
                "WHERE ended < ? AND seq <= ? AND NOT live LIMIT ?)",
                (now - KEEP, self.acknowledged, limit),
            ).rowcount

    # --- reading ---

    def live(self) -> Iterator[Entry]:
        """The attempts that are not over: what a new start goes on with."""
        for row in self._db.execute(
            "SELECT assignment, report, doom, mute, job FROM attempts WHERE live"
        ):
            yield _entry(*row)

    def has(self, attempt: str) -> bool:
        found = self._db.execute("SELECT 1 FROM attempts WHERE id = ?", (attempt,))
        return found.fetchone() is not None

    def reports(self, after: int, limit: int = MAX_REPORTS) -> list[Report]:
        """The newest snapshots of what changed after a number, in the order of change.

        As many as one request may carry: `limit`, and MAX_TEXT of JSON. One at least: if it is more
        than that, the tails of its logs are cut.
        """
        rows = self._db.execute(
            "SELECT report FROM attempts WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        )
        found: list[Report] = []
        size = 0
        for (text,) in rows:
            size += len(text.encode())
            if found and size > MAX_TEXT:
                break
            found.append(_carried(text))
        return found

    def close(self) -> None:
        self._db.close()
        self._lock.close()


def look(folder: Path, ended: int = 0) -> tuple[list[Entry], list[Report], dict[str, str]]:
    """Read a journal beside the agent that writes it: live entries, last ended reports, meta.

    Raises:
        UserError: there is no journal.
    """
    path = folder / FILE
    if not path.exists():
        raise UserError(f"no journal in {folder}; has the agent of this site ever run?")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            live = [
                _entry(*row)
                for row in db.execute(
                    "SELECT assignment, report, doom, mute, job FROM attempts WHERE live"
                )
            ]
            rows = db.execute(
                "SELECT report FROM attempts WHERE NOT live ORDER BY seq DESC LIMIT ?", (ended,)
            )
            last = [Report.model_validate_json(text) for (text,) in rows]
            meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        finally:
            db.close()
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read: {error}; are you the agent's user?") from error
    return live, last, meta


# --- rows -------------------------------------------------------------------------------------


def _row(entry: Entry) -> tuple[object, ...]:
    """What may change in a row, and whose it is."""
    report = entry.report
    return (
        report.seq,
        entry.live,
        None if entry.live else report.ended or time.time(),
        report.model_dump_json(exclude_none=True),
        entry.doom,
        entry.mute,
        _dump_status(entry.job) if entry.job and entry.live else None,
        report.attempt,
    )


def _given(entry: Entry) -> tuple[str, str]:
    return entry.assignment.who.model_dump_json(), entry.assignment.model_dump_json()


def _entry(assignment: str, report: str, doom: str | None, mute: int, job: str | None) -> Entry:
    return Entry(
        Assignment.model_validate_json(assignment),
        Report.model_validate_json(report),
        AttemptState(doom) if doom else None,
        bool(mute),
        _load_status(job) if job else None,
        saved=True,
    )


def _dump_status(status: JobStatus) -> str:
    return json.dumps(asdict(status), separators=(",", ":"))


def _load_status(text: str) -> JobStatus:
    data = json.loads(text)
    data["state"] = JobState(data["state"])
    data["results"] = tuple(CommandResult(**result) for result in data["results"])
    data["reason"] = EndReason(data["reason"]) if data["reason"] else None
    data["usage"] = Usage(**data["usage"]) if data["usage"] else None
    return JobStatus(**data)


def _carried(text: str) -> Report:
    """A report that one request can carry: a hundred commands may print more than it takes."""
    report = Report.model_validate_json(text)
    longest = LOG_TAIL
    while len(text.encode()) > MAX_TEXT and longest > _SHORTEST:
        longest //= 2
        report.logs = [one.model_copy(update={"tail": one.tail[-longest:]}) for one in report.logs]
        text = report.model_dump_json(exclude_none=True)
    return report


def _unmeasured(report: Report, allocation: AllocationReport) -> UsageReport:
    """The usage of an attempt that nobody saw to its end."""
    wall = max(0.0, (report.ended or 0.0) - (report.started or report.ended or 0.0))
    cores = round(allocation.core_seconds / wall) if wall > 0 else 1
    return UsageReport(job=report.attempt, cores=max(1, cores), wall=wall, cpu=0.0, peak_memory=0)


# --- files ------------------------------------------------------------------------------------


def _hold(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise UserError(f"the state folder {folder} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        pid = lock.read().strip() or "?"
        lock.close()
        raise UserError(
            f"another agent (process {pid}) runs in {folder}; stop it first, or give this one "
            "a state folder of its own"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def incarnation(folder: Path) -> str | None:
    """The name of the journal in a state folder, if there is one."""
    if not (folder / FILE).exists():
        return None
    return look(folder)[2].get("incarnation")
