"""After the job: which files are its outputs, by TES 1.1's rules.

* FILE: a regular file, or a link to one within the root. Missing, it is a broken promise of the
  commands: EXECUTOR_ERROR, since the standard does not say and another try would end alike.
* DIRECTORY: every file below it. Links to files within the root count as those files, links to
  folders are passed over (they may go in circles).
* Wildcards (POSIX 2.13): with FILE they match files, with DIRECTORY folders. No match is no error:
  a line in the system log says so.

Passed over with a line: links that leave the root, FIFOs, sockets, devices, and what was an input
and is still mounted. A name that no URL can hold is an error: passing over it would lose a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from ayni.agent.staging import places
from ayni.agent.staging.beneath import Root, kind, walk
from ayni.agent.staging.errors import StagingError, broken_promise
from ayni.agent.staging.wildcards import has_wildcards, matches
from ayni.protocol.messages import MAX_NAMES
from ayni.tes.urls import MAX_PATH, SCHEME, UrlError, clean_path

CODE = "output"
MAX_FILES = 20_000  # of one attempt
MAX_SEEN = 200_000  # entries looked at for one attempt
_MAX_LINES = 50


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is an output.

    Attributes:
        path: as the job names it.
        place: the same file by a path without links.
        url: where it goes.
    """

    path: str
    place: str
    url: str
    size: int


@dataclass(slots=True)
class Search:
    """One attempt's outputs being looked for.

    Attributes:
        mounts: targets of the attempt's binds; what is there is an input.
        room: bytes that all outputs together may have, holes in sparse files counted.
        names: whether lines and errors may hold names that the job chose.
        lines: for the system log.
    """

    root: Root
    mounts: Sequence[str] = ()
    room: int = 1 << 62
    names: bool = True
    lines: list[str] = field(default_factory=list)
    _found: dict[str, Found] = field(default_factory=dict)  # by URL
    _seen: int = 0
    _names: int = 0  # bytes of what was found is called
    _left_out: int = 0

    def find(self, outputs: Sequence[Mapping[str, Any]]) -> list[Found]:
        """All files of all `tesOutput`s.

        Raises:
            StagingError: one is missing, is of another kind, cannot be named or is too much.
        """
        for index, output in enumerate(outputs):
            try:
                self._output(output)
            except StagingError as error:
                raise error.about(f"outputs[{index}]") from error
            except OSError as error:
                raise self._unreadable(error).about(f"outputs[{index}]") from error
        if self._left_out:
            self.lines.append(f"… and {self._left_out} lines more of this kind")
        return list(self._found.values())

    def _output(self, output: Mapping[str, Any]) -> None:
        path, url = places.normal(output["path"]), output["url"]
        directory = (output.get("type") or "FILE") == "DIRECTORY"
        if not has_wildcards(path):
            if directory:
                self._directory(path, url)
            else:
                self._file(path, url)
            return
        count = 0
        for place in sorted(self._matching(path)):
            count += 1
            self._matched(place, url, output.get("path_prefix") or "", directory)
        if not count:
            self._say(f"nothing matches the output {path[:200]!r}", own=False)

    def _file(self, path: str, url: str) -> None:
        try:
            place = self.root.resolve(path)
            found = self.root.stat(place)
        except OSError as error:
            raise self._missing(path, error) from error
        if self._mounted(place) or stat.S_ISDIR(found.st_mode):
            what = "an input" if self._mounted(place) else "a folder: set its type to DIRECTORY"
            raise broken_promise(CODE, f"{path!r} is {what}")
        if not stat.S_ISREG(found.st_mode):
            raise broken_promise(CODE, f"{path!r} is {kind(found.st_mode)}, not a file")
        self._keep(path, place, url, found.st_size)

    def _directory(self, path: str, url: str) -> None:
        try:
            place = self.root.resolve(path)
            found = self.root.stat(place)
        except OSError as error:
            raise self._missing(path, error) from error
        if self._mounted(place) or not stat.S_ISDIR(found.st_mode):
            what = "an input" if self._mounted(place) else kind(found.st_mode)
            raise broken_promise(CODE, f"{path!r} is {what}, not a folder of outputs")
        for inner, status in walk(self.root, place):
            self._count()
            if not stat.S_ISDIR(status.st_mode):
                self._member(f"{path}/{inner}", f"{place}/{inner}", below(url, inner), status)

    def _member(self, path: str, place: str, url: str, found: os.stat_result) -> None:
        """A file in a directory, or one that a wildcard matched: kept, or passed over with a line."""
        if self._mounted(place):
            return
        if stat.S_ISLNK(found.st_mode):
            try:
                place = self.root.resolve(place)
                found = self.root.stat(place)
            except OSError:
                self._say(f"{path!r} is a link that leads out of the task's files", own=True)
                return
            if self._mounted(place) or not stat.S_ISREG(found.st_mode):
                what = "an input" if self._mounted(place) else kind(found.st_mode)
                self._say(f"{path!r} is a link to {what}", own=True)
                return
        if not stat.S_ISREG(found.st_mode):
            self._say(f"{path!r} is {kind(found.st_mode)}", own=True)
            return
        self._keep(path, place, url, found.st_size)

    # --- wildcards ---

    def _matching(self, pattern: str) -> Iterator[str]:
        """The paths that fit, part by part; only folders that fit so far are looked into."""
        fitting = [""]
        names = pattern.strip("/").split("/")
        for number, name in enumerate(names):
            last = number == len(names) - 1
            fitting = [path for above in fitting for path in self._step(above, name, last)]
        yield from fitting

    def _step(self, above: str, pattern: str, last: bool) -> Iterator[str]:
        if not has_wildcards(pattern) and "\\" not in pattern:
            yield f"{above}/{pattern}"
            return
        try:
            fd = self.root.open(self.root.resolve(above or "/"))
        except OSError:
            return  # not there, or no folder that can be read: nothing in it matches
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                return
            with os.scandir(fd) as entries:
                for entry in entries:
                    self._count()
                    if matches(pattern, entry.name) and (
                        last or not entry.is_file(follow_symlinks=False)
                    ):
                        yield f"{above}/{entry.name}"
        finally:
            os.close(fd)

    def _matched(self, path: str, url: str, prefix: str, directory: bool) -> None:
        try:
            place = self.root.resolve(path)
            found = self.root.stat(place)
        except OSError:
            # A pattern may end in a fixed part (`/*/a`), which is not in every folder.
            if self._is_link(path):
                self._say(f"{path!r} is a link that leads out of the task's files", own=True)
            return
        if stat.S_ISDIR(found.st_mode) is not directory or self._mounted(place):
            return
        target = below(url, path.removeprefix(prefix).lstrip("/"))
        if directory:
            self._directory(path, target)
        else:
            self._member(path, place, target, found)

    def _is_link(self, path: str) -> bool:
        try:
            return stat.S_ISLNK(self.root.stat(path).st_mode)
        except OSError:
            return False

    # --- bounds and words ---

    def _keep(self, path: str, place: str, url: str, size: int) -> None:
        url = self._clean(path, url)
        if (other := self._found.get(url)) is not None:
            if other.place != place:
                raise broken_promise(CODE, f"two files would be written to {self._name(url)}")
            return
        self.room -= size
        if self.room < 0:
            raise broken_promise(
                "disk",
                "the outputs are larger than the task has room for; write less, "
                "or ask for more in resources.disk_gb",
            )
        if len(self._found) >= MAX_FILES:
            raise broken_promise(
                CODE, f"there are more than {MAX_FILES} output files; pack them into archives"
            )
        self._names += len(path.encode()) + len(url.encode())
        if self._names > MAX_NAMES:
            raise broken_promise(
                CODE,
                f"the names of the output files take more than {MAX_NAMES >> 20} MiB together; "
                "pack them into archives",
            )
        self._found[url] = Found(path, place, url, size)

    def _clean(self, path: str, url: str) -> str:
        """The URL of a file, its path part normal. What no URL can hold is refused, not lost."""
        scheme, _, rest = url.partition("://")
        try:
            path.encode()
            if scheme == "ayni":
                return f"{scheme}://{clean_path(rest)}"
        except UnicodeEncodeError:
            why = "is no UTF-8"
        except UrlError as error:
            why = str(error)
        else:
            if not any(ord(c) < 32 or ord(c) == 127 for c in path) and len(path) <= 4 * MAX_PATH:
                return url
            why = "holds a control character"
        raise broken_promise(CODE, f"{self._name(ascii(path))} cannot be kept: its name {why}")

    def _missing(self, path: str, error: OSError) -> StagingError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return broken_promise(CODE, f"the commands did not make {path!r}")
        return self._unreadable(error)

    def _unreadable(self, error: OSError) -> StagingError:
        where = self._name(ascii(error.filename)) if error.filename else "something in it"
        return broken_promise(CODE, f"{where} cannot be read: {error.strerror or error}")

    def _mounted(self, path: str) -> bool:
        return any(places.within(path, mount) for mount in self.mounts)

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MAX_SEEN:
            raise broken_promise(
                CODE, f"more than {MAX_SEEN} files were looked at; name the outputs more closely"
            )

    def _name(self, text: str) -> str:
        return text[:200] if self.names else "a file"

    def _say(self, line: str, *, own: bool) -> None:
        """Note a line; with names of the job's `own` choosing only where they may leave."""
        if own and not self.names:
            line = "not every file could be kept"
            if line in self.lines:  # how many it were may not leave either
                return
        if len(self.lines) < _MAX_LINES:
            self.lines.append(line.encode("utf-8", "replace").decode())
        else:
            self._left_out += 1


def below(url: str, inner: str) -> str:
    """The URL of what lies at `inner` beneath `url`.

    Raises:
        StagingError: the URL has a query, as presigned ones do, which holds for one file only.
    """
    if url.startswith(SCHEME):
        return f"{url.rstrip('/')}/{inner}"
    if "?" in url or "#" in url:
        raise StagingError(
            CODE, "url: a presigned URL is for one file; name each file, or make an archive"
        )
    return f"{url.rstrip('/')}/{quote(os.fsencode(inner))}"


def open_again(root: Path, place: str) -> BinaryIO:
    """Open a file that was found, as safely as it was found; for `ayni.transfer`."""
    with Root(root) as beneath:
        return os.fdopen(beneath.open(place), "rb")
