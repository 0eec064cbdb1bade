"""Sites and coordinator over a wire that loses, doubles, reorders and delays; the coordinator dies at will.

Whatever happens: sites that hold a version hold the same bits; nothing is merged twice or too late;
what was heard before changes nothing when it is heard again; and once the wire holds, the run goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ayni.lm.outer.lineage import line, referenced
from ayni.lm.outer.messages import (
    EVENTS,
    Answer,
    Evaluated,
    Event,
    Head,
    Joined,
    Pause,
    Record,
    Resume,
    RollBack,
)
from ayni.lm.outer.state import GiftState, LaneState, State, VersionState, dump, load
from tests.lm.outer.coordinator import Coordinator, Killed, MemoryStore, begun
from tests.lm.outer.net import rules
from tests.lm.outer.sites import TOKENS, Site

COUNT = 70
NAMES = "abcd"


class MemoryJournal:
    """What the journal promises, without a disk."""

    def __init__(self) -> None:
        self.text: bytes | None = None
        self.noted: dict[str, Record] = {}
        self.at: dict[str, int] = {}

    def state(self) -> State | None:
        return None if self.text is None else load(self.text)

    def cursor(self) -> dict[str, int]:
        return self.at

    def commit(
        self, state: State, records: Iterable[Record] = (), cursor: dict[str, int] | None = None
    ) -> None:
        self.text, self.at = dump(state), self.at if cursor is None else cursor
        for record in records:
            self.noted.setdefault(record.key, record)

    def books(self, what: str) -> Iterator[Record]:
        return (record for record in self.noted.values() if record.what == what)


class Alliance(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store, self.journal = MemoryStore(), MemoryJournal()
        self.found = rules(evaluate=True, snapshot_every=3, keep=5, patience=50.0)
        self.now, self.orders, self.die = 0.0, 0, -1
        self.sites = {name: Site(name, seed) for seed, name in enumerate(NAMES)}
        self.heads: list[Head] = []
        self.held: dict[str, Head] = {}
        self.wire: list[Event] = []
        self.past: list[Event] = []
        self.start()
        for name in "abc":
            self.hear(Joined(site=name, tokens_per_step=TOKENS))

    # --- the coordinator ---

    def start(self) -> None:
        vector = np.linspace(-1, 1, COUNT, dtype=np.float32)
        first = lambda: begun(self.found, self.store, {"all": vector})  # noqa: E731
        self.hub = Coordinator(self.journal, self.store, first, self.transition)
        self.hub.work()
        self.seen()

    def transition(self, point: str) -> None:
        self.die -= 1
        if self.die == 0:
            raise Killed(point)

    def hear(self, *events: Event, work: bool = True) -> None:
        """The transport gives events until they are in the journal."""
        self.past += events
        while True:
            try:
                self.hub.hear(self.now, events)
                if work:
                    self.hub.work()
                break
            except Killed:
                self.past += self.hub.answers
                self.start()
        self.seen()

    def seen(self) -> None:
        if self.hub.lane().state is not LaneState.REBUILDING:
            self.heads.append(self.hub.head())

    # --- what happens ---

    @rule()
    def answers_come_again(self) -> None:
        self.past += self.hub.answers
        for answer in [e for e in self.past if isinstance(e, Answer)][-8:]:
            self.hear(answer, work=False)

    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 4))
    def a_site_takes_a_head_perhaps_an_old_one(self, name: str, back: int) -> None:
        site, head = self.sites[name], self.heads[-1 - min(back, len(self.heads) - 1)]
        needed = {head.snapshot, *(link.update for link in head.chain if link.update)}
        newer = head.version > site.held.get("all", -1)
        if newer and needed <= set(self.store.blobs):
            self.wire.append(site.take(head, self.store))
            self.held[name] = head

    @rule(name=st.sampled_from(NAMES), attempt=st.integers(0, 2))
    def a_site_brings_what_it_trained(self, name: str, attempt: int) -> None:
        head = self.held.get(name)
        if head is not None and head.inner_steps:
            self.wire.append(self.sites[name].bring(head, self.store, attempt=attempt))

    @rule(name=st.sampled_from(NAMES), harm=st.booleans(), back=st.integers(0, 2))
    def a_site_judges(self, name: str, harm: bool, back: int) -> None:
        version = max(self.hub.lane().head - back, 0)
        after = 3.0 if harm else 2.0
        vote = Evaluated(site=name, fragment="all", version=version, before=2.0, after=after)
        self.wire.append(vote)

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), double=st.booleans(), lose=st.integers(0, 5), work=st.booleans())
    def the_wire_delivers_something(
        self, data: st.DataObject, double: bool, lose: int, work: bool
    ) -> None:
        index = data.draw(st.integers(0, len(self.wire) - 1))
        event = self.wire[index] if double else self.wire.pop(index)
        if lose:
            self.hear(event, work=work)

    @rule(data=st.data())
    def an_old_message_comes_again(self, data: st.DataObject) -> None:
        old = [e for e in self.past if not isinstance(e, Pause | Resume)]
        self.hear(data.draw(st.sampled_from(old)))

    @rule(seconds=st.sampled_from([0.5, 11.0, 60.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        self.hear()

    @rule(after=st.integers(1, 8))
    def the_coordinator_will_die(self, after: int) -> None:
        self.die = after

    @rule()
    def a_newcomer_joins(self) -> None:
        self.hear(Joined(site="d", tokens_per_step=TOKENS))

    @rule()
    def a_person_pauses(self) -> None:
        self.hear(Pause())

    @rule()
    def a_person_resumes(self) -> None:
        self.hear(Resume())

    @rule(back=st.integers(0, 6), work=st.booleans())
    def a_person_goes_back(self, back: int, work: bool) -> None:
        self.orders += 1
        to = max(self.hub.lane().head - back, 0)
        self.hear(RollBack(order=f"o{self.orders}", to=to), work=work)

    @rule()
    def blobs_that_nobody_needs_are_swept(self) -> None:
        waiting = {getattr(event, "blob", "") for event in self.wire}
        needed = referenced(self.hub.state) | waiting
        self.store.blobs = {k: v for k, v in self.store.blobs.items() if k in needed}

    # --- what holds ---

    @invariant()
    def sites_never_part_from_the_coordinator(self) -> None:
        assert not [r for r in self.journal.books("alarm") if r.key.startswith("alarm/diverged")]

    @invariant()
    def nothing_is_merged_twice_into_what_stands(self) -> None:
        lane = self.hub.lane()
        shares = [
            s for v in line(lane) if v.state is not VersionState.ROLLED_BACK for s in v.shares
        ]
        assert all(n == 1 for n in Counter((s.key.split("/")[0], s.site) for s in shares).values())

    @invariant()
    def a_merge_is_a_mean_of_what_is_not_too_late(self) -> None:
        for version in line(self.hub.lane()):
            if version.update is not None:
                assert abs(sum(s.weight for s in version.shares) - 1) < 1e-9
                assert all(s.staleness <= self.found.window for s in version.shares)
                order = [(s.site, int(s.key.split("/")[0])) for s in version.shares]
                assert order == sorted(order)

    @invariant()
    def lineage_goes_down_in_numbers(self) -> None:
        numbers = [version.number for version in line(self.hub.lane())]
        assert numbers == sorted(set(numbers), reverse=True) and self.hub.lane().next > numbers[0]

    @invariant()
    def the_head_is_the_weights_that_its_digest_says(self) -> None:
        if self.hub.lane().state is LaneState.REBUILDING:
            return
        digest = Site("x", 0).take(self.hub.head(), self.store).digest
        assert digest == self.hub.head().digest

    @invariant()
    def a_new_process_knows_all(self) -> None:
        found = self.journal.state()
        assert found is not None and dump(found) == dump(self.hub.state)

    @invariant()
    def messages_survive_json(self) -> None:
        assert EVENTS.validate_json(EVENTS.dump_json(self.wire)) == self.wire
        assert json.loads(dump(self.hub.state))["rules"]["run"] == "run"

    def teardown(self) -> None:
        """The wire holds: a run that has not ended goes on with whoever is not suspended."""
        self.die = -1
        self.wire.clear()
        self.hear(Resume())
        lane = self.hub.lane()
        able = [s.name for s in self.hub.state.sites.values() if s.suspended is None]
        before = lane.head
        if len(able) < self.found.quorum:
            return
        if lane.trial is not None and lane.trial.without in able:
            able.remove(lane.trial.without)
        if len(able) < self.found.quorum:
            return
        head = self.hub.head()
        for name in able:
            site = Site(name, 5)
            self.hear(site.take(head, self.store))
            self.hear(site.bring(head, self.store, attempt=9))
            self.now += 11
        self.hear()
        waiting = [g for g in self.hub.lane().gifts.values() if g.state is GiftState.OFFERED]
        assert not waiting and self.hub.lane().head > before


Alliance.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAlliance = Alliance.TestCase
