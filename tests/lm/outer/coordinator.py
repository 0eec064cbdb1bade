"""A coordinator around the machine, with nothing but a journal and a folder; it can be killed anywhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ayni.lm.outer.blocks import chunks
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.machine import Origin, begin, outstanding, tick
from ayni.lm.outer.messages import Action, Event, Head
from ayni.lm.outer.perform import BlobError, perform, raw_bytes, store_vector
from ayni.lm.outer.state import Lane, Rules, State


class MemoryStore:
    """Blobs in a dictionary; survives its coordinator as a disk does."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    @contextmanager
    def open(self, ref: str) -> Iterator[io.BytesIO]:
        if ref not in self.blobs:
            raise BlobError(f"there is no blob {ref}")
        yield io.BytesIO(self.blobs[ref])

    @contextmanager
    def create(self) -> Iterator[MemoryWriter]:
        yield MemoryWriter(self)

    def put(self, data: bytes) -> str:
        ref = blake2b(data, digest_size=16).hexdigest()
        self.blobs[ref] = data
        return ref


class MemoryWriter:
    def __init__(self, store: MemoryStore) -> None:
        self.store, self.parts = store, []

    def write(self, data: bytes, /) -> None:
        self.parts.append(data)

    def keep(self) -> str:
        return self.store.put(b"".join(self.parts))


class Killed(Exception):
    pass


class Coordinator:
    """`at(point)` is called at every transition, and may raise Killed."""

    def __init__(
        self,
        folder: Path,
        store: MemoryStore,
        first: Callable[[], State] | None = None,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.journal, self.store, self.at = Journal(folder), store, at
        found = self.journal.state()
        if found is None:
            assert first is not None
            found = first()
            self.journal.commit(found, cursor={"trace": 0})
        self.state: State = found
        self.read = self.journal.cursor()["trace"]

    def hear(self, now: float, events: Sequence[Event] = (), read: int | None = None) -> None:
        turn = tick(self.state, now, events)
        self.at("before the commit")
        cursor = {"trace": self.read if read is None else read}
        self.journal.commit(turn.state, turn.records, cursor)
        self.at("after the commit")
        self.state, self.read = turn.state, cursor["trace"]

    def work(self) -> None:
        """Do what is outstanding, until nothing is but what sites must do."""
        while todo := [a for a in outstanding(self.state) if not isinstance(a, Head)]:
            answer = perform(todo[0], self.store)
            assert answer is not None
            self.at("before the answer")
            self.hear(self.state.now, [answer])

    def lane(self, fragment: str = "all") -> Lane:
        return self.state.lanes[fragment]

    def head(self, fragment: str = "all") -> Head:
        (found,) = (
            a for a in outstanding(self.state) if isinstance(a, Head) and a.fragment == fragment
        )
        return found

    def weights(self, fragment: str = "all") -> np.ndarray:
        lane = self.lane(fragment)
        params = lane.versions[lane.head].params
        assert params is not None
        return np.frombuffer(self.store.blobs[params], "<f4")


def origins(store: MemoryStore, start: Mapping[str, np.ndarray]) -> dict[str, Origin]:
    found = {}
    for name, vector in start.items():
        ref, digest = store_vector(store, chunks(vector))
        found[name] = Origin(vector.size, ref, digest)
    return found


def begun(rules: Rules, store: MemoryStore, start: Mapping[str, np.ndarray]) -> State:
    return begin(rules, origins(store, start), 0.0)


__all__ = ["Action", "Coordinator", "Killed", "MemoryStore", "begun", "origins", "raw_bytes"]
