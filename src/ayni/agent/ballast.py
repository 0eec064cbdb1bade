"""Room on the disk that is kept for the journal: let go when nothing else is left.

Tasks write to the same disk. When one has filled it, the agent must still be able to write down that
it ended, or nobody would ever remove what it left.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from ayni.agent.supervisor import disk

log = logging.getLogger(__name__)

FILE = "ballast"
SIZE = 32 << 20
_LEAST = 1 << 20  # bytes that a journal needs to be opened
_PLENTY = 1 << 30  # bytes free, from which on it is laid again


class Ballast:
    """One file in the agent's state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE

    def lay(self) -> None:
        """Take the room, where it is not taken and the disk has plenty."""
        if self._path.exists() or disk.free(self._folder) < _PLENTY:
            return
        with suppress(OSError):  # tried again later
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, SIZE)
            finally:
                os.close(fd)

    def make_room(self) -> None:
        """Let go if the disk is so full that nothing can be opened on it."""
        if disk.free(self._folder) < _LEAST:
            self.let_go()

    def let_go(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        log.warning("the disk is full: the room kept for the journal is used now")
        return True
