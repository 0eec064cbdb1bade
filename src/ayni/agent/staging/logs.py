"""Logs: their last bytes for the report, and all of them as objects where that is more."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ayni.protocol.messages import LOG_TAIL, LogReport

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
STREAMS = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Log:
    """A log that is not empty."""

    command: int
    stream: str
    size: int
    path: Path

    @property
    def url(self) -> str:
        """What it is called in `/agent/v1/uploads`."""
        return f"log:{self.command}.{self.stream}"

    @property
    def outgrows_tail(self) -> bool:
        return self.size > LOG_TAIL


def find(folder: Path) -> list[Log]:
    """The logs of an attempt that hold anything, in order. Silent commands cost next to nothing."""
    base = f"{folder}/logs"
    found = []
    try:
        with os.scandir(base) as entries:
            for entry in entries:
                number, _, stream = entry.name.partition(".")
                if stream not in STREAMS or not (number.isascii() and number.isdigit()):
                    continue
                status = entry.stat(follow_symlinks=False)
                if status.st_size and stat.S_ISREG(status.st_mode):
                    found.append(Log(int(number), stream, status.st_size, Path(entry.path)))
    except FileNotFoundError:
        return []
    found.sort(key=lambda log: (log.command, log.stream != "stdout"))
    return found


def tail(log: Log) -> LogReport:
    """The last bytes of a log, as text that any database and any page can hold."""
    fd = os.open(log.path, _OPEN)
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, LOG_TAIL, max(0, size - LOG_TAIL))
    finally:
        os.close(fd)
    return LogReport(
        command=log.command, stream=log.stream, size=size, tail=text_of(data, cut=size > LOG_TAIL)
    )


def changed(folder: Path, seen: Mapping[tuple[int, str], int]) -> list[LogReport]:
    """The tails of those logs whose size is not what was last seen: for somebody who is watching."""
    return [tail(log) for log in find(folder) if seen.get((log.command, log.stream)) != log.size]


def withheld(log: Log) -> LogReport:
    """What is said of a log that may not leave: not even how long it is."""
    return LogReport(command=log.command, stream=log.stream, size=0, tail="")


def text_of(data: bytes, *, cut: bool) -> str:
    """Bytes as text of at most LOG_TAIL bytes of UTF-8: what is no text, and NULs, become U+FFFD.

    Args:
        cut: whether something stood before `data`, so that it may begin within a character.
    """
    if cut:
        data = data[_broken(data) :]
    text = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    encoded = text.encode()
    if len(encoded) <= LOG_TAIL:  # a replacement takes three bytes where there was one
        return text
    encoded = encoded[-LOG_TAIL:]
    return encoded[_broken(encoded) :].decode()


def _broken(data: bytes) -> int:
    """How many bytes at the beginning belong to a character that began before."""
    return next((i for i in range(min(4, len(data))) if data[i] & 0xC0 != 0x80), 0)
