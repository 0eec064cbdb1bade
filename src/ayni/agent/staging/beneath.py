"""Paths beneath a folder, step by step, so that no path and no symbolic link leads out of it.

The kernel's `openat2(RESOLVE_IN_ROOT)` would do the same, but many centres run kernels from before
it (RHEL 8). Every step opens one name with O_NOFOLLOW relative to the step before.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel's own limit
MAX_DEPTH = 100


def parts(path: str) -> list[str]:
    """The names in a path; leading, doubled and trailing slashes and `.` go.

    Raises:
        OSError: EINVAL for `..` or a NUL byte, ENAMETOOLONG for what no file system holds.
    """
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in path:
        raise OSError(errno.EINVAL, "holds '..' or a NUL byte", path)
    if any(len(os.fsencode(name)) > 255 for name in names) or len(os.fsencode(path)) > 4095:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path[:80])
    return names


class Maker(Protocol):
    """Makes what is staged into one job's root, as the local user whose job it is. Its errors are ours."""

    @property
    def group(self) -> int:
        """The user's, with which the job's folder is shared."""

    def make_folders(self, names: list[str]) -> None: ...

    def create(self, names: list[str]) -> int: ...


class Root:
    """A folder held open: what a job sees as `/`. Paths are the job's, absolute or not."""

    def __init__(self, folder: Path, maker: Maker | None = None) -> None:
        """
        Args:
            maker: makes folders and files, where those are not to be our own.
        """
        self._fd = os.open(folder, _FOLDER)
        self._outside = str(folder)
        self._maker = maker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it, where they are not there yet."""
        names = parts(path)
        if self._maker is None:
            os.close(self._descend(names, make=True))
        elif names:
            self._maker.make_folders(names)

    def create(self, path: str) -> int:
        """Make a new file, and the folders above it, and open it for reading and writing.

        Raises:
            FileExistsError: something, be it a dangling link, is there already.
        """
        *above, name = self._named(path)
        if self._maker is not None:
            return self._maker.create([*above, name])
        here = self._descend(above, make=True)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, 0o644, dir_fd=here)
        finally:
            os.close(here)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, unless this very one is there, and the folders above it.

        Raises:
            OSError: EEXIST or EINVAL, where something else is there.
        """
        *above, name = self._named(path)
        here = self._descend(above, make=True)
        try:
            os.symlink(target, name, dir_fd=here)
        except FileExistsError:
            if os.readlink(name, dir_fd=here) != target:
                raise
        finally:
            os.close(here)

    def open(self, path: str) -> int:
        """Open a regular file or a folder for reading. A FIFO or a device is refused, not waited for.

        Raises:
            OSError: ELOOP or ENOTDIR where a symbolic link stands in the way, EINVAL for what is
                neither file nor folder.
        """
        names = parts(path)
        if not names:
            return os.dup(self._fd)
        here = self._descend(names[:-1])
        try:
            return open_plain(here, names[-1])
        finally:
            os.close(here)

    def stat(self, path: str) -> os.stat_result:
        """What is at a path; a symbolic link at its end is not followed."""
        names = parts(path)
        if not names:
            return os.fstat(self._fd)
        here = self._descend(names[:-1])
        try:
            return os.stat(names[-1], dir_fd=here, follow_symlinks=False)
        finally:
            os.close(here)

    def resolve(self, path: str) -> str:
        """The same place by a path without symbolic links, as the job would have found it.

        An absolute link starts at this root, and `..` stays in it.

        Raises:
            OSError: ENOENT where nothing is there, ELOOP for too many links.
        """
        todo = list(reversed(parts(path)))
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                del done[-1:]
                continue
            here = "/".join((*done, name))
            if not stat.S_ISLNK(self.stat(here).st_mode):
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = self._readlink(here)
            if target.startswith("/"):
                done.clear()
                # Without a sandbox, a job names its own files by the host's paths.
                target = target.removeprefix(self._outside + "/")
            todo += reversed([part for part in target.split("/") if part not in ("", ".")])
        return "/" + "/".join(done)

    def _readlink(self, path: str) -> str:
        *above, name = self._named(path)
        here = self._descend(above)
        try:
            return os.readlink(name, dir_fd=here)
        finally:
            os.close(here)

    def _named(self, path: str) -> list[str]:
        names = parts(path)
        if not names:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return names

    def _descend(self, names: list[str], *, make: bool = False) -> int:
        here = os.dup(self._fd)
        try:
            for name in names:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o755, dir_fd=here)
                step = os.open(name, _STEP, dir_fd=here)
                os.close(here)
                here = step
        except BaseException:
            os.close(here)
            raise
        return here


def open_plain(folder: int, name: str) -> int:
    """Open the regular file or folder `name` of an open folder, and nothing else, for reading."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    before = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not (stat.S_ISREG(before) or stat.S_ISDIR(before)):  # opening a device can have effects
        _refuse(before, name)
    fd = os.open(name, flags, dir_fd=folder)
    after = os.fstat(fd).st_mode
    if not (stat.S_ISREG(after) or stat.S_ISDIR(after)):
        os.close(fd)
        _refuse(after, name)
    return fd


def _refuse(mode: int, name: str) -> None:
    code = errno.ELOOP if stat.S_ISLNK(mode) else errno.EINVAL
    raise OSError(code, f"is {kind(mode)}", name)


def kind(mode: int) -> str:
    """What a mode is, in a word for people."""
    tests: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((word for test, word in tests if test(mode)), "a device")


def walk(root: Root, top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below the folder `top`, as (path relative to it, lstat), folders before their content.

    Links are told, never followed. Holds at most `MAX_DEPTH` descriptors.

    Raises:
        OSError: ENAMETOOLONG for a tree deeper than `MAX_DEPTH`; whatever the kernel says.
    """
    stack: list[tuple[int, str, list[str]]] = []

    def enter(fd: int, path: str) -> None:
        stack.append((fd, path, []))
        if len(stack) > MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, f"is deeper than {MAX_DEPTH} folders", top)
        stack[-1][2].extend(sorted(os.listdir(fd), reverse=True))

    try:
        enter(root.open(top), "")
        while stack:
            fd, path, names = stack[-1]
            if not names:
                stack.pop()
                os.close(fd)
                continue
            name = names.pop()
            inner = f"{path}/{name}" if path else name
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            yield inner, found
            if stat.S_ISDIR(found.st_mode):
                enter(os.open(name, _FOLDER, dir_fd=fd), inner)
    finally:
        for fd, _, _ in stack:
            os.close(fd)
