"""Blobs in a folder, named by the digest of their bytes: written aside and renamed, never half there."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ayni.lm.outer.blocks import DIGEST
from ayni.lm.outer.perform import BlobError

_NAME = re.compile(r"\A[0-9a-f]{64}\Z")
_ASIDE = ".part-"


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
        if not _NAME.match(ref):
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
            with os.fdopen(descriptor, "wb") as file:
                yield FolderWriter(self, file, aside)
        finally:
            aside.unlink(missing_ok=True)

    def adopt(self, aside: Path) -> str:
        """Take in a file that lies in this folder under a name of its own; its address.

        It is read, not copied, and durable when this returns.
        """
        with aside.open("rb") as file:
            ref = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST)).hexdigest()
            os.fsync(file.fileno())
        self._put(aside, ref)
        return ref

    def _put(self, aside: Path, ref: str) -> None:
        aside.replace(self.path(ref))
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drop(self, refs: Iterable[str]) -> None:
        """Forget blobs; those that are not there are passed over."""
        for ref in refs:
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
    def __init__(self, store: FolderStore, file: BinaryIO, aside: Path) -> None:
        self._store, self._file, self._aside = store, file, aside
        self._hash = hashlib.blake2b(digest_size=DIGEST)

    def write(self, data: bytes, /) -> None:
        self._hash.update(data)
        self._file.write(data)

    def keep(self) -> str:
        """Make it durable, under its address."""
        ref = self._hash.hexdigest()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._store._put(self._aside, ref)
        return ref
