"""One attempt's folder being filled: its inputs, and the folders that its outputs go to.

Small files are put into the folder. Large project files come as read-only mounts of the site's
cache, and datasets as read-only mounts of where they lie: what many tasks read is there once, and no
task can change it.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ayni.agent.channels.spool import TOP as CHANNELS
from ayni.agent.datasets import DatasetError, Datasets
from ayni.agent.executors.base import Bind
from ayni.agent.staging import places
from ayni.agent.staging.beneath import Root
from ayni.agent.staging.cache import Cache
from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.https import Web
from ayni.agent.staging.hub import HubFiles, Question
from ayni.agent.staging.outputs import below
from ayni.agent.staging.wildcards import has_wildcards
from ayni.protocol.messages import Assignment
from ayni.tes.urls import SCHEME, AyniUrl, UrlError, clean_path, parse
from ayni.transfer import Manifest, TransferError

CODE = "input"
_MAX_BINDS = 256  # of project files; more are copied

#: What the hub said of a task's URLs; see `listing_key`.
Listing = dict[str, list[Manifest] | StagingError]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided; sizes in bytes.

    Attributes:
        site: this site's name in the network.
        sandboxed: whether jobs are kept from the host's files. Without, whatever a job could write
            to is a copy of its own.
        reserved: places in a job's root that this site uses itself (an image's prefixes).
        copy_up_to: files up to this size are copied, since a mount costs more.
        max_https: of one file that is fetched by https.
        disk: of inputs, and again of outputs, of a task that does not ask for more.
        transfers: attempts, and files of theirs, that are moved at once.
    """

    site: str
    sandboxed: bool = True
    reserved: tuple[str, ...] = ()
    copy_up_to: int = 4 << 20
    max_https: int = 100 << 30
    disk: int = 100 << 30
    transfers: int = 8


@dataclass(frozen=True, slots=True)
class Tools:
    """What every filling uses."""

    settings: Settings
    datasets: Datasets
    hub: HubFiles
    cache: Cache
    web: Web
    pool: ThreadPoolExecutor  # for files; nothing that runs there may wait for it


@dataclass(slots=True)
class Filling:
    """An attempt on its way. `size` counts bytes of inputs, `binds` what is mounted."""

    tools: Tools
    assignment: Assignment
    folder: Path
    root: Root
    found: Listing
    stop: threading.Event | None
    binds: list[Bind] = field(default_factory=list)
    size: int = 0
    _taken: int = 0

    # --- what a task may name ---

    def put_input(self, entry: Mapping[str, Any]) -> None:
        """Bring one `tesInput`.

        Raises:
            StagingError, TransferError, Stopped, OSError: it is not there.
        """
        path = places.check(entry["path"], self._reserved)
        self._not_in_a_mount(path)
        content, url = entry.get("content"), entry.get("url") or ""
        kind = entry.get("type") or "FILE"
        if content is not None:
            self._put_content(path, content)
        elif url.startswith(SCHEME):
            self._put_ayni(path, url, kind)
        elif url.startswith(("https://", "http://")):
            self._put_https(path, url, kind)
        else:
            scheme = url.partition("://")[0][:20]
            raise StagingError(
                CODE,
                f"url: no site reads {scheme!r} URLs; use https (a presigned URL, say) or ayni://",
            )

    def make_way(self, entry: Mapping[str, Any]) -> None:
        """Make the folder that a `tesOutput` is to be found in, or is.

        Raises:
            StagingError, OSError: it cannot be there.
        """
        path = places.check(entry["path"], self._reserved)
        self._check_target(entry["url"], path, entry.get("type") or "FILE")
        if has_wildcards(path):
            fixed = path[: next(i for i, c in enumerate(path) if c in "*?[\\")]
            self._make_folder(fixed.rpartition("/")[0])
        elif (entry.get("type") or "FILE") == "DIRECTORY":
            self._make_folder(path)
        else:
            self._not_in_a_mount(path)
            self._make_folder(path.rpartition("/")[0])

    def _check_target(self, url: str, path: str, kind: str) -> None:
        """Better to know now than after hours of work that an output cannot go where it should."""
        if url.startswith(SCHEME):
            if not url.startswith(f"{SCHEME}{self.assignment.who.project}/"):
                raise StagingError(CODE, f"url: {url[:200]} is not of the task's own project")
        elif url.startswith(("https://", "http://")):
            self.tools.web.check(url)
            if kind == "DIRECTORY" or has_wildcards(path):
                below(url, "x")
        else:
            scheme = url.partition("://")[0][:20]
            raise StagingError(
                CODE,
                f"url: no site writes to {scheme!r} URLs; use ayni:// or a presigned https URL",
            )

    def make_volume(self, path: str) -> None:
        """Make a folder that the commands share (TES `volumes`), unless a site volume is there."""
        path = places.check(path, self._reserved)
        if not any(bind.writable and places.within(path, bind.target) for bind in self.binds):
            self._make_folder(path)

    def mount(self, bind: Bind) -> None:
        """Mount a site volume; before all else, so that nothing is put in its place.

        Raises:
            StagingError, OSError: it cannot be there.
        """
        places.check(bind.target, self._reserved)
        self._not_in_a_mount(bind.target)
        self._make_folder(bind.target.rpartition("/")[0])
        self.binds.append(bind)

    @property
    def _reserved(self) -> tuple[str, ...]:
        reserved = self.tools.settings.reserved
        return (*reserved, CHANNELS) if self.assignment.channels else reserved

    # --- kinds of inputs ---

    def _put_content(self, path: str, content: str) -> None:
        try:
            data = content.encode()
        except UnicodeEncodeError as error:
            raise StagingError(CODE, "content: is no valid Unicode") from error
        self._count(len(data))
        with os.fdopen(self._create(path), "wb") as file:
            file.write(data)

    def _put_https(self, path: str, url: str, kind: str) -> None:
        if kind != "FILE":
            raise StagingError(
                CODE, "type: https knows no directories; name each file, or an archive of them"
            )
        limit = min(self.tools.settings.max_https, self._room - self.size)
        stop = self.stop.is_set if self.stop else _never
        with os.fdopen(self._create(path), "wb") as file:
            self._count(self.tools.web.get(url, file, limit=limit, stop=stop))

    def _put_ayni(self, path: str, url: str, kind: str) -> None:
        try:
            parsed = parse(url)
        except UrlError as error:
            raise StagingError(CODE, f"url: {error}") from error
        if parsed.owner == self.tools.settings.site:
            self._put_dataset(path, parsed, kind)
        elif parsed.owner == self.assignment.who.project:
            self._put_project(path, url, kind)
        else:
            raise StagingError(
                CODE, f"url: {url[:200]} is neither of the task's own project nor of this site"
            )

    def _put_dataset(self, path: str, url: AyniUrl, kind: str) -> None:
        if url.dataset not in {use.name for use in self.assignment.datasets}:
            raise StagingError(CODE, f"url: the hub did not say that the task may read {url}")
        try:
            source = self.tools.datasets.find(url.dataset, url.inner)
        except DatasetError as error:
            raise StagingError(CODE, f"url: {error}") from error
        if source.is_dir() is (kind == "FILE"):
            right = "DIRECTORY" if kind == "FILE" else "FILE"
            raise StagingError(CODE, f"type: {url} is no {kind}; set it to {right}")
        self._bind(source, path)

    def _put_project(self, path: str, url: str, kind: str) -> None:
        files = self.found.get(listing_key(url, kind))
        if files is None:
            raise StagingError("hub", f"the hub said nothing of {url[:200]}", retryable=True)
        if isinstance(files, StagingError):
            raise files
        if not files or (kind == "FILE" and (len(files) > 1 or files[0].path)):
            raise StagingError(CODE, f"url: {url[:200]} is no {kind} of the project")
        targets = [_target(path, manifest) for manifest in files]
        self._count(sum(manifest.size for manifest in files))
        if kind == "DIRECTORY":
            self._make_folder(path)
        aside = self.folder / "inputs"
        aside.mkdir(exist_ok=True)
        first = self._taken
        self._taken += len(files)
        kept = [aside / str(first + index) for index in range(len(files))]

        def take(index: int) -> None:
            manifest = files[index]
            self.tools.cache.take(
                self.assignment.who.project,
                manifest,
                kept[index],
                refresh=lambda: self._again(url, kind, manifest),
                stop=self.stop,
            )

        _each(self.tools.pool, take, range(len(files)))
        for manifest, source, target in zip(files, kept, targets, strict=True):
            self._place(source, manifest.size, target)

    def _again(self, url: str, kind: str, manifest: Manifest) -> Manifest:
        """The same file with fresh signed URLs."""
        [files] = self.tools.hub.inputs([Question(self.assignment.attempt, url, kind)])
        if isinstance(files, StagingError):
            raise TransferError(files.message, code=files.code, retryable=files.retryable)
        for fresh in files:
            if fresh.path == manifest.path:
                return fresh
        raise TransferError(f"{url[:200]} was removed meanwhile", code="changed")

    def _place(self, kept: Path, size: int, target: str) -> None:
        """Give the job a file of the cache: mounted, or a copy."""
        settings = self.tools.settings
        worth = size > settings.copy_up_to and len(self.binds) < _MAX_BINDS
        if settings.sandboxed and worth:
            self._bind(kept, target)
            return
        with kept.open("rb") as source, os.fdopen(self._create(target), "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        kept.unlink()

    # --- places ---

    def _bind(self, source: Path, target: str) -> None:
        """Mount something read-only. The place itself is the executor's to make."""
        self._not_in_a_mount(target)
        try:
            self.root.stat(target)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _conflict(target, error) from error
        else:
            raise StagingError(places.CODE, f"{target!r}: another input is there already")
        self._make_folder(target.rpartition("/")[0])
        self.binds.append(Bind(source, target))

    def _create(self, path: str) -> int:
        self._not_in_a_mount(path)
        try:
            return self.root.create(path)
        except OSError as error:
            raise _conflict(path, error) from error

    def _make_folder(self, path: str) -> None:
        self._not_in_a_mount(path)
        try:
            self.root.make_folders(path)
        except OSError as error:
            raise _conflict(path, error) from error

    def _not_in_a_mount(self, path: str) -> None:
        """What is put under a mount would not be seen, and what is to be written there cannot be."""
        for bind in self.binds:
            if places.within(path, bind.target):
                what = "volume" if bind.writable else "input"
                why = "stays here" if bind.writable else "is read-only"
                raise StagingError(
                    places.CODE, f"{path!r} lies in the {what} {bind.target!r}, which {why}"
                )

    # --- room ---

    @property
    def _room(self) -> int:
        return max(int(self.assignment.shape.get("disk") or 0), self.tools.settings.disk)

    def _count(self, size: int) -> None:
        if self.size + size > self._room:
            raise StagingError(
                "disk",
                f"the inputs are larger than the {self._room} bytes that the task has; "
                "ask for more in resources.disk_gb",
            )
        self.size += size


def listing_key(url: str, kind: str) -> str:
    return f"{kind} {url}"


def disk_error(error: OSError) -> StagingError:
    """The disk's refusal, without the host's paths."""
    return StagingError(
        "disk", f"the site's disk refused: {error.strerror or error}", retryable=True
    )


def _never() -> bool:
    return False


def _target(path: str, manifest: Manifest) -> str:
    try:
        inner = clean_path(manifest.path)
    except UrlError as error:
        raise StagingError(CODE, f"url: holds {manifest.path[:80]!r}: {error}") from error
    return places.normal(f"{path}/{inner}") if inner else path


def _conflict(path: str, error: OSError) -> StagingError:
    """An error in making a path: the task's own contradiction, or the disk."""
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
        return StagingError(
            places.CODE, f"{path!r}: another input or output is there, or a file is on the way"
        )
    return disk_error(error)


def _each(pool: ThreadPoolExecutor, action: Callable[[int], None], indices: Sequence[int]) -> None:
    """Do it for all, several at a time; after the first failure begin no more."""
    jobs = [pool.submit(action, index) for index in indices]
    try:
        for job in jobs:
            job.result()
    finally:
        for job in jobs:
            job.cancel()
