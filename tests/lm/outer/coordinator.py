"""A coordinator around the machine, with nothing but a journal and a folder; it can be killed anywhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ayni.lm.outer import coordinator
from ayni.lm.outer.blocks import chunks
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.machine import Origin, begin
from ayni.lm.outer.messages import Action, Answer, Head, Record
from ayni.lm.outer.perform import BlobError, store_vector
from ayni.lm.outer.state import Lane, Rules, State


class MemoryStore:
    """Blobs in a dictionary; survives its coordinator as a disk does."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.ever: dict[str, bytes] = {}

    @contextmanager
    def open(self, ref: str) -> Iterator[io.BytesIO]:
        if ref not in self.blobs:
            raise BlobError(f"there is no blob {ref}")
        yield io.BytesIO(self.blobs[ref])

    @contextmanager
    def create(self) -> Iterator[MemoryWriter]:
        yield MemoryWriter(self)

    def drop(self, refs: Iterable[str], /) -> None:
        for ref in refs:
            self.blobs.pop(ref, None)

    def put(self, data: bytes) -> str:
        ref = blake2b(data, digest_size=16).hexdigest()
        self.blobs[ref] = self.ever[ref] = data
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


class Mortal:
    """A journal with places to die."""

    def __init__(self, journal: Journal, at: Callable[[str], None]) -> None:
        self.journal, self.at = journal, at

    def state(self) -> State | None:
        return self.journal.state()

    def cursor(self) -> dict[str, int]:
        return self.journal.cursor()

    def commit(self, state: State, records: Iterable[Record] = (), cursor: Any = None) -> None:
        self.at("before the commit")
        self.journal.commit(state, records, cursor)
        self.at("after the commit")


class Coordinator(coordinator.Coordinator):
    """A coordinator that can be killed: `at(point)` is called at every transition, and may raise Killed.

    `folder`: the journal's, or a journal.
    """

    def __init__(
        self,
        folder: Any,
        store: MemoryStore,
        first: Callable[[], State],
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.journal = Journal(folder) if isinstance(folder, Path) else folder
        self.store, self.at = store, at
        self.answers: list[Answer] = []
        super().__init__(self.journal, store, first)
        self._memory = Mortal(self.journal, at)

    def do(self, action: Action) -> Answer | None:
        answer = super().do(action)
        assert answer is not None
        self.answers.append(answer)
        self.at("before the answer")
        return answer

    def lane(self, fragment: str = "all") -> Lane:
        return self.state.lanes[fragment]

    def head(self, fragment: str = "all") -> Head:
        (found,) = (head for head in self.heads() if head.fragment == fragment)
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
