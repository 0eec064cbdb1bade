"""The machine with a memory and hands, and no transport: whoever has one gives it events and takes heads.

What is heard is written down before anything is done; what is done is heard like anything else. So a
coordinator may die at any instant: the next one begins from the journal and does what is outstanding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Protocol

from ayni.lm.outer.lineage import referenced
from ayni.lm.outer.machine import outstanding, tick
from ayni.lm.outer.messages import Action, Answer, Event, Head, Inspect, Record
from ayni.lm.outer.perform import Store, perform
from ayni.lm.outer.state import State

#: Contributions that are read through at a time: five blocks of memory each.
_ABREAST = min(4, os.cpu_count() or 1)


class Memory(Protocol):
    """What a coordinator remembers by (`journal.Journal`)."""

    def state(self) -> State | None: ...

    def cursor(self) -> dict[str, int]: ...

    def commit(
        self, state: State, records: Iterable[Record] = (), cursor: dict[str, int] | None = None
    ) -> None: ...


class Coordinator:
    """One run's coordinator. `cursor` says how far each source of messages has been taken in."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        first: Callable[[], State],
        made: Callable[[str], object] = lambda ref: None,
        cursor: Mapping[str, int] | None = None,
    ) -> None:
        """Go on from the memory, or begin with `first`.

        Args:
            made: see `perform`.
            cursor: where sources are read from that the memory does not know yet.
        """
        self._memory, self._store, self._made = memory, store, made
        found = memory.state()
        if found is None:
            found = first()
            memory.commit(found)
        self.state = found
        self.cursor = {**(cursor or {}), **memory.cursor()}

    def hear(
        self, now: float, events: Sequence[Event] = (), cursor: Mapping[str, int] | None = None
    ) -> None:
        """Take events in: when this returns, they are remembered and need not come again.

        Args:
            cursor: how far their sources have been read with them; sources not named stay as they are.

        Raises:
            UserError: they could not be written down, and were not taken in.
        """
        turn = tick(self.state, now, events)
        at = {**self.cursor, **(cursor or {})}
        self._memory.commit(turn.state, turn.records, at)
        gone = referenced(self.state) - referenced(turn.state)
        self.state, self.cursor = turn.state, at
        self._store.drop(gone)

    def todo(self) -> list[Action]:
        """What is outstanding and needs no site."""
        return [one for one in outstanding(self.state) if not isinstance(one, Head)]

    def heads(self) -> list[Head]:
        """What the sites are to be told; each of them whenever it changed, or asks."""
        return [one for one in outstanding(self.state) if isinstance(one, Head)]

    def step(self) -> bool:
        """Do what is outstanding first, and hear of it; False: there is nothing.

        Contributions are read through several at a time, and heard of in their order.

        Raises:
            BlobError, OSError, UserError: it could not be done; it stays outstanding.
        """
        todo = self.todo()
        first = list(takewhile(lambda one: isinstance(one, Inspect), todo)) or todo[:1]
        for answer in self._do_all(first):
            if answer is not None:
                self.hear(self.state.now, [answer])
        return bool(todo)

    def _do_all(self, actions: Sequence[Action]) -> list[Answer | None]:
        if len(actions) < 2:
            return [self.do(action) for action in actions]
        with ThreadPoolExecutor(_ABREAST, thread_name_prefix="inspection") as pool:
            return list(pool.map(self.do, actions))

    def work(self) -> None:
        """Do everything that is outstanding and needs no site."""
        while self.step():
            pass

    def do(self, action: Action) -> Answer | None:
        """Do an action, without hearing of it: also in another thread, as it changes nothing here."""
        return perform(action, self._store, self._made)
