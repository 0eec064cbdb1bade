"""Blobs in a folder, named by the SHA-256 of their bytes: written aside and renamed, never half there.

SHA-256 because a blob that came by a channel has been hashed so on its way, and need not be again.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ayni.lm.outer.perform import BlobError

_NAME = re.compile(r"\A[0-9a-f]{64}\Z")
_ASIDE = ".part-"
_FLUSH = 64 << 20  # bytes after which the disk is asked to take what was written


def is_address(ref: str) -> bool:
    """Whether a blob may lie under it: the hexadecimal digits of a SHA-256."""
    return _NAME.match(ref) is not None


class FolderStore:
    """A store over a folder; several processes may read, and write, in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, ref: str) -> Path:
        """Where a blob lies.

        Raises:
            BlobError: that is no address.
        """
        if not is_address(ref):
            raise BlobError(f"{ref[:80]!r} is no blob's address")
        return self.folder / ref

    @contextmanager
    def open(self, ref: str) -> Iterator[BinaryIO]:
        try:
            blob = self.path(ref).open("rb")
        except FileNotFoundError:
            raise BlobError(f"there is no blob {ref}") from None
        with blob:
            yield blob

    @contextmanager
    def create(self) -> Iterator[FolderWriter]:
        descriptor, name = tempfile.mkstemp(prefix=_ASIDE, dir=self.folder)
        aside = Path(name)
        try:
            with (
                os.fdopen(descriptor, "wb") as file,
                ThreadPoolExecutor(2, thread_name_prefix="disk") as disk,
            ):
                yield FolderWriter(self, file, aside, disk)
        finally:
            aside.unlink(missing_ok=True)

    def adopt(self, aside: Path, ref: str) -> None:
        """Take in a file that lies in this folder under a name of its own, and is known to have this SHA-256.

        It is neither read nor copied, and durable when this returns.
        """
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        self._put(aside, ref)

    def _put(self, aside: Path, ref: str) -> None:
        aside.replace(self.path(ref))
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drop(self, refs: Iterable[str]) -> None:
        """Forget blobs; those that are not there, and what is no address, are passed over."""
        for ref in filter(is_address, refs):
            self.path(ref).unlink(missing_ok=True)

    def sweep(self, keep: set[str], older_than: float) -> list[str]:
        """Forget what nobody needs and what a killed process left, if last written before a time.

        Args:
            older_than: Unix seconds. A blob that was just written is not yet in anybody's state.
        """
        gone = []
        for path in sorted(self.folder.iterdir()):
            if path.name not in keep and path.stat().st_mtime < older_than:
                path.unlink(missing_ok=True)
                gone.append(path.name)
        return gone


class FolderWriter:
    """A piece is hashed while the one before is written, and the disk has begun long before `keep`.

    One thread writes; the other waits for the disk.
    """

    def __init__(self, store: FolderStore, file: BinaryIO, aside: Path, disk: Executor) -> None:
        self._store, self._file, self._aside, self._disk = store, file, aside, disk
        self._hash = hashlib.sha256()
        self._coming: Future[None] | None = None
        self._flushing: Future[None] | None = None
        self._loose = 0  # bytes that the disk has not been asked for

    def write(self, data: bytes | memoryview, /) -> None:
        self._hash.update(data)
        self._wait()
        self._coming = self._disk.submit(self._put_down, data)

    def _put_down(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._loose += len(data)
        if self._loose >= _FLUSH and (self._flushing is None or self._flushing.done()):
            self._flushed()
            self._file.flush()
            self._flushing = self._disk.submit(os.fdatasync, self._file.fileno())
            self._loose = 0

    def _flushed(self) -> None:
        """Raises OSError: the disk could not take what it was asked for; it says so only once."""
        if self._flushing is not None:
            self._flushing.result()

    def _wait(self) -> None:
        if self._coming is not None:
            self._coming.result()

    def keep(self) -> str:
        """Make it durable, under its address."""
        ref = self._hash.hexdigest()
        self._wait()
        self._flushed()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._store._put(self._aside, ref)
        return ref
