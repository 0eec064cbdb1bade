"""Where a block lies: `PROJECT/UPLOAD/N` in every store. No Django here: the file server uses it."""

from __future__ import annotations

import re
from pathlib import Path

_KEY = re.compile(r"([1-9][0-9]{0,18})/([0-9a-f]{32})/(0|[1-9][0-9]{0,8})")
_PREFIX = re.compile(r"([1-9][0-9]{0,18})/([0-9a-f]{32})")
_UPLOAD = re.compile(r"[0-9a-f]{32}")
INCOMING = ".tmp"  # beneath the folder: what is being received


def is_upload(name: str) -> bool:
    """Whether this may be the id of an upload; what may not be is not asked for."""
    return _UPLOAD.fullmatch(name) is not None


def prefix(project: int, upload: str) -> str:
    return f"{project}/{upload}"


def block(project: int, upload: str, n: int) -> str:
    return f"{project}/{upload}/{n}"


def file_of(folder: Path, key: str) -> Path:
    """The file of a block in a folder store: spread over 256 folders to a project.

    Raises:
        ValueError: not a key; so nothing outside the folder can ever be named.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"{key[:80]!r} is no key of a block")
    project, upload, n = match.groups()
    return folder / project / upload[:2] / upload / n


def folder_of(folder: Path, upload_prefix: str) -> Path:
    """The folder of an upload's blocks.

    Raises:
        ValueError: not the prefix of an upload.
    """
    match = _PREFIX.fullmatch(upload_prefix)
    if match is None:
        raise ValueError(f"{upload_prefix[:80]!r} is no prefix of an upload")
    project, upload = match.groups()
    return folder / project / upload[:2] / upload
