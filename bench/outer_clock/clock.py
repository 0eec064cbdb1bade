"""A run of the outer loop on a virtual clock: the real machine, and sites and links as events."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ayni.lm.outer.codec import Codec, blob_size
from ayni.lm.outer.coordinator import Coordinator
from ayni.lm.outer.machine import Origin, begin
from ayni.lm.outer.messages import (
    Action,
    Answer,
    Contributed,
    Event,
    Head,
    Inspect,
    Inspected,
    Joined,
    Merge,
    Merged,
    Record,
    nonce_of,
)
from ayni.lm.outer.schedule import Schedule
from ayni.lm.outer.state import Rules, State

SAID = 1.0  # seconds that a message waits in spools and between looks
ROUND_TRIPS = 4  # of a blob: declared, put or got, committed, told


@dataclass(frozen=True)
class Link:
    """`rate` in bits a second each way, `delay` there and back in seconds."""

    name: str
    rate: float
    delay: float


@dataclass(frozen=True)
class Rates:
    """Seconds for a value: at a site, and at the coordinator, which does one thing after the other."""

    send: float  # encode, and hash for its address and for the store
    apply: float  # hash, decode, subtract, digest
    inspect: float  # one site's contribution, brought
    merge: float  # all sites', the update published


class Clock:
    """Events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, do))

    def run(self) -> None:
        while self._queue:
            self.now, _, do = heapq.heappop(self._queue)
            do()


class Pipe:
    """One direction of a link: what comes later waits for what came before."""

    def __init__(self, clock: Clock, link: Link) -> None:
        self._clock, self._link, self._free = clock, link, 0.0
        self.bytes = 0

    def send(self, size: int, then: Callable[[], None]) -> None:
        self._free = max(self._free, self._clock.now) + 8 * size / self._link.rate
        self.bytes += size
        self._clock.at(self._free + SAID + ROUND_TRIPS * self._link.delay, then)


class Forgetful:
    """A memory for a coordinator that nobody kills."""

    def state(self) -> State | None:
        return None

    def cursor(self) -> dict[str, int]:
        return {}

    def commit(
        self, state: State, records: Iterable[Record] = (), cursor: dict[str, int] | None = None
    ) -> None:
        """There is nothing to be found again."""


class NoStore:
    """Blobs are sizes here."""

    def open(self, ref: str) -> object:
        raise NotImplementedError

    create = open

    def drop(self, refs: Iterable[str], /) -> None:
        """None is kept."""


@dataclass
class Part:
    """A fragment at a site: its newest head, and from which local step on it trains from there."""

    head: Head
    since: int


@dataclass
class Site:
    """Trains step by step. It goes on for `overlap` steps while its contributions are on their way, but
    for no more than a round has, and merges the answer then (`ayni.lm.turns`)."""

    name: str
    up: Pipe
    down: Pipe
    overlap: int
    parts: dict[str, Part] = field(default_factory=dict)
    sent: dict[str, tuple[int, int]] = field(default_factory=dict)  # base, and local step
    step: int = 0  # local
    early: dict[str, Head] = field(default_factory=dict)  # heads that came before their step
    training: bool = False
    trained: float = 0.0  # seconds
    ended: float = 0.0


class Run:
    """A whole run. `fragments` of equal size; 1: the model as a whole."""

    def __init__(
        self, schedule: Schedule, codec: Codec, count: int, link: Link, rates: Rates, *,
        pace: float, fragments: int = 1, overlap: int = 0, sites: int = 3,
    ) -> None:  # fmt: skip
        self.clock, self.rates, self.pace = Clock(), rates, pace
        self.codec, self.count = codec, count // fragments
        self.size = blob_size(self.count, codec)
        names = [f"site-{n}" for n in range(sites)]
        self.sites = {
            name: Site(name, Pipe(self.clock, link), Pipe(self.clock, link), overlap)
            for name in names
        }
        rules = Rules(run="clock", schedule=schedule, codec=codec, quorum=sites)
        width = len(str(fragments))
        parts = {f"part-{n:0{width}}": Origin(self.count, "p0", "d0") for n in range(fragments)}
        first = begin(rules, parts if fragments > 1 else {"all": Origin(count, "p0", "d0")}, 0.0)
        self.machine = Coordinator(Forgetful(), NoStore(), lambda: first)  # type: ignore[arg-type]
        self._working = False
        self._told: dict[str, Head] = {}
        self._hear([Joined(site=name, tokens_per_step=1 << 20) for name in names])

    def go(self) -> None:
        """To the end."""
        self.clock.run()

    # --- coordinator ---

    def _hear(self, events: list[Event]) -> None:
        self.machine.hear(self.clock.now, events)
        for head in self.machine.heads():
            if self._told.get(head.fragment) != head:
                self._told[head.fragment] = head
                for site in self.sites.values():
                    self._tell(site, head)
        self._work()

    def _tell(self, site: Site, head: Head) -> None:
        if head.version == 0:
            self.clock.at(self.clock.now, lambda: self._take(site, head))
            return
        site.down.send(self.size, lambda: self._arrived(site, head))

    def _arrived(self, site: Site, head: Head) -> None:
        self.clock.at(
            self.clock.now + self.rates.apply * self.count, lambda: self._take(site, head)
        )

    def _work(self) -> None:
        todo = self.machine.todo()
        if self._working or not todo:
            return
        self._working = True
        action = todo[0]
        self.clock.at(self.clock.now + self._takes(action), lambda: self._done(action))

    def _takes(self, action: Action) -> float:
        rates = self.rates
        return self.count * (rates.merge if isinstance(action, Merge) else rates.inspect)

    def _done(self, action: Action) -> None:
        self._working = False
        self._hear([_answer(action)])

    # --- sites ---

    def _take(self, site: Site, head: Head) -> None:
        """A new version, or the first: training goes on from it, when it is time."""
        part = site.parts.get(head.fragment)
        if part is not None and head.status != "done" and not self._waits(site, part):
            site.early[head.fragment] = head
            return
        site.early.pop(head.fragment, None)
        if head.status == "done":
            site.parts.pop(head.fragment, None)
        else:
            site.parts[head.fragment] = Part(head, site.sent.get(head.fragment, (0, site.step))[1])
        self._train(site)

    def _train(self, site: Site) -> None:
        if site.training or not site.parts:
            return
        if any(self._waits(site, part) for part in site.parts.values()):
            return
        site.training = True
        self.clock.at(self.clock.now + self.pace, lambda: self._stepped(site))

    def _waits(self, site: Site, part: Part) -> bool:
        """Whether a fragment's contribution is out, and the site must not go further without its answer."""
        base, at = site.sent.get(part.head.fragment, (-1, 0))
        out = base == part.head.version
        return out and site.step - at >= min(site.overlap, part.head.inner_steps)

    def _stepped(self, site: Site) -> None:
        site.training = False
        site.step += 1
        site.trained += self.pace
        site.ended = self.clock.now
        for head in list(site.early.values()):
            self._take(site, head)
        for part in list(site.parts.values()):
            out = site.sent.get(part.head.fragment, (-1, 0))[0] == part.head.version
            if not out and site.step - part.since >= part.head.inner_steps:
                self._contribute(site, part.head)
        self._train(site)

    def _contribute(self, site: Site, head: Head) -> None:
        site.sent[head.fragment] = head.version, site.step
        said = Contributed(
            run=head.run, fragment=head.fragment, base=head.version, site=site.name, attempt=0,
            digest=head.digest,
            nonce=nonce_of(head.run, head.fragment, head.version, head.digest, site.name),
            blob=f"{site.name}-{head.fragment}-{head.version}", size=self.size,
            tokens=head.inner_steps, steps=head.inner_steps,
        )  # fmt: skip
        encoded = self.clock.now + self.rates.send * self.count
        self.clock.at(encoded, lambda: site.up.send(self.size, lambda: self._hear([said])))

    @property
    def seconds(self) -> float:
        return max(site.ended for site in self.sites.values())

    @property
    def utilisation(self) -> float:
        """The share of the wall clock in which the sites computed; waiting is no work."""
        return sum(s.trained for s in self.sites.values()) / (self.seconds * len(self.sites))


def _answer(action: Action) -> Answer:
    if isinstance(action, Inspect):
        return Inspected(
            fragment=action.fragment, base=action.base, site=action.site, attempt=action.attempt,
            blob=action.blob, norm=1.0,
        )  # fmt: skip
    assert isinstance(action, Merge)
    name = f"{action.fragment}-{action.version}"
    return Merged(
        fragment=action.fragment, version=action.version, attempt=action.attempt, norm=1.0,
        update=f"u-{name}", params=f"p-{name}", digest=f"d-{name}", momentum=f"m-{name}",
    )  # fmt: skip


def ring(count: int, link: Link, *, sites: int, width: int) -> float:
    """Seconds of a ring all-reduce of `count` values of `width` bytes."""
    turns = 2 * (sites - 1)
    return turns * (8 * width * count / sites / link.rate + link.delay / 2)
