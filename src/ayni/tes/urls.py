"""`ayni://` URLs: `ayni://PROJECT/path` for project files, `ayni://SITE/DATASET/path` for a site's data."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "ayni://"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_PATH = 1024


class UrlError(ValueError):
    """Not an `ayni://` URL that can be used; the message says what to write."""


@dataclass(frozen=True, slots=True)
class AyniUrl:
    """`owner` is a project or a site (they share one namespace); `path` is relative, may be empty."""

    owner: str
    path: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.owner}/{self.path}"

    @property
    def dataset(self) -> str:
        """The first part of the path: the dataset's name, where `owner` is a site."""
        return self.path.partition("/")[0]

    @property
    def inner(self) -> str:
        """The path within the dataset."""
        return self.path.partition("/")[2]


def valid_name(name: str) -> bool:
    """Whether this may name a project, a site or a dataset."""
    return _NAME.fullmatch(name) is not None


def clean_path(path: str) -> str:
    """A relative path without `.`, `..`, empty parts or control characters; a trailing `/` goes.

    Raises:
        UrlError: the path leaves its root or holds what no path should.
    """
    if _CONTROL.search(path) or "\\" in path:
        raise UrlError("the path holds a control character or a backslash; remove it")
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise UrlError("the path is not valid Unicode") from error
    if size > MAX_PATH:
        raise UrlError(f"the path is longer than {MAX_PATH} bytes")
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise UrlError("the path must not hold '.' or '..' as a part")
    return "/".join(parts)


def parse(url: str) -> AyniUrl:
    """The parts of an `ayni://` URL.

    Raises:
        UrlError: another scheme, a bad owner, a bad path.
    """
    if not url.startswith(SCHEME):
        raise UrlError(f"{url[:80]!r} does not begin with {SCHEME}")
    owner, _, path = url.removeprefix(SCHEME).partition("/")
    if not valid_name(owner):
        raise UrlError(f"{owner[:80]!r} names no project or site: small letters, digits and '-'")
    return AyniUrl(owner, clean_path(path))
