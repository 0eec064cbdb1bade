"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ayni.errors import UserError


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes its name only when it is complete and on the disk.

    Its folder is made if need be.

    Raises:
        UserError: it cannot be written. A full disk leaves no half file.
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
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room, or name another place"
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink()  # if it is still there, it is no whole file
