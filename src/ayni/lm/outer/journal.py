"""The coordinator's memory: one state, and the books. SQLite.

What a tick made is one transaction, written before anything is acted on: a kill at any instant leaves
the state before or the state after, never between. `cursor` says how far the transport was read, so
that a message is taken in with the state that knows it, or is read again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from ayni.errors import NoRoom, UserError
from ayni.lm.outer.messages import Record
from ayni.lm.outer.state import State, dump, load

FILE = "outer.sqlite"
_LOCK = "outer.lock"
_RELEASE = 1  # of the schema and of the state's form

_SCHEMA = """
CREATE TABLE IF NOT EXISTS memory (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    release INTEGER NOT NULL,
    state BLOB NOT NULL,        -- state.dump
    cursor TEXT NOT NULL        -- JSON, the transport's own
);
CREATE TABLE IF NOT EXISTS books (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,   -- the first of a key counts
    what TEXT NOT NULL,
    at REAL NOT NULL,           -- seconds, of the coordinator's clock
    data TEXT NOT NULL          -- JSON
);
CREATE INDEX IF NOT EXISTS books_what ON books (what, number);
"""


class Kept:
    """What a journal holds, for whoever looks at it; its coordinator may be at work meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Open the journal in a folder for reading.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        self.folder = folder
        try:
            self._db = sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?mode=ro", uri=True)
            self._db.execute("SELECT release FROM memory")
        except sqlite3.Error as error:
            raise UserError(
                f"there is no journal of a run in {folder} that can be read ({error}); name the "
                "folder of its coordinator"
            ) from error

    def state(self) -> State | None:
        """The state as last written; None: the run has not begun.

        Raises:
            UserError: it is of another release, or damaged.
        """
        row = self._db.execute("SELECT release, state FROM memory").fetchone()
        if row is None:
            return None
        release, text = row
        if release != _RELEASE:
            raise UserError(
                f"the journal in {self.folder} is of release {release}, this program's is "
                f"{_RELEASE}: go on with the release that began the run"
            )
        try:
            return load(text)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise UserError(
                f"the journal in {self.folder} is damaged at {where}; restore it from a backup"
            ) from error

    def cursor(self) -> dict[str, int]:
        """How far each source of messages was read."""
        row = self._db.execute("SELECT cursor FROM memory").fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def books(self, what: str | None = None, after: int = 0) -> Iterator[tuple[int, Record]]:
        """What was noted, in order, with its number; `after`: a number already seen."""
        found = self._db.execute(
            "SELECT number, key, what, at, data FROM books "
            "WHERE number > ? AND (? IS NULL OR what = ?) ORDER BY number",
            (after, what, what),
        )
        for number, key, name, at, data in found:
            yield number, Record(key=key, what=name, at=at, data=json.loads(data))

    def close(self) -> None:
        self._db.close()


class Journal(Kept):
    """A run's journal, open for writing; one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Open or make the journal in a folder.

        Raises:
            UserError: another coordinator holds it, or it cannot be used.
        """
        self.folder = folder
        self._lock = _hold(folder)
        try:
            self._db = sqlite3.connect(folder / FILE, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._lock.close()
            raise UserError(f"the journal in {folder} cannot be opened: {error}") from error

    def commit(
        self, state: State, records: Iterable[Record] = (), cursor: dict[str, int] | None = None
    ) -> None:
        """Write a tick down, durably.

        Args:
            cursor: how far each source of messages was read; None: as before.

        Raises:
            UserError: the disk is full (`NoRoom`) or gone. The tick is not written then, and must not
                be acted on.
        """
        rows = [(r.key, r.what, r.at, json.dumps(r.data, sort_keys=True)) for r in records]
        at = json.dumps(self.cursor() if cursor is None else cursor, sort_keys=True)
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute(
                    "INSERT INTO memory VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE "
                    "SET release = excluded.release, state = excluded.state, cursor = excluded.cursor",
                    (_RELEASE, dump(state), at),
                )
                self._db.executemany(
                    "INSERT INTO books (key, what, at, data) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (key) DO NOTHING",
                    rows,
                )
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise (NoRoom if full else UserError)(
                f"the journal in {self.folder} cannot be written ({error}); make room there: the run "
                "goes on from its last round"
            ) from error

    def close(self) -> None:
        super().close()
        self._lock.close()


def _hold(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / _LOCK).open("a+")
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UserError(
            f"another coordinator runs in {folder}; stop it first: a run has one"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
