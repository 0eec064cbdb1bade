"""How much room there is on a disk, how much is taken, and whether a job takes too much."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 100
SPARE = 512 << 20  # bytes that must stay free; the agent takes nothing new long before


def free(path: Path | str) -> int:
    """Bytes that this user may still write on the file system of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def measure(top: Path | str) -> int:
    """Bytes on disk of everything below a folder, while others may be writing there.

    A file with several names counts once. What lies deeper than 100 folders, or cannot be read,
    is not counted: the file system's own free space still tells of it.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [(os.open(top, _OPEN), 0)]
    names: list[list[str]] = [os.listdir(stack[-1][0])]
    try:
        while stack:
            here, depth = stack[-1]
            if not names[-1]:
                stack.pop()
                names.pop()
                os.close(here)
                continue
            name = names[-1].pop()
            with suppress(OSError):  # it has just gone, or is closed to us
                found = os.stat(name, dir_fd=here, follow_symlinks=False)
                if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
                if stat.S_ISDIR(found.st_mode) and depth < _MAX_DEPTH:
                    inner = os.open(name, _OPEN, dir_fd=here)
                    stack.append((inner, depth + 1))
                    names.append([])
                    names[-1].extend(os.listdir(inner))
    finally:
        for fd, _ in stack:
            os.close(fd)
    return total


def unnamed(pids: Iterable[int], device: int) -> int:
    """Bytes on a device in files that these processes have open and that no folder names any more."""
    sizes: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):  # it has just gone
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    found = os.stat(f"/proc/{pid}/fd/{fd}")
                    if found.st_nlink == 0 and found.st_dev == device:
                        sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


class Room:
    """What one job may take of the disk, measured as seldom as possible.

    A job cannot have grown by more than the disk has lost since it was measured, so while that is
    within its limit nobody need walk its folder. When the disk is nearly full, a job keeps only what
    it is `sure` of: whoever has more ends, before the others and the agent can write no more.
    """

    def __init__(self, folder: str, limit: int, sure: int) -> None:
        self._folder = folder
        self._limit = limit
        self._sure = min(sure, limit)
        self._device = os.stat(folder).st_dev
        self._used = 0
        self._free = free(folder)
        self.headroom = 0  # bytes that may be written before there is something to see

    def over(self, pids: Collection[int]) -> tuple[int, int] | None:
        """Bytes that the job takes and bytes that it may take, if the first is more.

        Args:
            pids: its processes.
        """
        now = free(self._folder)
        limit = self._limit if now >= SPARE else self._sure
        most = self._used + max(0, self._free - now)
        if most > limit:
            most = self._used = measure(self._folder) + unnamed(pids, self._device)
            self._free = now
        self.headroom = max(0, min(limit - most, now - SPARE))
        return (most, limit) if most > limit else None
