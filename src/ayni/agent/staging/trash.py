"""Removing what a job left, whatever it is: huge, deep, forbidding, full of links.

Giving something up is one rename into the trash; emptying the trash is done bit by bit. It never
follows a link and never goes deep: a folder found in a folder is first moved to the top, so a tree
of any depth goes with three descriptors and no recursion.
"""

# ruff: noqa: PTH101, PTH104, PTH208
from __future__ import annotations

import itertools
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Trash:
    """A folder of the agent whose content is to go.

    Attributes:
        stuck: what the kernel last said about something that would not go; empty if all goes well.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._count = itertools.count()
        self.stuck = ""

    def take(self, path: Path) -> None:
        """Take a folder or file of the same file system in; what is not there is left at that."""
        with suppress(FileNotFoundError):
            os.rename(path, self._folder / self._fresh())

    def empty(self, end: float) -> bool:
        """Remove until the monotonic time `end`; whether all is gone."""
        self.stuck = ""
        top = os.open(self._folder, _OPEN)
        try:
            while names := os.listdir(top):
                if not self._pass(top, names, end):
                    return False
            return True
        finally:
            os.close(top)

    def _pass(self, top: int, names: list[str], end: float) -> bool:
        """Go once through the top; false once time is out or nothing more goes."""
        progress = False
        for name in names:
            if time.monotonic() > end:
                return False
            try:
                os.unlink(name, dir_fd=top)
                progress = True
            except IsADirectoryError:
                progress |= self._folder_at_top(top, name, end)
            except OSError as error:
                self._note(error)
        return progress

    def _folder_at_top(self, top: int, name: str, end: float) -> bool:
        """Empty one folder, its own folders moved up, and remove it; whether anything got done."""
        progress = False
        try:
            here = _open_up(top, name)
            try:
                with os.scandir(here) as entries:
                    for entry in entries:
                        progress |= self._entry(here, entry.name, top)
                        if time.monotonic() > end:
                            return progress
            finally:
                os.close(here)
            os.rmdir(name, dir_fd=top)
        except OSError as error:
            self._note(error)
            return progress
        return True

    def _entry(self, here: int, name: str, top: int) -> bool:
        try:
            os.unlink(name, dir_fd=here)
        except IsADirectoryError:
            return _rmdir(here, name) or self._move_up(here, name, top)
        except OSError as error:
            self._note(error)
            return False
        return True

    def _move_up(self, here: int, name: str, top: int) -> bool:
        try:
            os.close(_open_up(here, name))  # to be moved it must be writable: its `..` changes
            os.rename(name, self._fresh(), src_dir_fd=here, dst_dir_fd=top)
        except OSError as error:
            self._note(error)
            return False
        return True

    def _note(self, error: OSError) -> None:
        self.stuck = error.strerror or str(error)

    def _fresh(self) -> str:
        return f"{time.time_ns():x}.{next(self._count)}"


def _rmdir(parent: int, name: str) -> bool:
    """Most folders are empty, and then this is all."""
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError:  # whatever it is, opening it up will tell
        return False
    return True


def _open_up(parent: int, name: str) -> int:
    """Open a folder, its mode mended so that its owner can empty it."""
    handle = os.open(name, _HANDLE, dir_fd=parent)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{handle}", mode | 0o700)  # the folder itself, never a link
        return os.open(name, _OPEN, dir_fd=parent)
    finally:
        os.close(handle)
