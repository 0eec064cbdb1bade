"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ayni.errors import NoRoom, UserError, is_full


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes its name only when it is complete and on the disk.

    Its folder is made if need be.

    Raises:
        UserError: it cannot be written (`NoRoom`: the disk is full). There is no half file then.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):
            aside.unlink()  # if it is still there, it is no whole file


@contextmanager
def consumed(path: Path) -> Iterator[Path]:
    """A file that goes when it was used."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def add_lines(path: Path, lines: Iterable[str]) -> None:
    """Put lines behind a file's last one, also where a kill cut that off.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            else:
                torn = False
            file.write(("\n" if torn else "").encode())
            file.writelines(f"{line}\n".encode() for line in lines)
    except OSError as error:
        raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> UserError:
    """What a person is told of a file, or of a folder, in which nothing can be written."""
    kind = NoRoom if is_full(error) else UserError
    return kind(f"{path}: cannot be written ({error.strerror}); make room, or name another place")


def sha256_of(path: Path) -> str | None:
    """Of a file's content; None: it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
