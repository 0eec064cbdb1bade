"""A channel's folders in a task's root, and the place beside the root where the agent works.

ROOT/channel/NAME/out/X.json    a message, renamed to this by the task when it was whole …
ROOT/channel/NAME/out/X.blob    … and its blob, which was there before
ROOT/channel/NAME/in/N.json     a message for the task, with N.blob before it
ROOT/channel/ayni_channel.py    what a task in Python may import
ROOT/channel/NAME/ask/N         the task wants the blob of message N
ROOT/channel/NAME/errors        why messages were refused, a line of JSON each
BESIDE/NAME/                    what is on its way; the task cannot reach it

All in the root is the task's to change at any moment, and hostile: nothing is followed, only regular
files are opened, and everything has a bound.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from ayni import channel
from ayni.agent.staging.beneath import Root, kind, open_plain
from ayni.protocol.channels import MAX_BODY, Unfit

TOP = "/channel"
HELPER = "ayni_channel.py"  # for tasks in Python; no channel can have this name
_HELPER = Path(channel.__file__)
BESIDE = "relay"  # in the attempt's folder
MOST_FILES = 100_000  # in `out`, beyond which nothing is relayed any more
AHEAD = 1000  # messages that a task is given before it removes some
BYTES_AHEAD = 8 << 30
_FILE = 4 * MAX_BODY  # bytes of a message's file
_ERRORS = 64 << 10  # bytes of the file of errors
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooMany(Exception):
    """More files than anybody would wait for."""


def make(folder: Path, root: Root, channels: list[str]) -> None:
    """Make the folders of an attempt that uses these channels."""
    (folder / BESIDE).mkdir(mode=0o750)
    root.make_folders(TOP)
    with os.fdopen(root.create(f"{TOP}/{HELPER}"), "wb") as file:
        file.write(_HELPER.read_bytes())
    for name in channels:
        (folder / BESIDE / name).mkdir(mode=0o750)
        for way in ("out", "in", "ask"):
            root.make_folders(f"{TOP}/{name}/{way}")


class Spool:
    """One channel of one attempt. Names are those of messages, without `.json`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._root = folder / "root"
        self._place = f"{TOP}/{name}"
        self.beside = folder / BESIDE / name

    # --- out ---

    def names(self, most: int) -> tuple[list[str], list[str]]:
        """The first messages that wait, in order, and names that can be none.

        Raises:
            TooMany: there are more than MOST_FILES.
            OSError: the task has removed or replaced its folder.
        """
        good: list[str] = []
        bad: list[str] = []
        with self._open("out") as out, os.scandir(out) as entries:
            for count, entry in enumerate(entries):
                if count >= MOST_FILES:
                    raise TooMany
                name = entry.name
                if name.startswith(".") or name.endswith((".blob", ".tmp", ".part")):
                    continue
                stem = name.removesuffix(".json")
                if stem != name and _NAME.fullmatch(stem):
                    good.append(stem)
                elif len(bad) < most:
                    bad.append(name)
        return heapq.nsmallest(most, good), bad

    def read(self, name: str) -> tuple[str, Any, bool]:
        """A message's kind, body and whether a blob goes with it.

        Raises:
            Unfit: it is no message.
            OSError: it is not there any more, or the task has replaced its folder.
        """
        data = self._bytes(f"{name}.json")
        try:
            said = from_json(data, allow_inf_nan=False)
        except ValueError as error:
            raise Unfit("file", f"is no JSON: {error}") from error
        if not isinstance(said, dict) or not isinstance(said.get("kind"), str):
            raise Unfit("file", 'must be {"kind": …, "body": {…}}')
        if more := said.keys() - {"kind", "body", "blob"}:
            raise Unfit("file", f"{min(more)[:80]}: is no field of a message")
        blob = said.get("blob", False)
        if not isinstance(blob, bool):
            raise Unfit("file", "blob: must be true or false")
        return said["kind"], said.get("body", {}), blob

    def _bytes(self, name: str) -> bytes:
        with self._open("out") as out:
            try:
                fd = open_plain(out, name)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise Unfit("file", f"cannot be read: {error.strerror}") from error
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise Unfit("file", "is a folder")
                data = file.read(_FILE + 1)
        if len(data) > _FILE:
            raise Unfit("file", f"is larger than {_FILE} bytes; put what is large in a blob")
        return data

    def hold_blob(self, name: str) -> int | None:
        """Take a message's blob out of the task's reach; its size, or None if it is not there.

        Raises:
            Unfit: it is no file.
        """
        held = self._held(name)
        if not os.path.lexists(held):
            with self._open("out") as out, self._open_beside() as beside:
                try:
                    os.rename(f"{name}.blob", held.name, src_dir_fd=out, dst_dir_fd=beside)
                except FileNotFoundError:
                    return None
                except OSError as error:
                    raise Unfit("blob", f"cannot be taken: {error.strerror}") from error
        found = held.lstat()
        if not stat.S_ISREG(found.st_mode):
            with suppress(OSError):
                held.rmdir() if stat.S_ISDIR(found.st_mode) else held.unlink()
            raise Unfit("blob", f"is {kind(found.st_mode)}, not a file")
        if not os.access(held, os.R_OK):  # a local user's own
            held.unlink()
            raise Unfit("blob", "is closed to the site's agent; let others read it (chmod a+r)")
        return found.st_size

    def drop_blob(self, name: str) -> None:
        """Remove what `hold_blob` took."""
        with suppress(FileNotFoundError):
            self._held(name).unlink()

    def keep_blob(self, name: str, number: int) -> None:
        """What was held becomes the blob of message `number`; once more does no harm."""
        with suppress(FileNotFoundError):
            self._held(name).rename(self.blob(number))

    def drop_all_but(self, numbers: Collection[int]) -> None:
        """Remove the blobs of messages that are dealt with."""
        kept = {self.blob(number) for number in numbers}
        for path in self.beside.glob("*.out"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def blob(self, number: int) -> Path:
        return self.beside / f"{number}.out"

    def open_blob(self, number: int) -> BinaryIO:
        """Open it for reading, and nothing but a file."""
        with self._open_beside() as beside:
            return os.fdopen(open_plain(beside, self.blob(number).name), "rb")

    def _held(self, name: str) -> Path:
        return self.beside / f"held.{name}"

    def remove(self, name: str) -> None:
        """Acknowledge or refuse: the task's file goes.

        Raises:
            OSError: it cannot be removed.
        """
        with self._open("out") as out:
            for suffix in (".json", ".blob"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{name}{suffix}", dir_fd=out)

    def remove_message(self, name: str) -> None:
        """Acknowledge: only the message goes; its blob is taken."""
        with self._open("out") as out, suppress(FileNotFoundError):
            os.unlink(f"{name}.json", dir_fd=out)

    # --- in ---

    def room(self) -> bool:
        """Whether the task may be given more."""
        count = size = 0
        with self._open("in") as inside, os.scandir(inside) as entries:
            for entry in entries:
                count += 1
                if count > 2 * AHEAD:
                    return False
                with suppress(FileNotFoundError):
                    size += entry.stat(follow_symlinks=False).st_size
        return size < BYTES_AHEAD

    def ready(self, sequence: int) -> Path:
        """Where a message lies before it is put down."""
        return self.beside / f"{sequence}.in"

    def write(self, sequence: int, message: dict[str, Any]) -> None:
        """Lay a message ready, durably."""
        path = self.ready(sequence)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(message, ensure_ascii=False).encode())
            file.flush()
            os.fsync(fd)
        self._share(path)

    def put(self, sequence: int) -> None:
        """Rename what lies ready into the task's folder."""
        self._rename(self.ready(sequence).name, f"{sequence:020}.json", "in")

    def has_blob(self, sequence: int, size: int) -> bool:
        """Whether the task was given this blob already, and has it still."""
        with self._open("in") as inside, suppress(FileNotFoundError):
            found = os.stat(f"{sequence:020}.blob", dir_fd=inside, follow_symlinks=False)
            return stat.S_ISREG(found.st_mode) and found.st_size == size
        return False

    def arriving(self, sequence: int) -> Path:
        return self.beside / f"{sequence}.blob"

    def put_blob(self, sequence: int) -> None:
        self._share(self.arriving(sequence))
        self._rename(self.arriving(sequence).name, f"{sequence:020}.blob", "in")

    def asked(self) -> list[int]:
        """The messages whose blobs the task asks for; what is no number is passed over."""
        found: list[int] = []
        with self._open("ask") as ask, os.scandir(ask) as entries:
            for count, entry in enumerate(entries):
                if count >= AHEAD:
                    break
                if entry.name.isascii() and entry.name.isdigit() and len(entry.name) <= 16:
                    found.append(int(entry.name))
        return sorted(found)

    def answered(self, sequence: int) -> None:
        """The task has what it asked for, or was told why not."""
        with self._open("ask") as ask, suppress(FileNotFoundError):
            os.unlink(str(sequence), dir_fd=ask)

    # --- errors ---

    def complain(self, name: str, code: str, message: str) -> None:
        """Tell the task why a message was refused; the oldest lines go when there are many."""
        line = json.dumps({"name": name, "code": code, "error": message}, ensure_ascii=False)
        text = [*self._errors(), line.encode("utf-8", "replace")]
        while sum(map(len, text)) + len(text) > _ERRORS and len(text) > 1:
            del text[0]
        path = self.beside / "errors"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(fd, "wb") as file:
            file.write(b"".join(one + b"\n" for one in text))
        self._share(path)
        self._rename("errors", "errors", "")

    def _errors(self) -> list[bytes]:
        with self._open("") as top:
            try:
                fd = open_plain(top, "errors")
            except OSError:  # none yet, or the task put something else there
                return []
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return []
            return file.read(2 * _ERRORS).splitlines()

    # --- folders ---

    @contextmanager
    def _open(self, way: str) -> Iterator[int]:
        with Root(self._root) as root:
            fd = root.open(f"{self._place}/{way}")
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _open_beside(self) -> Iterator[int]:
        fd = os.open(self.beside, _FOLDER)
        try:
            yield fd
        finally:
            os.close(fd)

    def _rename(self, name: str, to: str, way: str) -> None:
        with self._open(way) as folder, self._open_beside() as beside:
            os.rename(name, to, src_dir_fd=beside, dst_dir_fd=folder)

    def _share(self, path: Path) -> None:
        """Let the task read it, whoever runs it: nobody else can enter the attempt's folder."""
        path.chmod(0o644)
