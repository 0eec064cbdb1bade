"""How inputs and outputs are named on a command line and in Python: `LOCAL[:/path]`, `PATH[:URL]`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from ayni.client.errors import InvalidTask
from ayni.tes import urls

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)
_URL_TARGET = re.compile(r"(?P<url>[a-z][a-z0-9+.-]*://.*?):(?P<path>/(?!/)[^:]*)", re.ASCII)
_OUTPUT_URL = re.compile(r":(?=[a-z][a-z0-9+.-]*://)", re.ASCII)
_WILDCARDS = re.compile(r"[*?\[]")

Exists = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Something to be there before the task starts: `source` is a local path or a URL, `path` absolute."""

    source: str
    path: str
    directory: bool

    @property
    def local(self) -> bool:
        return _URL.match(self.source) is None


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """Something to keep when the task has ended well; `path` is absolute and may hold wildcards."""

    path: str
    url: str | None
    directory: bool

    @property
    def wildcards(self) -> bool:
        return _WILDCARDS.search(self.path) is not None

    def prefix(self, workdir: str) -> str | None:
        """What is taken off the matched paths of wildcards: without a URL their folders are kept."""
        if not self.wildcards:
            return None
        if self.url is None:
            return workdir if _beneath(self.path, workdir) else "/"
        return posixpath.dirname(_WILDCARDS.split(self.path, maxsplit=1)[0])

    def default_url(self, root: str, workdir: str) -> str:
        if self.wildcards:
            return root
        inner = posixpath.relpath(self.path, workdir if _beneath(self.path, workdir) else "/")
        return root if inner == "." else f"{root}/{inner}"


def parse_input(text: str, *, workdir: str, exists: Exists, is_folder: Exists) -> InputSpec:
    """`LOCAL`, `LOCAL:PATH`, `URL` or `URL:/PATH`. A URL that ends in `/` is a directory.

    Raises:
        InvalidTask: the source cannot be found or the path not be used.
    """
    if _URL.match(text):
        return _parse_url(text, workdir)
    source, target = text, ""
    if not exists(text) and ":" in text:
        source, _, target = text.rpartition(":")
    if not source or not exists(source):
        raise InvalidTask(
            f"input {text[:200]!r}: there is no such file or folder here; "
            "write a local path, or a URL that begins with ayni:// or https://"
        )
    path = _target(target, workdir, text, lambda: local_name(source))
    return InputSpec(source, path, is_folder(source))


def local_name(source: str) -> str:
    """The name that a local source has in the task: its relative path, or its last part."""
    path = posixpath.normpath(source)
    if not path.startswith("/") and path.split("/")[0] != "..":
        return path
    if (name := posixpath.basename(path)) in ("", ".."):
        raise InvalidTask(f"input {source!r} has no name of its own; write {source}:PATH")
    return name


def parse_output(text: str, *, workdir: str) -> OutputSpec:
    """`PATH`, relative to the work folder or absolute, or `PATH:URL`. A path that ends in `/` is a directory.

    Raises:
        InvalidTask: the path or the URL cannot be used.
    """
    path, *rest = _OUTPUT_URL.split(text, maxsplit=1)
    url = rest[0] if rest else None
    if not path or "\x00" in path:
        raise InvalidTask(f"output {text[:200]!r}: name a path, as in result/ or result/table.csv")
    if ".." in path.split("/"):
        raise InvalidTask(f"output {text[:200]!r}: the path must not hold '..'")
    if url and url.startswith(urls.SCHEME):
        _check_ayni(url, text)
    whole = absolute(path, workdir)
    return OutputSpec(whole, url, path.endswith("/") or whole == workdir)


def _parse_url(text: str, workdir: str) -> InputSpec:
    match = _URL_TARGET.fullmatch(text)
    url, target = (match["url"], match["path"]) if match else (text, "")
    if url.startswith(urls.SCHEME):
        _check_ayni(url, text)
    bare = re.split(r"[?#]", url, maxsplit=1)[0] if not url.startswith(urls.SCHEME) else url
    name = posixpath.basename(bare.rstrip("/").partition("://")[2])
    return InputSpec(url, _target(target, workdir, text, lambda: name), bare.endswith("/"))


def _target(target: str, workdir: str, text: str, name: Callable[[], str]) -> str:
    if ".." in target.split("/"):
        raise InvalidTask(f"input {text[:200]!r}: the path must not hold '..'")
    if not target or target.endswith("/"):
        target += name()
    return absolute(target, workdir)


def absolute(path: str, workdir: str) -> str:
    """The path within the task, beneath its work folder unless it is absolute already."""
    return "/" + posixpath.normpath(posixpath.join(workdir, path)).lstrip("/")


def _check_ayni(url: str, text: str) -> None:
    try:
        urls.parse(url)
    except urls.UrlError as error:
        raise InvalidTask(f"{text[:200]!r}: {error}") from error


def _beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
