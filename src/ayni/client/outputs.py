"""Which files a task or an array left, and where they go on this machine. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ayni.client.build import WORKDIR
from ayni.client.errors import AyniError
from ayni.client.models import Output, StoredFile
from ayni.tes import urls

_PLACEHOLDER = re.compile(r"\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}")


@dataclass(frozen=True, slots=True)
class ToFetch:
    """A project file, and its relative name here."""

    path: str  # in the project
    name: str
    size: int = 0
    sha256: str | None = None


def of_task(outputs: Sequence[Output], project: str) -> list[ToFetch]:
    """The outputs that are project files, named as in the task's work folder."""
    found = []
    for output in outputs:
        path = _project_path(output.url, project)
        if path is not None:
            name = posixpath.normpath("/" + output.path).lstrip("/")
            found.append(ToFetch(path, _safe(_within_work(name)), output.size, output.sha256))
    return found


def of_array(
    template: dict[str, Any], ls: Callable[[str], Iterable[StoredFile]], project: str
) -> list[ToFetch]:
    """The files beneath the outputs of an array's template, named without what they all share."""
    found: dict[str, StoredFile] = {}
    prefixes = []
    for output in template.get("outputs") or ():
        path = _project_path(str(output["url"]), project)
        if path is None:
            continue
        pattern = _pattern(path)
        prefixes.append(_fixed(path))
        found |= {f.path: f for f in ls(_fixed(path)) if pattern.match(f.path)}
    shared = _shared_folder(prefixes)
    return [
        ToFetch(path, _safe(path[len(shared) :]), file.size, file.sha256)
        for path, file in sorted(found.items())
    ]


def _project_path(url: str, project: str) -> str | None:
    if not url.startswith(urls.SCHEME):
        return None
    owner, _, path = url.removeprefix(urls.SCHEME).partition("/")
    return path if owner == project else None


def _within_work(name: str) -> str:
    return name.removeprefix(WORKDIR.lstrip("/") + "/")


def _pattern(path: str) -> re.Pattern[str]:
    """Matches the files at or beneath the path, whatever stood for its placeholders."""
    fixed = [re.escape(part) for part in _PLACEHOLDER.split(path.rstrip("/"))]
    return re.compile("[^/]+".join(fixed) + r"(?:/.*)?\Z", re.DOTALL)


def _fixed(path: str) -> str:
    """The path up to its first placeholder."""
    return _PLACEHOLDER.split(path, maxsplit=1)[0]


def _shared_folder(prefixes: Iterable[str]) -> str:
    """The longest run of whole folders that all begin with."""
    common = posixpath.commonprefix(list(prefixes))
    return common[: common.rfind("/") + 1]


def _safe(name: str) -> str:
    """
    Raises:
        AyniError: the name would leave the folder it is put in.
    """
    try:
        cleaned = urls.clean_path(name)
    except urls.UrlError as error:
        raise AyniError(f"output {name[:200]!r} cannot be put on this machine: {error}") from error
    if not cleaned:
        raise AyniError(f"output {name[:200]!r} has no name to be put under on this machine")
    return cleaned


def folders(files: Iterable[StoredFile], prefix: str) -> Iterator[StoredFile | str]:
    """One level of a listing: files, and names of folders (which end in `/`) once each."""
    base = prefix[: prefix.rfind("/") + 1]
    seen: set[str] = set()
    for file in files:
        head, slash, _ = file.path[len(base) :].partition("/")
        if not slash:
            yield file
        elif head not in seen:
            seen.add(head)
            yield f"{base}{head}/"
