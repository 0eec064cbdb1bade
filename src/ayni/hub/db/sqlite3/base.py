"""Django's SQLite, whose writing threads stand in line within the process.

SQLite lets one writer in at a time; the others sleep and try again, for up to 100 ms at a time, and some
are unlucky for long. With a lock before it, the next writer begins the moment the last one ends.
"""

from __future__ import annotations

import threading
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

_lines: dict[str, threading.Lock] = {}
_lines_lock = threading.Lock()


def _line(name: str) -> threading.Lock:
    with _lines_lock:
        return _lines.setdefault(name, threading.Lock())


class DatabaseWrapper(base.DatabaseWrapper):
    """A write transaction waits for its turn, as long as SQLite's own `timeout` says."""

    _holds: threading.Lock | None = None

    def _start_transaction_under_autocommit(self) -> None:
        line = _line(str(self.settings_dict["NAME"]))
        seconds: float = self.settings_dict["OPTIONS"].get("timeout", 5)
        if not line.acquire(timeout=seconds):
            raise OperationalError("database is locked: a writer of this process does not end")
        self._holds = line
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._let_go()
            raise

    def _commit(self) -> Any:
        # After a failed commit (a broken foreign key) the transaction is still open: a rollback follows.
        result = super()._commit()  # type: ignore[misc]
        self._let_go()
        return result

    def _rollback(self) -> Any:
        try:
            return super()._rollback()  # type: ignore[misc]
        finally:
            self._let_go()

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._holds is not None:
            self._holds.release()
            self._holds = None
