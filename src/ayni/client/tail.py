"""Logs: the last 64 KiB now, or what is added while it grows."""

from __future__ import annotations

from collections.abc import Iterator

from ayni.client.connection import LONG_PATIENCE, MAX_WAIT, Connection
from ayni.client.models import LogPage


def page(
    connection: Connection,
    task: str,
    stderr: bool,
    command: int,
    attempt: int | None = None,
    *,
    seen: int | None = None,
    watch: bool = False,
) -> LogPage:
    """The end of a log. With `watch`, the site sends it as it grows; with `seen`, the hub answers
    when the log is longer than that, or after a while."""
    answer = connection.get(
        f"/tasks/{task}/logs",
        wait=MAX_WAIT if seen is not None else 0.0,
        patience=LONG_PATIENCE if watch else None,
        command=command,
        stream="stderr" if stderr else "stdout",
        attempt=attempt,
        watch="true" if watch else None,
        seen=seen,
    )
    return LogPage.model_validate(answer)


def follow(connection: Connection, task: str, stderr: bool, command: int) -> Iterator[str]:
    """What the log has, then what is added to it, until it is whole."""
    grown = Growing()
    found = page(connection, task, stderr, command, watch=True)
    while True:
        if added := grown.added(found):
            yield added
        if found.ended:
            return
        found = page(connection, task, stderr, command, seen=found.size, watch=True)


class Growing:
    """Tells what is new in one window of a log after another.

    Offsets count the log's bytes, while a byte that is no UTF-8 arrives as U+FFFD: it is counted as
    one. So windows that begin at the same byte are compared as texts, which is exact.
    """

    def __init__(self) -> None:
        self._text = ""
        self._offset = 0
        self._size = 0

    def added(self, found: LogPage) -> str:
        """The part of `found` not told yet; a line in brackets where something was missed."""
        before, offset, told = self._text, self._offset, self._size
        if found.size < told:  # a new attempt, with a log of its own
            before, offset, told = "", 0, 0
        self._text, self._offset, self._size = found.text, found.offset, found.size
        if found.offset == offset and found.text.startswith(before):
            return found.text[len(before) :]
        if found.offset >= told:
            missed = found.offset - told
            note = f"\n[… {missed} bytes are not shown here; see `ayni logs --full` …]\n"
            return (note if missed else "") + found.text
        return _after(found.text, told - found.offset)


def _after(text: str, told: int) -> str:
    """`text` without its first `told` bytes."""
    count = 0
    for position, char in enumerate(text):
        if count >= told:
            return text[position:]
        count += 1 if char == "\ufffd" else len(char.encode("utf-8", "replace"))
    return ""
