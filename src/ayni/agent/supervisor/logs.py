"""A log: what a command prints, moved by the kernel from a pipe into a file, and cut at a limit.

A pipe, not the file itself, is the command's output: the cut is exact, a job cannot seek in its
log or truncate it (`> /dev/stderr` would), and splice(2) moves pages without copying them here.
"""

from __future__ import annotations

import contextlib
import os

_CHUNK = 1 << 20


class Log:
    """One stream of one command."""

    def __init__(
        self, path: str, limit: int | None, owner: tuple[int, int], file: int | None = None
    ) -> None:
        """Open the log.

        Args:
            path: where the log is to be found.
            limit: bytes after which it is cut; None for no limit.
            owner: the user and group of the command, which may open its output again by name.
            file: an open file to write to instead, which the caller has put at `path`.
        """
        self.path = path
        self._left = limit
        self._cut = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o640) if file is None else file
        self.source, self.target = os.pipe()
        os.fchown(self.target, *owner)
        os.set_blocking(self.source, False)
        self._null = -1

    def opened_by_command(self) -> None:
        """The command has its end of the pipe: let go of ours."""
        os.close(self.target)

    def drain(self) -> bool:
        """Move what is there; False once the pipe is at its end."""
        while True:
            try:
                moved = self._move()
            except BlockingIOError:
                return True
            if moved == 0:
                return False

    def _move(self) -> int:
        if self._cut:
            return os.splice(self.source, self._null, _CHUNK)
        count = _CHUNK if self._left is None else min(_CHUNK, self._left)
        if count == 0:
            return self._cut_here("its limit was reached")
        try:
            moved = os.splice(self.source, self._file, count)
        except BlockingIOError:
            raise
        except OSError as error:  # a full disk, a quota: the job goes on without its log
            return self._cut_here(error.strerror or "it cannot be written")
        if self._left is not None:
            self._left -= moved
        return moved

    def _cut_here(self, why: str) -> int:
        if not os.read(self.source, 1):  # nothing more comes: nothing was cut
            return 0
        self._cut = True
        self._null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self.write(f"\n[ayni] the log is cut here: {why}; the command goes on\n")
        return 1

    def write(self, text: str) -> None:
        """Add a line of our own."""
        with contextlib.suppress(OSError):
            os.lseek(self._file, 0, os.SEEK_END)
            os.write(self._file, text.encode("utf-8", "replace"))

    def close(self) -> None:
        for fd in (self.source, self._file, self._null):
            if fd >= 0:
                os.close(fd)
