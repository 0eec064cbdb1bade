"""Project files that a site has fetched once: kept for the next task, for their own project only.

    CACHE/PROJECT/SHA256   read-only; hard links beside the attempts' folders hold what is in use

A task never writes here: what it gets is a hard link outside its root, which it sees as a read-only
mount, or a copy. An entry whose size, mode or time is not as it was left is fetched again.
"""

# ruff: noqa: PTH104
from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ayni.tes.urls import valid_name
from ayni.transfer import Incoming, Manifest, Mover

# The time of every entry. A task that writes to one (where there is no sandbox) changes it.
_MARK = 1_000_000_000 * 10**9
_KEEP_PARTS = 7 * 86400.0  # seconds


@dataclass(slots=True)
class _Turn:
    """Those who want one file, and the lock that makes them take turns."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class Cache:
    """Bounded; the least recently used goes first. May be used by many threads of one process."""

    def __init__(self, folder: Path, limit: int, mover: Mover) -> None:
        """Take over what a former process left.

        Args:
            folder: best on the file system of the work folders; elsewhere, files are copied.
            limit: bytes kept. A file that is larger by itself is fetched and not kept.
            mover: fetches and verifies.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._mover = mover
        self._lock = threading.Lock()  # over the folder's content; never held while bytes move
        self._fetching: dict[Path, _Turn] = {}
        self._forget_old_parts()
        self._size = sum(size for _, size, _ in self._entries())

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._size

    def take(
        self,
        project: str,
        manifest: Manifest,
        target: Path,
        *,
        refresh: Callable[[], Manifest] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Put a file at `target` (new, not to be written to), fetching it if it is not kept.

        Raises:
            TransferError, Stopped: as `Mover.fetch`.
            OSError: the disk refuses.
        """
        if not valid_name(project):
            raise ValueError(f"{project!r} is no project")
        place = self._folder / project / manifest.sha256
        with self._one_at_a_time(place):
            if self._link(place, manifest.size, target):
                return
            place.parent.mkdir(mode=0o700, exist_ok=True)
            fresh = place.with_suffix(".new")
            self._mover.fetch(Incoming(manifest, fresh, refresh), stop=stop)
            self._keep(fresh, place, manifest.size, target)

    def _link(self, place: Path, size: int, target: Path) -> bool:
        with self._lock:
            try:
                found = os.lstat(place)
            except FileNotFoundError:
                return False
            if (found.st_size, found.st_mtime_ns, found.st_mode) != (
                size,
                _MARK,
                stat.S_IFREG | 0o444,
            ):
                self._drop(place, found.st_size)
                return False
            os.utime(place, ns=(time.time_ns(), _MARK))
            source = _link_or_open(place, target)
        _copy_open(source, target)
        return True

    def _keep(self, fresh: Path, place: Path, size: int, target: Path) -> None:
        fresh.chmod(0o444)
        os.utime(fresh, ns=(time.time_ns(), _MARK))
        with self._lock:
            os.rename(fresh, place)
            self._size += size
            source = _link_or_open(place, target)
            self._evict()
        _copy_open(source, target)

    def _evict(self) -> None:
        if self._size <= self._limit:
            return
        for _, size, place in sorted(self._entries()):
            self._drop(place, size)
            if self._size <= self._limit:
                return

    def _drop(self, place: Path, size: int) -> None:
        with suppress(FileNotFoundError):
            place.unlink()
            self._size -= size

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Time of last use, size and place of every entry; what a fetch began is none."""
        for project in self._folder.iterdir():
            for place in project.iterdir():
                with suppress(FileNotFoundError):
                    found = place.lstat()
                    if place.suffix == "" and not place.name.startswith("."):
                        yield found.st_atime_ns, found.st_size, place

    @contextmanager
    def _one_at_a_time(self, place: Path) -> Iterator[None]:
        """Several tasks that want the same file fetch it once."""
        with self._lock:
            turn = self._fetching.setdefault(place, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.waiting -= 1
                if not turn.waiting:
                    del self._fetching[place]

    def _forget_old_parts(self) -> None:
        """What fetches that were stopped for good have left."""
        oldest = time.time() - _KEEP_PARTS
        for part in self._folder.glob("*/.*"):
            with suppress(FileNotFoundError):
                if part.lstat().st_mtime < oldest:
                    part.unlink()


def _link_or_open(place: Path, target: Path) -> int | None:
    """Link, or where the file systems differ, open for a copy: once open, it may be evicted."""
    try:
        os.link(place, target)
    except OSError:
        return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _copy_open(source: int | None, target: Path) -> None:
    if source is None:
        return
    with os.fdopen(source, "rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
