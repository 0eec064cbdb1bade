"""Names of project files: what is allowed, and what lies beneath what.

A path is either a file or a folder, never both: `a` and `a/b` cannot stand side by side, because a
project must be fetchable onto a disk. Whoever comes second is refused, when declaring and again when
committing. `.ayni/` is the system's: it may be read and deleted from, not written to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from django.db import connection

from ayni.hub.http import field_problem
from ayni.hub.store.models import File
from ayni.tes.urls import UrlError, clean_path

SYSTEM = ".ayni"
LOGS = f"{SYSTEM}/logs"
CHANNELS = f"{SYSTEM}/channels"
_ROWS = 300  # three parameters each, in one statement

T = TypeVar("T")
Place = tuple[int, str]  # project's id, path


def writable(field: str, path: str) -> str:
    """The path, normal, of a file that a person or task may write.

    Raises:
        ProblemError: 400, naming the field.
    """
    clean = readable(field, path)
    if not clean or path.endswith("/"):
        raise field_problem(field, "names no file: write it as folder/name")
    if is_system(clean):
        raise field_problem(field, f"{SYSTEM}/ is the system's; choose another folder")
    return clean


def readable(field: str, path: str) -> str:
    """The path, normal; may be empty.

    Raises:
        ProblemError: 400, naming the field.
    """
    try:
        return clean_path(path)
    except UrlError as error:
        raise field_problem(field, str(error)) from error


def any_prefix(field: str, prefix: str) -> str:
    """A beginning of paths, as it stands: `res` finds `results/1` too.

    Raises:
        ProblemError: 400, naming the field.
    """
    readable(field, prefix)
    return prefix.lstrip("/")


def is_system(path: str) -> bool:
    return path == SYSTEM or path.startswith(f"{SYSTEM}/")


def log_path(task: str, command: int, stream: str) -> str:
    """Where the log of a task's command lies in its project."""
    return f"{LOGS}/{task}/{command}.{stream}"


def blob_path(channel: str, sha256: str) -> str:
    """Where a message's blob lies in its project: by its content."""
    return f"{CHANNELS}/{channel}/{sha256}"


def after(prefix: str) -> str | None:
    """The first string behind all that begin with `prefix`; None if there is none."""
    for position in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[position])
        if code < 0x10FFFF:
            following = 0xE000 if code == 0xD7FF else code + 1  # surrogates are no characters
            return prefix[:position] + chr(following)
    return None


def above(path: str) -> list[str]:
    """The folders that a path lies in: `a`, `a/b` for `a/b/c`."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def clashes(places: Collection[Place]) -> dict[Place, str]:
    """Places that cannot be files, each with the file in its way: above it, or beneath it.

    Two statements for hundreds of places. Only with the project's lock held (`quota`) is it the last
    word.
    """
    found: dict[Place, str] = {}
    folders = {(project, folder) for project, path in places for folder in above(path)}
    files = set()
    for project in {project for project, _ in folders}:
        names = [folder for p, folder in folders if p == project]
        for chunk in _chunks(names, 3 * _ROWS):
            rows = File.objects.filter(project=project, path__in=chunk)
            files |= {(project, path) for path in rows.values_list("path", flat=True)}
    if files:
        for project, path in places:
            blocking = next((f for f in above(path) if (project, f) in files), None)
            if blocking is not None:
                found[project, path] = blocking
    return found | _beneath(places)


def _beneath(places: Collection[Place]) -> dict[Place, str]:
    """Places that are folders, each with a file in it."""
    found: dict[Place, str] = {}
    for chunk in _chunks(list(places), _ROWS):
        values = ", ".join(
            ["(CAST(%s AS bigint), CAST(%s AS text), CAST(%s AS text))"] * len(chunk)
        )
        # The number of placeholders is all that is put into the statement.
        statement = (
            f"WITH wanted (project, low, high) AS (VALUES {values}) "  # noqa: S608
            "SELECT project, low, (SELECT f.path FROM store_file f WHERE f.project_id = project "
            "AND f.path >= low AND f.path < high ORDER BY f.path LIMIT 1) FROM wanted"
        )
        parameters = [v for project, path in chunk for v in (project, f"{path}/", f"{path}0")]
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            for project, low, file in cursor.fetchall():
                if file is not None:
                    found[project, low.removesuffix("/")] = file
    return found


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
