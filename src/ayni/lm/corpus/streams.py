"""Files and what is within archives, as streams. Hostile ones too: nothing is unpacked to disk, no path in
an archive is followed, and what is unpacked is bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from ayni.lm.corpus.documents import Unreadable

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_SHORT = {".tgz": (".tar", "gzip"), ".tbz2": (".tar", "bz2"), ".txz": (".tar", "xz")}
MAX_RATIO = 200  # bytes unpacked from one packed; texts pack 3 to 20 times
FREE = 1 << 30  # bytes that may be unpacked from anything, however small
MAX_MEMBERS = 1_000_000
MAX_HEADER = 1 << 20  # bytes of a tar's extended header
MAX_NAME = 1024  # characters of a member's name
#: What the libraries raise for damaged or truncated data.
DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is by its name: `suffix` without that of its compression."""

    suffix: str
    compression: str | None


def kind(name: str) -> Kind:
    """`a.tar.gz` is a tar, compressed by gzip. Suffixes in small letters."""
    path = Path(name.lower())
    if path.suffix in _SHORT:
        return Kind(*_SHORT[path.suffix])
    if path.suffix in COMPRESSED:
        return Kind(Path(path.stem).suffix, COMPRESSED[path.suffix])
    return Kind(path.suffix, None)


@dataclass
class _Budget:
    left: int  # bytes that may still come out of one archive


class _Bounded(io.RawIOBase):
    """A stream that ends with an error where more comes out of it than its archive's budget."""

    def __init__(self, stream: BinaryIO, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._budget.left -= len(data)
        if self._budget.left < 0:
            raise Unreadable(
                f"unpacks to more than {MAX_RATIO} times its size; this is no archive of texts"
            )
        buffer[: len(data)] = data
        return len(data)


def _buffered(stream: BinaryIO, budget: _Budget) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Bounded(stream, budget), 1 << 16))


def unpacked(stream: BinaryIO, compression: str | None, packed: int) -> BinaryIO:
    """The stream without its compression; `packed` is its size in bytes."""
    if compression is None:
        return stream
    if compression == "gzip":
        plain: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
    elif compression == "bz2":
        plain = cast(BinaryIO, bz2.BZ2File(stream))
    elif compression == "xz":
        plain = cast(BinaryIO, lzma.LZMAFile(stream))  # noqa: SIM115  # as long as the file
    else:
        plain = cast(
            BinaryIO, pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), compression)
        )
    return _buffered(plain, _Budget(max(FREE, MAX_RATIO * packed)))


@contextmanager
def damage() -> Iterator[None]:
    """What the libraries say of damaged data, in our words.

    Raises:
        Unreadable: in place of theirs.
    """
    try:
        yield
    except DAMAGED as error:
        if isinstance(error, OSError) and error.strerror:
            raise Unreadable(f"{error.strerror}; see to it that it can be read") from error
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise Unreadable(f"damaged or cut short ({why}); fetch or pack it again") from error


@dataclass(frozen=True, slots=True)
class Member:
    """A file within an archive; `size` in bytes as the archive says it. Open it before the next one."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


def tar_members(stream: BinaryIO) -> Iterator[Member]:
    """The files in a tar, as they come."""
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Modest) as tar:
        for count, member in enumerate(tar):
            if count >= MAX_MEMBERS:
                raise Unreadable(f"more than {MAX_MEMBERS} members; pack them in several archives")
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all
            if member.isreg() and not member.issparse():
                yield Member(member.name, member.size, partial(_tar_open, tar, member))


def _tar_open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    # What a stream's members are made of lacks methods that readers of text ask for.
    return _buffered(cast(BinaryIO, tar.extractfile(member)), _Budget(member.size))


class _Modest(tarfile.TarInfo):
    """Headers are read into memory whole, of whatever size they say that they are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Modest:
        found = super().frombuf(buf, encoding, errors)
        long = found.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if (long or found.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)) and (
            found.size > MAX_HEADER
        ):
            raise Unreadable(f"a header of {found.size} bytes; this is no archive of texts")
        return found


def zip_members(file: BinaryIO, size: int) -> Iterator[Member]:
    """The files in a zip; members that are damaged do not keep the others from being read."""
    if (count := _zip_count(file, size)) > MAX_MEMBERS:
        raise Unreadable(f"{count} members; pack them in several archives")
    with zipfile.ZipFile(file) as archive:
        budget = _Budget(max(FREE, MAX_RATIO * size))
        for member in archive.infolist():
            if not member.filename.endswith("/"):  # is_dir() fails where there is no name
                opened = partial(_zip_open, archive, member, budget)
                yield Member(member.filename, member.file_size, opened)


def _zip_open(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: _Budget) -> BinaryIO:
    try:
        opened = archive.open(member)
    except (
        RuntimeError,
        NotImplementedError,
    ) as error:  # encrypted; packed in a way that is not known
        raise Unreadable(f"{error}; pack it again, by deflate and without a password") from error
    return _buffered(cast(BinaryIO, opened), budget)


def _zip_count(file: BinaryIO, size: int) -> int:
    """How many members the directory has room for: it is read into memory whole (APPNOTE 4.3.12 to 16)."""
    tail = min(size, 65535 + 22)
    file.seek(size - tail)
    data = file.read(tail)
    at = data.rfind(b"PK\x05\x06")
    directory = 0
    if at >= 0 and len(data) >= at + 22:
        directory = struct.unpack_from("<L", data, at + 12)[0]
    if directory == 0xFFFFFFFF and at >= 20:
        (where,) = struct.unpack_from("<Q", data, at - 20 + 8)
        file.seek(min(where, size))
        record = file.read(56)
        directory = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else 0
    file.seek(0)
    return int(directory) // 46
