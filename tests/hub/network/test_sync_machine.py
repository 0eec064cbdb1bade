"""Hub and agent over a wire that loses, doubles and reorders; both restart, the hub goes back in time.

Whatever happens, no task has two attempts in force, no end is taken back, usage is booked once, and when
the wire holds again every task ends.
"""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ayni.hub.http import ProblemError
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import talk
from ayni.hub.network.cycle import Broker
from ayni.hub.network.hub import new_epoch
from ayni.hub.network.models import Site
from ayni.hub.network.views import REGISTERED_ANEW
from ayni.hub.tasks import ids
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.life import FINAL as FINAL_TASK
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt, Task
from ayni.hub.tasks.reports import give_up
from ayni.protocol.attempts import FINAL, LIVE, MOVES, AttemptState
from ayni.protocol.messages import SyncReply, SyncRequest
from ayni.protocol.policy import Reason
from tests.hub import factories
from tests.hub.network.simulated import Agent, Journal, partition, status, tasks

S = AttemptState
LOST = Reason(code="lost", message="silent for too long")
ACCEPTED = frozenset({S.COMPLETE.value, S.EXECUTOR_ERROR.value})
any_number = st.integers(0, 1 << 16)


class Machine(RuleBasedStateMachine):
    """Two sites, so that what one gives up another may have."""

    @initialize()
    def begin(self) -> None:
        self.block = transaction.atomic()
        self.block.__enter__()
        self.project = factories.project()
        self.person = factories.person()
        offers = status(partition(cores=2, depth=2))
        self.agents = [Agent(factories.site(), offers=offers, part=2) for _ in range(2)]
        self.requests: list[tuple[Agent, SyncRequest]] = []
        self.replies: list[tuple[Agent, SyncReply]] = []
        self.ends: dict[int, int] = {}
        self.copy: str | None = None  # of the hub's database
        self.broker = Broker()
        for agent in self.agents:
            agent.sync()

    def teardown(self) -> None:
        if not hasattr(self, "block"):
            return
        try:
            self.quiesce()
            self.judge()
        finally:
            transaction.set_rollback(True)
            self.block.__exit__(None, None, None)

    # --- what people and the broker do ---

    @rule(count=st.integers(1, 3), most=st.integers(1, 3))
    def submit(self, count: int, most: int) -> None:
        if Task.objects.count() < 12:
            tasks(self.project, count, self.person, max_attempts=most)

    @rule()
    def place(self) -> None:
        self.broker.cycle()

    @rule(n=any_number)
    def cancel(self, n: int) -> None:
        if found := list(Task.objects.values_list("id", flat=True)):
            cancel_tasks([found[n % len(found)]], "not wanted any more")

    @rule(n=any_number)
    def ask_back(self, n: int) -> None:
        live = list(Attempt.objects.filter(live=True, cancel=False).values_list("id", flat=True))
        if live:
            Attempt.objects.filter(id=live[n % len(live)]).update(withdraw=True)

    @rule(n=any_number)
    def lose_patience(self, n: int) -> None:
        if live := list(Attempt.objects.filter(live=True).values_list("id", flat=True)):
            give_up([live[n % len(live)]], LOST, kill=True)

    # --- what sites do ---

    @rule(which=st.integers(0, 1), n=any_number, to=any_number)
    def advance(self, which: int, n: int, to: int) -> None:
        journal = self.agents[which].journal
        if live := journal.live():
            attempt = live[n % len(live)]
            following = sorted(MOVES[journal.reports[attempt].state])
            journal.say(attempt, following[to % len(following)])

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        old = self.agents[which]
        self.agents[which] = Agent(old.site, old.journal, offers=old.offers, part=2)

    @rule(which=st.integers(0, 1))
    def start_a_copy(self, which: int) -> None:
        """Whichever of the two is heard first speaks for the site; the other is told to stop."""
        original = self.agents[which]
        copy = original.copy()
        for agent in (original, copy):
            try:
                agent.sync()
            except ProblemError as error:
                assert error.more["fence"] == "session"
                assert agent is copy

    @rule(which=st.integers(0, 1))
    def register_anew(self, which: int) -> None:
        site = self.agents[which].site
        live = Attempt.objects.filter(site=site, live=True).values_list("id", flat=True)
        give_up(list(live), REGISTERED_ANEW, kill=False)
        Attempt.objects.filter(site=site, cancel=True).update(cancel=False)
        Site.objects.filter(id=site.id).update(
            incarnation=None, generation=0, session="", number=0, acknowledged=0
        )
        self.agents[which] = Agent(site, Journal(f"journal-{ids.new():x}"), offers=status(), part=2)
        # What the old journal sent carries the old key, which is revoked.
        self.requests = [sent for sent in self.requests if sent[0].site != site]

    # --- the wire ---

    @rule(which=st.integers(0, 1))
    def send(self, which: int) -> None:
        self.requests.append((self.agents[which], self.agents[which].ask()))
        del self.requests[:-6]

    @precondition(lambda self: self.requests)
    @rule(n=any_number)
    def arrive(self, n: int) -> None:
        """A request arrives, perhaps not for the first time, perhaps after later ones."""
        agent, request = self.requests[n % len(self.requests)]
        try:
            reply = talk.sync(agent.site.id, request).reply
        except ProblemError as error:
            assert error.status == 409
            return
        self.replies.append((agent, reply))
        del self.replies[:-6]

    @precondition(lambda self: self.replies)
    @rule(n=any_number)
    def hear(self, n: int) -> None:
        agent, reply = self.replies[n % len(self.replies)]
        agent.listen(reply)

    # --- time travel ---

    @rule()
    def back_up(self) -> None:
        if self.copy is None:
            self.copy = transaction.savepoint()

    @precondition(lambda self: self.copy)
    @rule()
    def restore(self) -> None:
        """The hub comes back as it was, and says so by a new epoch. Registrations since are void."""
        assert self.copy is not None
        transaction.savepoint_rollback(self.copy)
        new_epoch()
        self.broker = Broker()
        self.ends = {}
        for n, agent in enumerate(self.agents):
            known = Site.objects.values_list("incarnation", flat=True).get(id=agent.site.id)
            if known != agent.journal.incarnation:
                self.register_anew(n)
        self.requests, self.replies = [], []

    # --- what holds ---

    @invariant()
    def no_task_has_two_attempts_in_force(self) -> None:
        if not hasattr(self, "block"):
            return
        in_force = Attempt.objects.filter(live=True, superseded=False)
        assert all(n == 1 for n in Counter(in_force.values_list("task", flat=True)).values())
        placed = Task.objects.filter(
            state__in=[TaskState.PLACED, TaskState.INITIALIZING, TaskState.RUNNING]
        )
        assert set(placed.values_list("id", flat=True)) <= set(
            in_force.values_list("task", flat=True)
        )

    @invariant()
    def no_end_is_taken_back(self) -> None:
        if not hasattr(self, "block"):
            return
        now = dict(Task.objects.values_list("id", "state"))
        for task, end in self.ends.items():
            assert now[task] == end
        self.ends = {t: s for t, s in now.items() if TaskState(s) in FINAL_TASK}

    @invariant()
    def the_flag_and_the_state_of_an_attempt_agree(self) -> None:
        if hasattr(self, "block"):
            for state, live in Attempt.objects.values_list("state", "live"):
                assert (AttemptState(state) in LIVE) == live

    def quiesce(self) -> None:
        """A good wire, and sites on which everything ends well."""
        for _ in range(60):
            self.broker.cycle()
            for agent in self.agents:
                agent.settle()
                for attempt in agent.journal.live():
                    state = agent.journal.reports[attempt].state
                    agent.advance(attempt, S.COMPLETE if state is not S.COMPLETE else state)
                agent.settle()
            if not Task.objects.exclude(state__in=[s.value for s in FINAL_TASK]).exists():
                break

    def judge(self) -> None:
        states = Counter(TaskState(s).name for s in Task.objects.values_list("state", flat=True))
        assert set(states) <= {s.name for s in FINAL_TASK}, states
        assert not Attempt.objects.filter(live=True).exists()
        accepted = Attempt.objects.filter(state__in=ACCEPTED, superseded=False)
        by_task = Counter(accepted.values_list("task", flat=True))
        assert all(n == 1 for n in by_task.values())
        for task in Task.objects.filter(state=TaskState.COMPLETE.value):
            assert by_task[task.id] == 1
        self.usage_is_booked()

    def usage_is_booked(self) -> None:
        """Of everything that a site measured and the hub still knows, once each."""
        measured = set()
        for agent in self.agents:
            ended = {a for a, r in agent.journal.reports.items() if r.state in FINAL and r.usage}
            measured |= {ids.read(a) for a in ended}
        known = set(Attempt.objects.values_list("id", flat=True))
        booked = set(UsageRecord.objects.values_list("attempt", flat=True))
        assert measured & known <= booked


@pytest.mark.django_db
def test_whatever_happens_on_the_wire_every_task_ends_once() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],  # a failure is printed as it was found
            database=None,
        ),
    )
