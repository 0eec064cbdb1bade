"""Blocks and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ayni.transfer.errors import TransferError
from ayni.transfer.halt import Halt

BLOCK_SIZE = 16 << 20
MAX_BLOCK_SIZE = 64 << 20
MAX_BLOCKS = 65_536
CHUNK = 1 << 20  # bytes held in memory at once by each transfer

Opener = Callable[[], BinaryIO]


def block_count(size: int, block_size: int) -> int:
    return -(-size // block_size)


def block_length(n: int, size: int, block_size: int) -> int:
    """Bytes in block `n`; the last one may be short."""
    return min(block_size, size - n * block_size)


def block_size_for(size: int) -> int:
    """16 MiB; up to 64 MiB for files of which the manifest would grow too long."""
    block_size = BLOCK_SIZE
    while block_size < MAX_BLOCK_SIZE and block_count(size, block_size) > MAX_BLOCKS // 4:
        block_size *= 2
    return block_size


@dataclass(frozen=True, slots=True)
class Described:
    """A file as it is declared: size in bytes, SHA-256 of the whole and of each block, hex."""

    size: int
    sha256: str
    block_size: int
    blocks: tuple[str, ...] = field(repr=False)


def opener(source: Path | Opener) -> Opener:
    """How to open `source` for reading; an agent gives its own, which follows no symbolic link."""
    if isinstance(source, Path):
        path = source
        return lambda: path.open("rb")
    return source


def describe(
    source: Path | Opener, *, block_size: int | None = None, halt: Halt | None = None
) -> Described:
    """Hash a file, in one reading and with bounded memory.

    Raises:
        TransferError: it cannot be read.
        Stopped: `halt` says so.
    """
    halt = halt or Halt()
    try:
        with opener(source)() as file:
            size = file.seek(0, 2)
            file.seek(0)
            block_size = block_size or block_size_for(size)
            blocks: list[str] = []
            whole, length = hashlib.sha256(), 0
            while True:
                # Up to the end of the first block, the hash of the whole is that of the block.
                block = hashlib.sha256() if blocks else None
                got = _hash_block(file, block_size, whole, block, halt)
                if not got:
                    break
                blocks.append((block or whole).hexdigest())
                length += got
    except OSError as error:
        raise TransferError(
            f"cannot read {error.filename or 'the file'}: {error.strerror or error}", code="disk"
        ) from error
    return Described(length, whole.hexdigest(), block_size, tuple(blocks))


def _hash_block(
    file: BinaryIO,
    block_size: int,
    whole: hashlib._Hash,
    block: hashlib._Hash | None,
    halt: Halt,
) -> int:
    got = 0
    while got < block_size and (chunk := file.read(min(CHUNK, block_size - got))):
        halt.check()
        whole.update(chunk)
        if block is not None:
            block.update(chunk)
        got += len(chunk)
    return got
