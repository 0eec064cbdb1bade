"""The attempts' folders: made, kept for a while where something failed, and removed whatever is in them.

BASE/ATTEMPT/        root/ (what the job sees as /), logs/, and what executors add
BASE/.failed/ATTEMPT kept for the operator, for a time
BASE/.trash/         on its way out; see `trash`
BASE/.trash-GROUP/   the same of folders that are shared with a local user; see `supervisor.sharing`
"""

# ruff: noqa: PTH102, PTH104, PTH208
from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.trash import Trash
from ayni.agent.supervisor import disk, sharing
from ayni.protocol.policy import Reason
from ayni.tes.units import show_size

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_FAILED = ".failed"
_TRASH = ".trash"
Unlock = Callable[[int, str], None]
_CLAIM = "claim"  # by the supervisor that has the job (supervisor.files)


@dataclass(slots=True)
class Folders:
    """All work folders of an agent, on one file system.

    Attributes:
        base: belongs to the agent alone; made if need be.
        limit: bytes that all folders together may take, kept ones included; None for no limit.
        reserve: bytes that stay free on the file system, whatever the limit says.
        keep_failed: seconds for which the folder of a failed attempt stays.
        measure_every: seconds between two looks at how much is used.
        unlock: lets us remove what local users of this group left in one of our folders: the group and
            the folder's name beneath BASE.
    """

    base: Path
    limit: int | None = None
    reserve: int = 1 << 30
    keep_failed: float = 86400.0
    measure_every: float = 60.0
    unlock: Unlock | None = None
    _used: int = 0
    _measured: float = float("-inf")
    _trash: Trash = field(init=False)
    _shared: dict[int, Trash] = field(default_factory=dict)  # by group

    def __post_init__(self) -> None:
        for folder in (self.base, self.base / _FAILED):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._trash = Trash(self.base / _TRASH)
        for folder in self.base.glob(f"{_TRASH}-*"):
            self._shared[int(folder.name.rpartition("-")[2])] = Trash(folder)

    def path(self, attempt: str) -> Path:
        """Where an attempt's folder is, or would be.

        Raises:
            ValueError: no such id can be.
        """
        if not _ID.fullmatch(attempt):
            raise ValueError(f"{attempt[:80]!r} is no attempt's id")
        return self.base / attempt

    def make(self, attempt: str) -> Path:
        """A fresh folder. What an interrupted staging left of an earlier one goes.

        Raises:
            StagingError: the job is already running in it, or the disk refuses.
        """
        folder = self.path(attempt)
        text = str(folder)  # pathlib costs more than the folders
        try:
            try:
                os.mkdir(text, 0o755)
            except FileExistsError:
                if os.path.lexists(f"{text}/{_CLAIM}"):
                    raise StagingError(
                        "folder", "the job is already running in its folder", retryable=True
                    ) from None
                self._throw_away(folder)
                os.mkdir(text, 0o755)
            os.mkdir(text + "/root", 0o755)
            os.mkdir(text + "/logs", 0o755)
        except OSError as error:
            raise StagingError(
                "folder", f"the site cannot make a work folder: {error.strerror}", retryable=True
            ) from error
        return folder

    def discard(self, attempt: str, *, failed: bool = False) -> None:
        """Give a folder up: at once, or after `keep_failed` if the attempt failed."""
        folder = self.path(attempt)
        if not failed or self.keep_failed <= 0:
            self._throw_away(folder)
            return
        with suppress(FileNotFoundError):
            os.utime(folder)
            os.rename(folder, self.base / _FAILED / attempt)

    def throw_away(self, folder: Path) -> None:
        """Remove a folder beside ours, of the same file system, as if it were an attempt's."""
        self._throw_away(folder)

    def attempts(self) -> list[str]:
        """Those with a folder that was not given up."""
        return sorted(name for name in os.listdir(self.base) if _ID.fullmatch(name))

    def sweep(self, seconds: float = 1.0, now: float | None = None) -> bool:
        """Remove what was given up and what was kept long enough, for about so many seconds.

        Short of room, the folders kept for operators go first, the oldest before the others.

        Returns:
            Whether all is done; call again if not.
        """
        end = time.monotonic() + seconds
        self._expire(time.time() if now is None else now)
        done = self._trash.empty(end)
        for group, trash in list(self._shared.items()):
            done &= trash.empty(end)
            if trash.stuck and self.unlock is not None:
                self.unlock(group, f"{_TRASH}-{group}")  # the next sweep goes on
        if time.monotonic() - self._measured >= self.measure_every:
            self._measure()
        return done

    def no_room(self, wanted: int = 0) -> Reason | None:
        """Why no new work can be taken now, or None.

        Args:
            wanted: bytes that the new work is expected to need.
        """
        try:
            free = disk.free(self.base)
        except OSError as error:
            return Reason(
                code="disk", message=f"the site's work disk cannot be used: {error.strerror}"
            )
        if free - wanted < self.reserve:
            return Reason(
                code="disk",
                message=f"the site's work disk is nearly full: {show_size(free)} free",
                parameters={"free": free},
            )
        if self.limit is not None and self._used + wanted > self.limit:
            return Reason(
                code="disk",
                message=(
                    f"the site's work folders hold {show_size(self._used)} "
                    f"of the {show_size(self.limit)} that its operator allows"
                ),
                parameters={"used": self._used, "limit": self.limit},
            )
        return None

    def _throw_away(self, folder: Path) -> None:
        """One that is shared goes where its user may enter, and so open up what is that user's."""
        with suppress(FileNotFoundError):
            group = sharing.handed_to(str(folder))
            if group is None:
                self._trash.take(folder)
                return
            if group not in self._shared:
                trash = self.base / f"{_TRASH}-{group}"
                sharing.make(str(trash), sharing.READ, group)
                self._shared[group] = Trash(trash)
            self._shared[group].take(folder)

    def _expire(self, now: float) -> None:
        kept = sorted(
            (os.lstat(entry.path).st_mtime, entry.name) for entry in os.scandir(self.base / _FAILED)
        )
        short = self.no_room() is not None
        for index, (since, name) in enumerate(kept):
            # One at a time while short of room: how much it frees is known after the sweep.
            if now - since > self.keep_failed or (short and index == 0):
                self._throw_away(self.base / _FAILED / name)
                self._measured = float("-inf") if short else self._measured

    def _measure(self) -> None:
        self._used = disk.measure(self.base)
        self._measured = time.monotonic()
