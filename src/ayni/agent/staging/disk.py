"""How much room there is, and how much is taken."""

# ruff: noqa: PTH208
from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 100


def free(path: Path) -> int:
    """Bytes that this user may still write on the file system of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def measure(top: Path) -> int:
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
