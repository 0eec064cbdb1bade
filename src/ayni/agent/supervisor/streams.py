"""The standard input, output and error of one command."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ayni.agent.supervisor import files, namespaces
from ayni.agent.supervisor.logs import Log

_OUTPUTS = ("stdout", "stderr")


class UserError(Exception):
    """What the user of the job can put right; it goes into the command's log."""


class Streams:
    """Opens them, moves the output into the logs, and leaves it where the task asked for it.

    Each stream is a log in `FOLDER/logs`. A stream that the task wants in a file goes whole into
    that file, of which the log is a second name (or, if it is longer than a log may be, an excerpt).
    """

    def __init__(self, spec: dict[str, Any], index: int, command: dict[str, Any]) -> None:
        self._limit: int = spec["limits"]["log"]
        self._command = command
        sandbox = spec["sandbox"]
        self._owner = (os.geteuid(), os.getegid()) if sandbox is None else namespaces.outer_ids()
        folder = os.path.join(spec["folder"], "logs")
        os.makedirs(folder, exist_ok=True)
        self._paths = {name: os.path.join(folder, f"{index}.{name}") for name in _OUTPUTS}
        self._files: dict[str, int] = {}
        self._logs: list[Log] = []
        self._stdin = -1

    def __enter__(self) -> Streams:
        return self

    def open(self) -> None:
        """Open all three.

        Raises:
            UserError: a path that the task names cannot be used.
        """
        self._stdin = self._open_stdin()
        self._logs = [self._open_output(name) for name in _OUTPUTS]

    def fail(self, text: str) -> None:
        """Say in the log why the command was not started."""
        with open(self._paths["stderr"], "a") as file:
            file.write(f"ayni: {text}\n")

    def descriptors(self) -> tuple[int, int, int]:
        """What the command gets as its standard input, output and error."""
        out, err = self._logs
        return self._stdin, out.target, err.target

    def opened_by_command(self) -> None:
        """The command has its ends: let go of ours."""
        for log in self._logs:
            log.opened_by_command()

    def handlers(self) -> dict[int, Callable[[], bool]]:
        """What to call when a descriptor can be read; it says whether there is more to come."""
        return {log.source: log.drain for log in self._logs}

    def drain(self) -> None:
        for log in self._logs:
            log.drain()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for log in self._logs:
            log.close()
        for name, fd in self._files.items():
            self._keep_excerpt(self._paths[name], fd)
            os.close(fd)
        if self._stdin >= 0:
            os.close(self._stdin)

    def _open_stdin(self) -> int:
        if self._command["stdin"] is None:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._open_named("stdin", os.O_RDONLY)

    def _open_output(self, name: str) -> Log:
        path = self._paths[name]
        if self._command[name] is None:
            return Log(path, self._limit, self._owner)
        fd = self._open_named(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if os.geteuid() == 0:
            os.fchown(fd, *self._owner)
        self._files[name] = fd
        # A second name, so that the log can be watched; where that is refused, a copy at the end.
        with contextlib.suppress(OSError):
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
        return Log(path, None, self._owner, os.dup(fd))

    def _open_named(self, name: str, flags: int) -> int:
        base, relative, shown = self._command[name]
        try:
            owner = self._owner if flags & os.O_CREAT else None
            fd = files.open_beneath(base, relative, flags, owner)
        except OSError as error:
            raise UserError(f"{name} {shown!r}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UserError(f"{name} {shown!r}: not a regular file")
        return fd

    def _keep_excerpt(self, path: str, fd: int) -> None:
        """Where the log is not the whole file: make it a copy, as long as a log may be."""
        whole = os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(whole, os.stat(path)) and whole.st_size <= self._limit:
                return
        part = path + ".part"
        with open(part, "wb") as excerpt:
            offset = 0
            while offset < min(whole.st_size, self._limit):
                count = min(whole.st_size, self._limit) - offset
                copied = os.copy_file_range(fd, excerpt.fileno(), count, offset)
                if copied == 0:
                    break
                offset += copied
            if offset < whole.st_size:
                rest = f"; the whole is in {self._shown(fd)}"
                os.write(excerpt.fileno(), f"\n[ayni] the log is cut here{rest}\n".encode())
        os.replace(part, path)

    def _shown(self, fd: int) -> str:
        name = next(name for name, file in self._files.items() if file == fd)
        return str(self._command[name][2])
