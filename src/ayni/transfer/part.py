"""The `.part` file beside a target: what has arrived of it, kept over a stop or a crash.

`.NAME.part` holds the bytes at their places, `.NAME.part.done` the identity of the content and the
numbers of the blocks that arrived whole. A lock keeps a second transfer to the same target away.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from ayni.transfer.blocks import CHUNK
from ayni.transfer.errors import TransferError
from ayni.transfer.halt import Halt
from ayni.transfer.wire import Manifest


def _beside(target: Path) -> Path:
    name = target.name
    if len(name.encode()) > 200:  # file systems allow 255 bytes
        name = hashlib.sha256(name.encode()).hexdigest()
    return target.with_name(f".{name}.part")


class Part:
    """An open and locked `.part` file.

    Raises:
        TransferError: another transfer to the same target is under way.
        OSError: the disk says no.
    """

    def __init__(self, target: Path, manifest: Manifest) -> None:
        self.target = target
        self.path = _beside(target)
        self.notes = self.path.with_name(self.path.name + ".done")
        self._manifest = manifest
        self._lock = threading.Lock()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.fd = self._open()
        try:
            self.done = self._recall()
        except BaseException:
            os.close(self.fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)  # and with it the lock goes

    def _open(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_ino == self.path.lstat().st_ino:
                    return fd
            except FileNotFoundError:
                pass  # the other transfer has just finished and renamed it
            except BlockingIOError:
                os.close(fd)
                raise TransferError(
                    f"another transfer to {self.target} is under way", code="busy", retryable=True
                ) from None
            os.close(fd)

    def _identity(self) -> list[object]:
        return [self._manifest.sha256, self._manifest.size, self._manifest.block_size]

    def _recall(self) -> set[int]:
        """The blocks that arrived before; none if the notes are of other content or damaged."""
        try:
            first, *rest = self.notes.read_text().splitlines()
            if json.loads(first) == self._identity():
                count = len(self._manifest.blocks)
                return {
                    n
                    for line in rest
                    if line.isascii() and line.isdigit() and (n := int(line)) < count
                }
        except (OSError, ValueError):
            pass  # nothing usable was kept: begin anew
        os.ftruncate(self.fd, 0)
        os.ftruncate(self.fd, self._manifest.size)
        self._write_notes(set())
        return set()

    def _write_notes(self, done: set[int]) -> None:
        lines = [json.dumps(self._identity()), *map(str, sorted(done))]
        self.notes.write_text("".join(f"{line}\n" for line in lines))

    def note(self, n: int) -> None:
        """Block `n` has arrived whole."""
        with self._lock:
            self.done.add(n)
            with self.notes.open("a") as notes:
                notes.write(f"{n}\n")

    def digest(self, halt: Halt, start: int = 0, length: int | None = None) -> str:
        """SHA-256 of what lies in the file, or of a piece of it."""
        result = hashlib.sha256()
        position = start
        end = self._manifest.size if length is None else start + length
        while position < end and (chunk := os.pread(self.fd, min(CHUNK, end - position), position)):
            halt.check()
            result.update(chunk)
            position += len(chunk)
        return result.hexdigest()

    def recheck(self, halt: Halt) -> None:
        """Forget the blocks that are not what was noted (a machine that went down loses writes)."""
        size = self._manifest.block_size
        good = {
            n
            for n in self.done
            if self.digest(halt, n * size, self._manifest.blocks[n].size)
            == self._manifest.blocks[n].sha256
        }
        self.done = good
        self._write_notes(good)

    def finish(self) -> None:
        """It is whole: put it in the target's place."""
        self.path.replace(self.target)
        self.notes.unlink(missing_ok=True)
