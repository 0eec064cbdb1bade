"""Local inputs on their way to the project's store.

What a task reads lies beneath a name made of its own content, `inputs/HASH/…`: it is never
overwritten by something else, the same files are not sent twice, and a submission that was
interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ayni.client.errors import InvalidTask
from ayni.client.specs import InputSpec, local_name
from ayni.client.store import Store, ToSend, walk
from ayni.tes import urls
from ayni.tes.arrays import fill, placeholders
from ayni.transfer import TransferError, describe

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Staged:
    """One local source, and where it will lie."""

    source: str
    url: str
    prefix: str  # in the project
    files: tuple[ToSend, ...]


def exists(source: str, rows: Rows) -> bool:
    """Whether the source is here; one with `{{name}}` must be here for every row of parameters."""
    if not placeholders(source):
        return Path(source).exists()
    return bool(rows) and all(Path(path).exists() for path in expanded(source, rows))


def is_folder(source: str, rows: Rows) -> bool:
    return Path(next(iter(expanded(source, rows)), source)).is_dir()


def expanded(source: str, rows: Rows) -> list[str]:
    """What the source stands for: itself, or one for each row of parameters; each once."""
    if not placeholders(source):
        return [source]
    filled = [fill(source, {"index": str(n), **row}) for n, row in enumerate(rows)]
    return list(dict.fromkeys(filled))


def plan(specs: Sequence[InputSpec], rows: Rows, project: str) -> list[Staged]:
    """Read and hash the local sources; nothing is sent.

    Raises:
        InvalidTask: one cannot be read, or holds nothing.
    """
    return [_plan(spec, rows, project) for spec in specs if spec.local]


def _plan(spec: InputSpec, rows: Rows, project: str) -> Staged:
    name = local_name(spec.source)
    found = [(local_name(path), Path(path)) for path in expanded(spec.source, rows)]
    if spec.directory:
        found = [(f"{at}/{inner}", file) for at, path in found for inner, file in walk(path)]
        if not found:
            raise InvalidTask(f"input {spec.source!r} holds no file")
    try:
        described = [(name, path, describe(path)) for name, path in found]
        digest = hashlib.sha256()
        for inner, _, file in sorted(described, key=lambda one: one[0]):
            digest.update(f"{inner}\0{file.sha256}\n".encode())
        prefix = f"inputs/{digest.hexdigest()[:16]}"
        files = tuple(
            ToSend(path, urls.clean_path(f"{prefix}/{inner}"), file)
            for inner, path, file in described
        )
    except TransferError as error:
        raise InvalidTask(f"input {spec.source!r}: {error}") from error
    except (urls.UrlError, UnicodeEncodeError) as error:
        raise InvalidTask(f"input {spec.source!r} cannot be stored: {error}") from error
    return Staged(spec.source, f"{urls.SCHEME}{project}/{prefix}/{name}", prefix, files)


def send(staged: Sequence[Staged], store: Store, progress: bool = False) -> int:
    """Send what is not in the store yet. How many files that were."""
    missing: dict[str, ToSend] = {}
    for one in staged:
        there = {(file.path, file.size) for file in store.ls(f"{one.prefix}/")}
        for file in one.files:
            if (file.path, file.size) not in there:
                missing[file.path] = file
    if missing:
        store.send(list(missing.values()), progress=progress)
    return len(missing)
