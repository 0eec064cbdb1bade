"""The rounds whose weights can still be made, and making them. NumPy only.

The coordinator's folder holds the versions that a run may go back to. The channel to the sites holds
what the coordinator left there of all that was announced. Either names a snapshot and the updates
after it; what comes out must have the digest that the sites compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

from ayni.client.channels import ChannelMessage
from ayni.errors import UserError
from ayni.lm import wire
from ayni.lm.outer import blocks
from ayni.lm.outer.blocks import BlocksError
from ayni.lm.outer.codec import CodecError
from ayni.lm.outer.files import FolderStore, FolderWriter
from ayni.lm.outer.fragments import WHOLE, split
from ayni.lm.outer.journal import Kept
from ayni.lm.outer.lineage import line, path
from ayni.lm.outer.messages import Head, Link
from ayni.lm.outer.perform import BlobError, apply_update, raw_chunks
from ayni.lm.outer.state import Lane, State, VersionState
from ayni.lm.parameters import Named, Shapes, arrays, count

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """How a fragment's weights of a version are made: from a snapshot, by the links in order.

    `step`: the run's inner steps, where known; `state`: what became of the version, as far as known.
    """

    fragment: str
    count: int
    version: int
    digest: str
    step: int | None
    state: str
    snapshot: str
    links: tuple[Link, ...]


class Blobs(Protocol):
    """Where the blobs lie."""

    def open(self, ref: str, /) -> AbstractContextManager[BinaryIO]: ...


class Held(Protocol):
    """Rounds that are held somewhere. `where` says it to a person."""

    where: str
    blobs: Blobs

    @property
    def numbers(self) -> list[int]:
        """The versions, in order."""

    @property
    def latest(self) -> int | None:
        """The newest that is not provisional; None: there is none."""

    def ways(self, number: int) -> list[Way]:
        """How a version that is among `numbers` is made, fragment by fragment."""


class InFolder:
    """What a coordinator's folder holds; the coordinator may be at work meanwhile.

    Raises:
        UserError: there is no run in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.where = f"the folder {folder}"
        kept = Kept(folder)
        try:
            state = kept.state()
        finally:
            kept.close()
        if state is None:
            raise UserError(f"the run in {folder} has not begun: there is nothing to release")
        self.state: State = state
        self.blobs: Blobs = FolderStore(folder / "blobs")

    @property
    def numbers(self) -> list[int]:
        return _common([_reachable(lane) for lane in self.state.lanes.values()])

    @property
    def latest(self) -> int | None:
        settled = [
            {v.number for v in line(lane) if v.state is VersionState.COMMITTED}
            for lane in self.state.lanes.values()
        ]
        return max(set(self.numbers).intersection(*settled), default=None)

    def ways(self, number: int) -> list[Way]:
        return [_way(lane, number) for _, lane in sorted(self.state.lanes.items())]


def _reachable(lane: Lane) -> set[int]:
    found = set()
    for number in lane.versions:
        try:
            path(lane, number, lambda version: True)
        except LookupError:
            continue
        found.add(number)
    return found


def _way(lane: Lane, number: int) -> Way:
    anchor, after = path(lane, number, lambda version: True)
    assert anchor.params is not None
    links = tuple(Link(version=v.number, update=v.update, digest=v.digest) for v in after)
    version = lane.versions[number]
    return Way(
        fragment=lane.fragment,
        count=lane.count,
        version=number,
        digest=version.digest,
        step=version.step,
        state=str(version.state),
        snapshot=anchor.params,
        links=links,
    )


class Line(Protocol):
    """A channel from outside, as `ayni.client.channels.Channel` has it."""

    def messages(self, after: int = 0) -> Iterator[ChannelMessage]: ...

    def fetch(self, message: ChannelMessage, target: Path) -> Path: ...

    def held(self) -> Mapping[str, int]: ...


class OnChannel:
    """What a run's channel to its sites still holds. Blobs are brought to `scratch` when wanted."""

    def __init__(self, run: str, line: Line, scratch: Path) -> None:
        self.where = f"the channel {run}-down"
        self._line, self._scratch = line, FolderStore(scratch)
        self._messages: dict[str, ChannelMessage] = {}
        self._heads: list[Head] = []
        there = line.held()
        for message in line.messages():
            if message.kind == wire.BLOB and message.blob and message.blob.sha256 in there:
                self._messages[message.body["ref"]] = message
            elif message.kind == wire.HEAD:
                try:
                    self._heads.append(wire.heard_head(message.body, run=run))
                except ValueError as error:
                    log.warning("message %s of %s is no head: %s", message.sequence, run, error)
        self.blobs: Blobs = self

    @cached_property
    def _found(self) -> dict[str, dict[int, Way]]:
        """Each fragment's versions; a head of its own, which knows its step, goes before a chain's link."""
        found: dict[str, dict[int, Way]] = {}
        for head in self._heads:
            lane = found.setdefault(head.fragment, {})
            for way in _announced(head):
                whole = {way.snapshot, *(link.update for link in way.links)} - {None}
                known = lane.get(way.version)
                better = known is None or known.step is None or way.step is not None
                if better and whole <= set(self._messages):
                    lane[way.version] = way
        return found

    @property
    def numbers(self) -> list[int]:
        return _common([set(lane) for lane in self._found.values()])

    @property
    def latest(self) -> int | None:
        """The newest that the last head led to: what was rolled back is not among them."""
        last = {head.fragment: head for head in self._heads}.values()
        led = [{head.snapshot_version, *(link.version for link in head.chain)} for head in last]
        return max(set(self.numbers).intersection(*led), default=None)

    def ways(self, number: int) -> list[Way]:
        return [lane[number] for _, lane in sorted(self._found.items())]

    @contextmanager
    def open(self, ref: str) -> Iterator[BinaryIO]:
        if ref not in self._messages:
            raise BlobError(f"the channel holds no blob {ref}")
        target = self._scratch.path(ref)
        if not target.exists():
            self._line.fetch(self._messages[ref], target)
        with self._scratch.open(ref) as blob:
            yield blob


def _announced(head: Head) -> Iterator[Way]:
    digests = [(head.snapshot_version, head.snapshot_digest)]
    digests += [(link.version, link.digest) for link in head.chain]
    for place, (version, digest) in enumerate(digests):
        own = version == head.version
        yield Way(
            fragment=head.fragment,
            count=head.count,
            version=version,
            digest=digest,
            step=head.step if own else None,
            state="announced",
            snapshot=head.snapshot,
            links=head.chain[:place],
        )


def _common(lanes: Sequence[set[int]]) -> list[int]:
    return sorted(set.intersection(*lanes)) if lanes else []


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as a person reads them: `0, 3–9`."""
    found = sorted(numbers)
    if not found:
        return "none"
    breaks = [i for i, (a, b) in enumerate(pairwise(found), start=1) if b != a + 1]
    parts = [found[a:b] for a, b in pairwise([0, *breaks, len(found)])]
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


def chosen(held: Held, number: int | None) -> int:
    """The version that is asked for; by default the newest that is not provisional.

    Raises:
        UserError: it is not held; the message says which are.
    """
    if number is None:
        if held.latest is None:
            raise UserError(f"{held.where} holds no version that is settled: wait for the next")
        return held.latest
    if number not in held.numbers:
        raise UserError(
            f"round {number} is not held any more in {held.where}; there are {ranges(held.numbers)}"
        )
    return number


# --- making -----------------------------------------------------------------------------------


class _Layered:
    """Reads what is held, writes to a scratch folder: who holds it is not touched."""

    def __init__(self, below: Blobs, scratch: Path) -> None:
        self._below, self._scratch = below, FolderStore(scratch)

    @contextmanager
    def open(self, ref: str) -> Iterator[BinaryIO]:
        own = self._scratch.path(ref).exists()
        with (self._scratch if own else self._below).open(ref) as blob:
            yield blob

    @contextmanager
    def create(self) -> Iterator[FolderWriter]:
        with self._scratch.create() as out:
            yield out

    def drop(self, refs: Iterable[str]) -> None:
        self._scratch.drop(refs)


def weights(held: Held, number: int, shapes: Shapes, scratch: Path) -> Named:
    """The parameters of a version, each digest checked before the first of a fragment is given.

    Args:
        shapes: the model's.
        scratch: a folder of the caller's own; room for the weights twice.

    Raises:
        UserError: another model's, or a blob that is gone, damaged or not what was announced.
    """
    ways = held.ways(number)
    if (found := sum(way.count for way in ways)) != count(shapes):
        raise UserError(
            f"round {number} has {found} values, the model of the configuration {count(shapes)}: "
            "give the run's own configuration"
        )
    sizes = {name: count({name: shape}) for name, shape in shapes.items()}
    parts = split(sizes, len(ways))
    store = _Layered(held.blobs, scratch)
    for way in ways:
        names = parts.get(way.fragment) if len(ways) > 1 else parts[WHOLE]
        if names is None or sum(sizes[name] for name in names) != way.count:
            raise UserError(f"round {number}: the fragment {way.fragment} is of another model")
        try:
            ref = _made(way, store)
            with store.open(ref) as blob:
                yield from arrays(
                    raw_chunks(blob, way.count), {name: shapes[name] for name in names}
                )
        except (BlobError, CodecError, BlocksError) as error:
            raise UserError(
                f"round {number} cannot be made from {held.where}: {error}; try again, or name "
                "another round"
            ) from error
        store.drop([ref])


def _made(way: Way, store: _Layered) -> str:
    """The address of the weights of a version.

    Raises:
        BlobError: they are not those that were announced.
    """
    ref, digest = way.snapshot, None
    for link in way.links:
        if link.update is None:  # back to older weights, which these are
            continue
        before = ref
        ref, digest, _ = apply_update(store, before, link.update, way.count)
        store.drop([before])  # if it is ours
        if digest != link.digest:
            raise BlobError(f"version {link.version} comes out otherwise than at the sites")
    if digest is None:
        with store.open(ref) as blob:
            digest = blocks.digest(raw_chunks(blob, way.count))
    if digest != way.digest:
        raise BlobError(f"version {way.version} is not what its digest says")
    return ref
