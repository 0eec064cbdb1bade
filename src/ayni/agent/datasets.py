"""The site's own store: datasets whose bytes stay here, and the cards by which the network knows them.

    STORE/NAME.toml   version, licence, residency, release …; `path` where the files lie elsewhere
    STORE/NAME/       the files, unless `path` says where
    STORE/.manifests/NAME.json   every file's hash, kept so that only what changed is read again

The hub sees the cards (`DatasetStatus`) and never a byte or a file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ayni.agent.units import Size
from ayni.errors import UserError
from ayni.protocol.messages import DatasetStatus
from ayni.tes.urls import UrlError, clean_path, valid_name

MAX_FILES = 1_000_000
_MANIFESTS = ".manifests"
_LONG = 1.0  # seconds: a look that takes longer
_SHARE = 100.0  # … is taken at most for one part in so many of the time

Line = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]

Pattern = Annotated[str, StringConstraints(max_length=140, pattern=r"^[a-z0-9*?-]+/[a-z0-9*?-]+$")]


class Card(BaseModel):
    """What a NAME.toml holds. Unknown keys are refused: a misspelt rule must not be no rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[Line, Field(min_length=1, max_length=40)]
    licence: Annotated[Line, Field(min_length=1, max_length=100)]
    title: Line = ""
    residency: Literal["site", "member", "any"] = "site"
    release: Literal["nothing", "aggregate", "anything"] = "nothing"
    release_limit: Annotated[Size, Field(ge=0)] = 0  # bytes a task, for aggregates
    # PROJECT/CHANNEL or patterns: what tasks say by these alone may leave, within the channel's schema …
    channels: Annotated[list[Pattern], Field(max_length=100)] = []
    channel_limit: Annotated[Size, Field(ge=0)] = 0  # … and so many bytes a task
    # Whether tasks over several nodes have the network between these: say so only where nodes reach
    # nothing outside the cluster.
    inner_network: bool = False
    path: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Card:
        if self.release == "aggregate" and not self.release_limit:
            raise ValueError('release = "aggregate" needs release_limit, as in "256KiB"')
        if bool(self.channels) != bool(self.channel_limit):
            raise ValueError('channels and channel_limit go together, as in "64KiB"')
        if self.channels and self.release == "anything":
            raise ValueError(
                "channels: where anything may leave they bound nothing; leave them out"
            )
        if self.path is not None and not self.path.is_absolute():
            raise ValueError("path must be absolute")
        return self

    def to_toml(self) -> str:
        values = self.model_dump(mode="json", exclude_none=True)
        # A JSON string or number is a TOML one too, DEL apart, which a Line does not hold.
        lines = (
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()
        )
        return "\n".join(lines) + "\n"


class Entry(NamedTuple):
    """One file of a manifest; `mtime_ns` only serves to see that it has not changed."""

    path: str
    size: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as last scanned."""

    name: str
    card: Card
    folder: Path
    size: int
    files: int
    sha256: str

    @property
    def status(self) -> DatasetStatus:
        return DatasetStatus(
            name=self.name,
            version=self.card.version,
            title=self.card.title,
            licence=self.card.licence,
            size=self.size,
            files=self.files,
            sha256=self.sha256,
            residency=self.card.residency,
            release=self.card.release,
            release_limit=self.card.release_limit,
            channels=self.card.channels,
            channel_limit=self.card.channel_limit,
            inner_network=self.card.inner_network,
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """When a dataset was looked at, how many seconds it took, and how its own files then were."""

    at: float
    cost: float
    stamps: tuple[int, ...]


class DatasetError(UserError):
    """A dataset that cannot be offered; the message says why and what to do."""


@dataclass(slots=True)
class Datasets:
    """The store's folder and what it holds. `scan` reads the disk; the rest answers from memory."""

    folder: Path
    problems: dict[str, str] = field(default_factory=dict)  # name → why it is not offered
    _known: dict[str, Dataset] = field(default_factory=dict)
    _looks: dict[str, _Look] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def scan(self, progress: Callable[[str, int], None] | None = None) -> list[Dataset]:
        """Look at every dataset; files that changed since the last look are hashed again.

        One that is not in order is not offered, and `problems` says why. Cheap enough to be called
        every few seconds: a dataset of so many files that looking takes long is looked at rarely,
        unless its card or its manifest changed.
        """
        known: dict[str, Dataset] = {}
        problems: dict[str, str] = {}
        for description in sorted(self.folder.glob("*.toml")):
            name = description.stem
            try:
                known[name] = self._recent(name) or self._read(name, progress)
            except DatasetError as error:
                problems[name] = str(error)
        with self._lock:
            self._known, self.problems = known, problems
        return list(known.values())

    def cards(self) -> list[DatasetStatus]:
        """What the network is told, as of the last scan."""
        return [dataset.status for dataset in self._known.values()]

    def get(self, name: str) -> Dataset | None:
        return self._known.get(name)

    def add(
        self,
        path: Path,
        name: str,
        card: Card,
        progress: Callable[[str, int], None] | None = None,
    ) -> Dataset:
        """Offer a folder where it lies, or describe anew one that is offered already.

        Raises:
            DatasetError: a bad name, no such folder, or something in it that cannot be offered.
        """
        if not valid_name(name):
            raise DatasetError(f"name: {name!r} must be small letters, digits and '-'")
        path = path.absolute()
        if not path.is_dir():
            raise DatasetError(f"path: {path} is no folder")
        if self.folder.absolute().is_relative_to(path.resolve()):
            raise DatasetError(f"path: {path} holds the store itself; name a folder of its own")
        inside = path == (self.folder / name).absolute()
        card = card.model_copy(update={"path": None if inside else path})
        if not inside and (self.folder / name).exists():
            raise DatasetError(f"name: {self.folder / name} is there already; take another name")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        description = self.folder / f"{name}.toml"
        before = description.read_text() if description.exists() else None
        _write(description, card.to_toml())
        try:
            dataset = self._read(name, progress)
        except DatasetError:
            _restore(description, before)
            raise
        with self._lock:
            self._known[name] = dataset
        return dataset

    def remove(self, name: str) -> Path:
        """Offer a dataset no more. Its files stay where they are; they are returned.

        Raises:
            DatasetError: there is none of that name.
        """
        description = self.folder / f"{name}.toml"
        if not valid_name(name) or not description.exists():
            raise DatasetError(f"no dataset {name!r} here; see 'ayni site dataset ls'")
        folder = self.folder / name
        try:
            folder = self._card(name).path or folder
        finally:
            description.unlink()
            (self.folder / _MANIFESTS / f"{name}.json").unlink(missing_ok=True)
            self._known.pop(name, None)
        return folder

    def find(self, name: str, inner: str) -> Path:
        """Where `inner` (a clean relative path, may be empty) of a dataset lies on this machine.

        Raises:
            DatasetError: no such dataset or path here, or a link that leaves the dataset.
        """
        dataset = self._known.get(name)
        if dataset is None:
            raise DatasetError(f"this site has no dataset {name}")
        top = dataset.folder.resolve()
        try:
            place = (top / clean_path(inner)).resolve(strict=True)
        except (UrlError, OSError, RuntimeError) as error:
            raise DatasetError(f"dataset {name} has no {inner[:200]!r}") from error
        if not place.is_relative_to(top):
            raise DatasetError(f"dataset {name} has no {inner[:200]!r}")
        return place

    def manifest(self, name: str) -> list[Entry]:
        """Every file of a dataset, as last scanned."""
        return list(self._load_manifest(name).values())

    def _card(self, name: str) -> Card:
        path = self.folder / f"{name}.toml"
        try:
            return Card.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".lstrip(": ")
                for fault in error.errors()
            )
            raise DatasetError(f"{path}: {faults}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error

    def _recent(self, name: str) -> Dataset | None:
        """What the last look found, if it was long and not long ago."""
        look, known = self._looks.get(name), self._known.get(name)
        if look is None or known is None or look.cost < _LONG:
            return None
        fresh = time.monotonic() - look.at < _SHARE * look.cost
        return known if fresh and look.stamps == self._stamps(name) else None

    def _stamps(self, name: str) -> tuple[int, ...]:
        files = (self.folder / f"{name}.toml", self.folder / _MANIFESTS / f"{name}.json")
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)

    def _read(self, name: str, progress: Callable[[str, int], None] | None) -> Dataset:
        if not valid_name(name):
            raise DatasetError(f"{name}.toml: the name must be small letters, digits and '-'")
        began = time.monotonic()
        card = self._card(name)
        folder = card.path or self.folder / name
        before = self._load_manifest(name)
        entries = []
        try:
            for path, found in _files(folder):
                entry = before.get(path)
                if entry is None or (entry.size, entry.mtime_ns) != (
                    found.st_size,
                    found.st_mtime_ns,
                ):
                    entry = Entry(path, found.st_size, _hash(folder / path), found.st_mtime_ns)
                if progress is not None:
                    progress(path, found.st_size)
                entries.append(entry)
        except OSError as error:
            raise DatasetError(f"{error.filename or folder}: {error.strerror}") from error
        if not entries:
            raise DatasetError(f"{folder} holds no files")
        if entries != list(before.values()):
            self._save_manifest(name, entries)
        now = time.monotonic()
        self._looks[name] = _Look(now, now - began, self._stamps(name))
        return Dataset(
            name, card, folder, sum(e.size for e in entries), len(entries), _digest(entries)
        )

    def _load_manifest(self, name: str) -> dict[str, Entry]:
        try:
            rows = json.loads((self.folder / _MANIFESTS / f"{name}.json").read_bytes())
            return {row[0]: Entry(*row) for row in rows}
        except (OSError, ValueError, TypeError, IndexError):  # none yet, or spoilt: made anew
            return {}

    def _save_manifest(self, name: str, entries: list[Entry]) -> None:
        path = self.folder / _MANIFESTS / f"{name}.json"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _write(path, json.dumps(entries, separators=(",", ":")))


def _digest(entries: list[Entry]) -> str:
    """The SHA-256 of the manifest: of `sha256␣␣path` lines, as sha256sum prints them, by path."""
    lines = (f"{e.sha256}  {e.path}\n" for e in sorted(entries))
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def _files(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a dataset by path; links inside it count as what they point at.

    Raises:
        DatasetError: a link that leaves the dataset, a special file, a name that no URL can hold,
            or too many files.
    """
    real = top.resolve()
    count = 0
    for folder, folders, files in os.walk(top, onerror=_raise):
        folders.sort()
        for name in sorted((*files, *(n for n in folders if Path(folder, n).is_symlink()))):
            place = Path(folder, name)
            relative = _clean(top, place)
            found = place.lstat()
            if stat.S_ISLNK(found.st_mode):
                _check_link(real, place)
                found = place.stat()
                if stat.S_ISDIR(found.st_mode):
                    continue  # its files are counted where they lie
            if not stat.S_ISREG(found.st_mode):
                raise DatasetError(f"{place} is neither a file nor a folder; take it out")
            count += 1
            if count > MAX_FILES:
                raise DatasetError(f"{top} holds more than {MAX_FILES} files; pack them")
            yield relative, found


def _raise(error: OSError) -> None:
    raise error


def _clean(top: Path, place: Path) -> str:
    relative = place.relative_to(top).as_posix()
    try:
        if clean_path(relative) == relative:
            return relative
        problem = "no URL can name it"
    except UrlError as error:
        problem = str(error)
    raise DatasetError(f"{str(place)!r}: {problem}; rename it")


def _check_link(real: Path, place: Path) -> None:
    try:
        inside = place.resolve(strict=True).is_relative_to(real)
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"{place} is a link to nowhere; take it out") from error
    if not inside or place.readlink().is_absolute():
        raise DatasetError(
            f"{place} is a link out of the dataset; put what it points at in its place"
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a small file that is either there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _restore(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, text)
