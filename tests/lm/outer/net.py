"""Sites and a coordinator in one process, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ayni.lm.outer.messages import Event, Head, Joined
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import Rules
from tests.lm.outer.coordinator import Coordinator, MemoryStore, begun
from tests.lm.outer.sites import TOKENS, Site

COUNT = 500
START = np.linspace(-1, 1, COUNT, dtype=np.float32)


def rules(**changes: object) -> Rules:
    plain: dict[str, object] = {
        "run": "run",
        "schedule": Schedule(steps=1000, phases=(Phase(from_step=0, inner_steps=5),)),
        "grace": 10.0,
        "grace_share": 0.0,
    }
    return Rules.model_validate({**plain, **changes})


class Net:
    """Three sites and a coordinator."""

    def __init__(self, folder: Path, found: Rules, fragments: tuple[str, ...] = ("all",)) -> None:
        self.store = MemoryStore()
        self.start = {name: START + i for i, name in enumerate(fragments)}
        self.hub = Coordinator(folder, self.store, lambda: begun(found, self.store, self.start))
        self.sites = {name: Site(name, seed) for seed, name in enumerate("abc", 1)}
        self.now = 0.0
        self.heard: list[tuple[float, tuple[Event, ...]]] = []
        for name in self.sites:
            self.join(name)

    def join(self, name: str) -> None:
        self.sites.setdefault(name, Site(name, 50 + len(self.sites)))
        tokens = TOKENS * len(self.start)  # so many are each fragment's
        self.hear(Joined(site=name, tokens_per_step=tokens))

    def hear(self, *events: Event, at: float | None = None) -> None:
        self.now = self.now + 1 if at is None else at
        self.heard.append((self.now, events))
        self.hub.hear(self.now, events)
        self.hub.work()

    def take(self, *names: str, fragment: str = "all") -> Head:
        head = self.hub.head(fragment)
        for name in names or sorted(self.sites):
            self.hear(self.sites[name].take(head, self.store))
        return head

    def bring(self, *names: str, fragment: str = "all", **changes: object) -> None:
        for name in names:
            self.hear(self.sites[name].bring(self.hub.head(fragment), self.store, **changes))

    def round(self, *names: str) -> None:
        self.take(*names)
        self.bring(*(names or sorted(self.sites)))

    def books(self, what: str) -> list[dict[str, object]]:
        return [record.data for _, record in self.hub.journal.books(what)]

    def refusals(self) -> list[str]:
        return [str(data["reason"]) for data in self.books("refused")]

    @property
    def version(self) -> int:
        return self.hub.lane().head


Make = Callable[..., Net]
