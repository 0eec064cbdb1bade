"""Hub and agent talk over a wire that loses, doubles and reorders; both go back in time; copies appear.

Whatever happens, once the wire holds again both sides agree, no end is ever taken back, and one
process at most speaks for the site.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ayni.protocol.attempts import FINAL, LIVE, MOVES, WITHDRAWABLE, AttemptState
from ayni.protocol.exchange import AgentSide, Known, SiteMemory, Taken, hear, missing, take
from ayni.protocol.messages import (
    Assignment,
    Report,
    SiteStatus,
    SyncReply,
    SyncRequest,
)
from ayni.protocol.policy import Policy, Who

S = AttemptState
WHO = Who(name="", email="", institution="", project="", member="CL")
STATUS = SiteStatus(agent_version="1", policy=Policy(), partitions=[])
PART = 2  # reports in one request: small, so that most are parts


@dataclass
class Journal:
    """What an agent has on disk."""

    attempts: dict[str, tuple[AttemptState, int]] = field(default_factory=dict)
    seq: int = 0
    generation: int = 0
    acknowledged: int = 0
    epoch: str | None = None

    def say(self, attempt: str, state: AttemptState) -> None:
        self.seq += 1
        self.attempts[attempt] = (state, self.seq)

    def live(self) -> list[str]:
        return [a for a, (state, _) in self.attempts.items() if state in LIVE]


class Agent:
    """A process with a journal: what the agent's cycle does, without its jobs."""

    def __init__(self, journal: Journal, session: str) -> None:
        journal.generation += 1
        self.journal = journal
        self.side = AgentSide(
            "site",
            journal.generation,
            session,
            epoch=journal.epoch,
            acknowledged=journal.acknowledged,
        )
        self.fenced = False

    def ask(self) -> SyncRequest:
        after = self.side.acknowledged
        changed = sorted((seq, a, s) for a, (s, seq) in self.journal.attempts.items())
        reports = [Report(attempt=a, seq=seq, state=s) for seq, a, s in changed if seq > after]
        return self.side.request(
            reports[:PART],
            self.journal.seq,
            complete=len(reports) <= PART,
            status=lambda: STATUS,
            inventory=self.journal.live,
        )

    def listen(self, reply: SyncReply) -> None:
        if self.fenced or not self.side.hear(reply):
            return
        journal = self.journal
        if self.side.is_behind(journal.seq):
            journal.seq = self.side.acknowledged
            for attempt in journal.live():
                journal.say(attempt, journal.attempts[attempt][0])
        for assignment in reply.assignments:
            if assignment.attempt not in journal.attempts:
                journal.say(assignment.attempt, S.ACCEPTED)
        for attempt in reply.withdrawals:
            if journal.attempts.get(attempt, (S.LOST, 0))[0] in WITHDRAWABLE:
                journal.say(attempt, S.WITHDRAWN)
        for attempt in (*reply.cancels, *reply.unknown):
            if attempt in journal.live():
                journal.say(attempt, S.CANCELED)
        journal.acknowledged, journal.epoch = self.side.acknowledged, self.side.epoch


@dataclass
class HubAttempt:
    state: AttemptState = S.ASSIGNED
    seq: int = 0
    superseded: bool = False
    withdraw: bool = False
    cancel: bool = False


@dataclass
class Hub:
    """A hub's memory of one site, and its half of the exchange by the shared rules."""

    epoch: str = "e0"
    memory: SiteMemory = field(default_factory=SiteMemory)
    attempts: dict[str, HubAttempt] = field(default_factory=dict)
    illegal: int = 0

    def answer(self, request: SyncRequest) -> SyncReply | None:
        """The reply, or None for a fence."""
        heard = hear(self.memory, request)
        if heard.fence:
            return None
        self.memory = heard.memory
        unknown = [r.attempt for r in request.reports if not self._take(r)]
        live = {a: x.state for a, x in self.attempts.items() if x.state in LIVE}
        for attempt in missing(heard, request, live):
            self.attempts[attempt].state = S.LOST
        if heard.fresh:
            unknown += [a for a in request.inventory or () if a not in live]
        now = {a: x for a, x in self.attempts.items() if x.state in LIVE}
        return SyncReply(
            epoch=self.epoch,
            number=request.number,
            acknowledged=self.memory.acknowledged,
            assignments=[
                Assignment(attempt=a, task_id=a, number=1, task={}, shape={}, partition="", who=WHO)
                for a, x in now.items()
                if x.state is S.ASSIGNED  # also those to be cancelled: the agent may have them
            ],
            withdrawals=[a for a, x in now.items() if x.withdraw],
            cancels=[a for a, x in now.items() if x.cancel or x.superseded],
            unknown=unknown,
            want_inventory=heard.rewound,
        )

    def _take(self, report: Report) -> bool:
        attempt = self.attempts.get(report.attempt)
        if attempt is None:
            return False
        known = Known(attempt.state, attempt.seq, attempt.superseded)
        taken = take(known, report)
        self.illegal += taken is Taken.ILLEGAL
        if taken is Taken.APPLY or (taken is Taken.USAGE_ONLY and attempt.state in LIVE):
            attempt.state, attempt.seq = report.state, report.seq
        return True


class Exchange(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.backup: Hub | None = None
        self.journal = Journal()
        self.starts = 0
        self.agent = self._start(self.journal)
        self.requests: list[tuple[Agent, SyncRequest]] = []
        self.replies: list[tuple[Agent, SyncReply]] = []
        self.names = 0
        self.ends: dict[str, AttemptState] = {}  # final at the hub, as last seen
        self.rewound = False

    def _start(self, journal: Journal) -> Agent:
        self.starts += 1
        return Agent(journal, f"s{self.starts}")

    # --- the hub's wishes ---

    @rule(count=st.integers(1, 3))
    def place(self, count: int) -> None:
        for _ in range(count):
            self.names += 1
            self.hub.attempts[f"a{self.names}"] = HubAttempt()

    @precondition(lambda self: self.hub.attempts)
    @rule(data=st.data(), wish=st.sampled_from(["withdraw", "cancel", "superseded"]))
    def wish(self, data: st.DataObject, wish: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.hub.attempts)))
        setattr(self.hub.attempts[name], wish, True)

    # --- the agent's work ---

    @precondition(lambda self: self.journal.live())
    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.journal.live())))
        state = self.journal.attempts[name][0]
        after = data.draw(st.sampled_from(sorted(MOVES[state] - {S.LOST, S.WITHDRAWN})))
        self.journal.say(name, after)

    # --- the wire ---

    @rule()
    def ask(self) -> None:
        self.requests.append((self.agent, self.agent.ask()))

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), keep=st.booleans())
    def deliver_request(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.requests) - 1))
        agent, request = self.requests[index] if keep else self.requests.pop(index)
        reply = self.hub.answer(request)
        if reply is not None:
            self.replies.append((agent, reply))

    @precondition(lambda self: self.replies)
    @rule(data=st.data(), keep=st.booleans())
    def deliver_reply(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.replies) - 1))
        agent, reply = self.replies[index] if keep else self.replies.pop(index)
        if agent is self.agent:  # a process that has ended hears nothing more
            agent.listen(reply)

    @rule()
    def lose_everything_in_flight(self) -> None:
        self.requests.clear()
        self.replies.clear()

    # --- disasters ---

    @rule()
    def restart_agent(self) -> None:
        self.agent = self._start(self.journal)

    @rule()
    def back_up_hub(self) -> None:
        self.backup = copy.deepcopy(self.hub)

    @precondition(lambda self: self.backup is not None)
    @rule(new_epoch=st.booleans())
    def restore_hub(self, new_epoch: bool) -> None:
        assert self.backup is not None
        self.hub = copy.deepcopy(self.backup)
        if new_epoch:
            self.hub.epoch = f"e{self.starts}-{self.names}"
        self.ends = {a: x.state for a, x in self.hub.attempts.items() if x.state in FINAL}
        self.rewound = True
        self.lose_everything_in_flight()

    @rule(first=st.booleans())
    def run_a_copy_beside_the_original(self, first: bool) -> None:
        """Of two processes of one generation the hub hears the one that it heard first, for ever."""
        self.settle()
        clone = Agent(copy.deepcopy(self.journal), "clone")
        original = self.agent = self._start(self.journal)
        order = [clone, original] if first else [original, clone]
        heard = [self.hub.answer(agent.ask()) for agent in order]
        assert heard[0] is not None
        assert heard[1] is None, "two processes speak for one site"
        if first:  # the operator stops the copy and starts the original again
            self.agent = self._start(self.journal)
        assert self.hub.answer(clone.ask()) is None or first
        assert self.hub.answer(self.agent.ask()) is not None
        assert self.hub.answer(clone.ask()) is None

    # --- what must hold ---

    @invariant()
    def an_end_at_the_hub_is_never_taken_back(self) -> None:
        for name, state in self.ends.items():
            assert self.hub.attempts[name].state is state
        self.ends |= {a: x.state for a, x in self.hub.attempts.items() if x.state in FINAL}

    @invariant()
    def the_hub_acknowledges_only_what_it_has(self) -> None:
        for name, (state, seq) in self.journal.attempts.items():
            known = self.hub.attempts.get(name)
            if known is None or seq > self.hub.memory.acknowledged:
                continue
            assert known.seq >= seq or known.state in FINAL or self.rewound, (name, state, known)

    @rule()
    def settle(self) -> None:
        """The wire holds for a while: both sides agree."""
        self.lose_everything_in_flight()
        for _ in range(3 * (len(self.journal.attempts) + len(self.hub.attempts)) + 8):
            reply = self.hub.answer(self.agent.ask())
            assert reply is not None
            self.agent.listen(reply)
        for name, known in self.hub.attempts.items():
            if known.state in LIVE:
                assert self.journal.attempts[name][0] is known.state
                assert not known.cancel and not known.superseded
        live = {a for a, x in self.hub.attempts.items() if x.state in LIVE}
        assert set(self.journal.live()) == live
        assert self.hub.memory.acknowledged == self.journal.seq

    def teardown(self) -> None:
        self.settle()
        assert self.rewound or not self.hub.illegal


Exchange.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestExchange = Exchange.TestCase


def test_a_journal_restored_from_a_backup_is_heard_again() -> None:
    hub, journal = Hub(), Journal()
    agent = Agent(journal, "s1")
    hub.attempts = {"a": HubAttempt(), "b": HubAttempt()}

    def talk(agent: Agent, rounds: int = 4) -> None:
        for _ in range(rounds):
            reply = hub.answer(agent.ask())
            assert reply is not None
            agent.listen(reply)

    talk(agent)
    backup = copy.deepcopy(journal)
    agent = Agent(journal, "s1b")
    for state in (S.INITIALIZING, S.PENDING, S.RUNNING, S.FINALIZING, S.COMPLETE):
        journal.say("a", state)
        talk(agent)
    agent = Agent(backup, "s2")  # the same generation as the one before the loss …
    assert hub.answer(agent.ask()) is None
    agent = Agent(backup, "s3")  # … so it takes one more start
    talk(agent)
    assert backup.attempts["a"][0] is S.CANCELED, "it is over; the copy in the backup is stopped"
    backup.say("b", S.INITIALIZING)
    talk(agent)
    assert hub.attempts["b"].state is S.INITIALIZING
    assert hub.attempts["a"].state is S.COMPLETE


def test_memory_is_not_changed_in_place() -> None:
    memory = SiteMemory("i", 1, "s", 1, 1)
    before = replace(memory)
    hear(memory, Agent(Journal(), "s").ask())
    assert memory == before
