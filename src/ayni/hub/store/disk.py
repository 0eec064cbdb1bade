"""Writing a block so that it is there whole or not at all, also after the power went. No Django here."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Self

from ayni.hub.store.keys import INCOMING


class WrongBytes(Exception):
    """What arrived is not what was signed for."""


class Incoming:
    """A block on its way in: a temporary file, hashed as it is written.

    Used as a context: left without `keep`, nothing of it remains.
    """

    def __init__(self, folder: Path, size: int, sha256: str) -> None:
        self._folder = folder
        self._path = folder / INCOMING / secrets.token_hex(16)
        self._size = size
        self._sha256 = sha256
        self._hasher = hashlib.sha256()
        self._got = 0
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._path.unlink(missing_ok=True)

    def write(self, data: bytes | bytearray) -> None:
        """
        Raises:
            WrongBytes: more than was signed for.
        """
        if self._got + len(data) > self._size:
            raise WrongBytes(f"more than {self._size} bytes arrived")
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hasher.update(data)
        self._got += len(data)

    def keep(self, target: Path) -> None:
        """Put the block in its place, durably.

        Raises:
            WrongBytes: too few bytes, or their SHA-256 is another.
        """
        if self._got != self._size:
            raise WrongBytes(f"{self._got} bytes arrived of {self._size}")
        if self._hasher.hexdigest() != self._sha256:
            raise WrongBytes("the SHA-256 of what arrived is not the one declared")
        os.fsync(self._fd)
        _durable_folder(target.parent, self._folder)
        self._path.rename(target)
        sync_folder(target.parent)


def _durable_folder(path: Path, root: Path) -> None:
    """Make `path` beneath `root`; each new folder is noted durably in its parent."""
    if path == root or path.is_dir():
        return
    _durable_folder(path.parent, root)
    path.mkdir(exist_ok=True, mode=0o750)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def prepare(folder: Path) -> None:
    """Make the store's folder ready.

    Raises:
        OSError: it cannot be made or written to.
    """
    (folder / INCOMING).mkdir(parents=True, exist_ok=True, mode=0o750)


def clear_incoming(folder: Path, older_than: float = 86400.0) -> int:
    """Remove what interrupted transfers left more than so many seconds ago; how many there were."""
    removed = 0
    before = time.time() - older_than
    for path in (folder / INCOMING).iterdir():
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
