"""SHA-256 of what is released: `SHA256SUMS`, as `sha256sum --check` reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from ayni.errors import UserError
from ayni.lm.files import written

FILE = "SHA256SUMS"
_MOST = 1 << 20  # bytes of such a file


def sha256(*paths: Path) -> str:
    """SHA-256 of files, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def weights_of(folder: Path) -> str:
    """What a model's weights are known by: SHA-256 of its safetensors in the order of their names.

    Raises:
        UserError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} has no *.safetensors: name a folder of 'ayni lm export'")
    return sha256(*files)


def write(folder: Path) -> dict[str, str]:
    """List every file in the folder with its SHA-256."""
    found = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != FILE
    }
    with written(folder / FILE) as file:
        for name, digest in found.items():
            file.write(f"{digest}  {name}\n".encode())
    return found


def check(folder: Path, but: Collection[str] = ()) -> None:
    """Compare every file with what is listed, `but` some.

    Raises:
        UserError: no list, a file that is missing or has changed, or one that is not listed.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST).decode().splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: name a folder of 'ayni lm export'") from error
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    there.pop(FILE, None)
    for name in sorted((listed.keys() | there.keys()) - set(but)):
        if name not in there:
            raise UserError(f"{folder / name} is missing: fetch the release again")
        if name not in listed or sha256(there[name]) != listed[name]:
            raise UserError(f"{folder / name} is not what {FILE} lists: fetch the release again")
