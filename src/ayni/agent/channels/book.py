"""What the relay must not forget: messages taken from tasks and not yet posted, how far each task has
heard, and what each task has sent. SQLite, beside the journal; the state folder's lock covers it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ayni.agent.database import connect, transaction
from ayni.protocol.exchange import KEEP

FILE = "channels.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outgoing (
    attempt TEXT NOT NULL,
    channel TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,         -- of the task's file, without .json
    kind TEXT NOT NULL,
    body TEXT NOT NULL,         -- as it travels
    blob INTEGER,               -- bytes; none: there is no blob
    removed INTEGER NOT NULL,   -- the task's file is gone: it was acknowledged
    PRIMARY KEY (attempt, channel, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (
    attempt TEXT NOT NULL,
    channel TEXT NOT NULL,
    number INTEGER NOT NULL DEFAULT 0,  -- given last
    heard INTEGER NOT NULL DEFAULT 0,   -- the last message that was put down for the task …
    placing INTEGER NOT NULL DEFAULT 0, -- … and the one that is about to be
    PRIMARY KEY (attempt, channel)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    task TEXT NOT NULL,
    channel TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    at REAL NOT NULL,           -- Unix seconds
    PRIMARY KEY (task, channel)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was taken from a task. `blob` in bytes."""

    number: int
    name: str
    kind: str
    body: str
    blob: int | None
    removed: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """How far a task has heard: up to `last`; `placing` was about to be put down, or 0."""

    last: int
    placing: int


class Book:
    """May be used by several threads."""

    def __init__(self, state: Path) -> None:
        """Open or make it.

        Raises:
            UserError: it cannot be opened.
        """
        self._lock = threading.Lock()
        self._db = connect(state / FILE)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # --- out ---

    def take(
        self, attempt: str, task: str, channel: str, name: str, kind: str, body: str,
        blob: int | None, cost: int,
    ) -> int:  # fmt: skip
        """Note a message, and what it costs, before anything of it leaves; its number."""
        with self._lock, transaction(self._db):
            [number] = self._db.execute(
                "INSERT INTO places (attempt, channel, number) VALUES (?, ?, 1) "
                "ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number",
                (attempt, channel),
            ).fetchone()
            self._db.execute(
                "INSERT INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (attempt, channel, number, name, kind, body, blob),
            )
            self._db.execute(
                "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET bytes = bytes + excluded.bytes, at = excluded.at",
                (task, channel, cost, time.time()),
            )
        return int(number)

    def removed(self, attempt: str, channel: str, number: int) -> None:
        """The task's file is gone."""
        with self._lock, transaction(self._db):
            self._db.execute(
                "UPDATE outgoing SET removed = 1 WHERE attempt = ? AND channel = ? AND number = ?",
                (attempt, channel, number),
            )

    def pending(self, attempt: str, channel: str, limit: int) -> list[Taken]:
        """What is still to be posted, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, name, kind, body, blob, removed FROM outgoing "
                "WHERE attempt = ? AND channel = ? ORDER BY number LIMIT ?",
                (attempt, channel, limit),
            ).fetchall()
        return [
            Taken(n, name, kind, body, blob, bool(gone)) for n, name, kind, body, blob, gone in rows
        ]

    def waiting(self, attempt: str, channel: str) -> tuple[int, int]:
        """How many are still to be posted, and the bytes of their blobs."""
        with self._lock:
            [count, size] = self._db.execute(
                "SELECT COUNT(*), COALESCE(SUM(blob), 0) FROM outgoing "
                "WHERE attempt = ? AND channel = ?",
                (attempt, channel),
            ).fetchone()
        return int(count), int(size)

    def done(self, attempt: str, channel: str, numbers: Collection[int]) -> None:
        """These are posted, or never will be."""
        with self._lock, transaction(self._db):
            self._db.executemany(
                "DELETE FROM outgoing WHERE attempt = ? AND channel = ? AND number = ?",
                [(attempt, channel, number) for number in numbers],
            )

    def spent(self, task: str, channel: str | None = None) -> int:
        """Bytes that a task has sent, on one channel or on all, with all its attempts here."""
        query = "SELECT COALESCE(SUM(bytes), 0) FROM spent WHERE task = ?"
        values = [task]
        if channel is not None:
            query, values = f"{query} AND channel = ?", [task, channel]
        with self._lock:
            return int(self._db.execute(query, values).fetchone()[0])

    # --- in ---

    def heard(self, attempt: str, channel: str) -> Heard:
        with self._lock:
            row = self._db.execute(
                "SELECT heard, placing FROM places WHERE attempt = ? AND channel = ?",
                (attempt, channel),
            ).fetchone()
        return Heard(*row) if row else Heard(0, 0)

    def placing(self, attempt: str, channel: str, sequence: int) -> None:
        """A message lies ready beside the root: the next thing is its rename."""
        self._note(attempt, channel, "placing", sequence)

    def placed(self, attempt: str, channel: str, sequence: int) -> None:
        self._note(attempt, channel, "heard", sequence)

    def _note(self, attempt: str, channel: str, column: str, sequence: int) -> None:
        with self._lock, transaction(self._db):
            self._db.execute(
                f"INSERT INTO places (attempt, channel, {column}) VALUES (?, ?, ?) "  # noqa: S608
                f"ON CONFLICT DO UPDATE SET {column} = excluded.{column}",
                (attempt, channel, sequence),
            )

    # --- forgetting ---

    def keep(self, attempts: Collection[str], now: float) -> None:
        """Forget all other attempts, and what was spent long ago."""
        with self._lock, transaction(self._db):
            known = {a for (a,) in self._db.execute("SELECT DISTINCT attempt FROM places")}
            gone = [(attempt,) for attempt in known - set(attempts)]
            self._db.executemany("DELETE FROM outgoing WHERE attempt = ?", gone)
            self._db.executemany("DELETE FROM places WHERE attempt = ?", gone)
            self._db.execute("DELETE FROM spent WHERE at < ?", (now - KEEP,))
