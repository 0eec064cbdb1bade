"""A site's agent without a site: a journal in memory, and the agent's half of the exchange."""

from __future__ import annotations

import copy
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from ayni.hub.calls.models import Project
from ayni.hub.network import talk
from ayni.hub.network.models import Site
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Group, Task, TaskBody
from ayni.protocol.attempts import FINAL, LIVE, MOVES, WITHDRAWABLE, AttemptState
from ayni.protocol.exchange import AgentSide
from ayni.protocol.messages import (
    PartitionStatus,
    Report,
    SiteStatus,
    SyncReply,
    SyncRequest,
    UsageReport,
)
from ayni.protocol.policy import Policy
from ayni.tes.shape import Shape
from tests.hub import factories

S = AttemptState


def partition(name: str = "main", cores: int = 4, **more: Any) -> PartitionStatus:
    fields: dict[str, Any] = {
        "cores_per_node": cores,
        "memory_per_node": 64 << 30,
        "max_walltime": 86400,
        "cores": cores,
        "memory": 64 << 30,
        "depth": 2,
    }
    return PartitionStatus(name=name, **{**fields, **more})


def status(*partitions: PartitionStatus, **more: Any) -> SiteStatus:
    policy = more.pop("policy", Policy())
    return SiteStatus(
        agent_version="1", policy=policy, partitions=list(partitions) or [partition()], **more
    )


@dataclass
class Journal:
    """What an agent has on disk."""

    incarnation: str
    reports: dict[str, Report] = field(default_factory=dict)
    seq: int = 0
    generation: int = 0
    acknowledged: int = 0
    epoch: str | None = None

    def say(self, attempt: str, state: AttemptState, **more: Any) -> None:
        self.seq += 1
        now = time.time()
        if state in FINAL and state is not S.REFUSED:
            more.setdefault(
                "usage", UsageReport(job="j", cores=1, wall=2.0, cpu=1.0, peak_memory=1)
            )
            more.setdefault("ended", now)
        before = self.reports.get(attempt) or Report(
            attempt=attempt, seq=0, state=state, accepted=now
        )
        if state is S.RUNNING:
            more.setdefault("started", now)
        self.reports[attempt] = before.model_copy(update={"seq": self.seq, "state": state, **more})

    def live(self) -> list[str]:
        return [a for a, r in self.reports.items() if r.state in LIVE]


class Agent:
    """A process with a journal. `part`: reports in one request."""

    def __init__(
        self,
        site: Site,
        journal: Journal | None = None,
        *,
        offers: SiteStatus | None = None,
        part: int = 1000,
    ) -> None:
        self.site = site
        self.journal = journal or Journal(secrets.token_hex(8))
        self.journal.generation += 1
        self.part = part
        self.offers = offers or status()
        self.side = AgentSide(
            self.journal.incarnation,
            self.journal.generation,
            secrets.token_hex(4),
            epoch=self.journal.epoch,
            acknowledged=self.journal.acknowledged,
        )
        self.assigned: dict[str, Any] = {}

    def copy(self) -> Agent:
        """The same state folder, started elsewhere as well."""
        journal = copy.deepcopy(self.journal)
        journal.generation -= 1
        return Agent(self.site, journal, offers=self.offers, part=self.part)

    def ask(self, wait: float = 0.0) -> SyncRequest:
        after = self.side.acknowledged
        changed = sorted(
            (r for r in self.journal.reports.values() if r.seq > after), key=lambda r: r.seq
        )
        return self.side.request(
            changed[: self.part],
            self.journal.seq,
            complete=len(changed) <= self.part,
            status=lambda: self.offers,
            inventory=self.journal.live,
            wait=wait,
        )

    def listen(self, reply: SyncReply) -> None:
        if not self.side.hear(reply):
            return
        journal = self.journal
        for a in reply.assignments:
            if a.attempt not in journal.reports:
                self.assigned[a.attempt] = a
                journal.say(a.attempt, S.ACCEPTED)
        for attempt in reply.withdrawals:
            if attempt in journal.reports and journal.reports[attempt].state in WITHDRAWABLE:
                journal.say(attempt, S.WITHDRAWN)
        for attempt in (*reply.cancels, *reply.unknown):
            if attempt in journal.live():
                journal.say(attempt, S.CANCELED)
        journal.acknowledged, journal.epoch = self.side.acknowledged, self.side.epoch

    def sync(self) -> SyncReply:
        """One exchange over a good wire."""
        reply = talk.sync(self.site.id, self.ask()).reply
        self.listen(reply)
        return reply

    def settle(self) -> SyncReply:
        """Exchange until both sides have said all they know."""
        reply = self.sync()
        for _ in range(50):
            if self.side.acknowledged == self.journal.seq and not self.side.inventory_due:
                break
            reply = self.sync()
        return reply

    def advance(self, attempt: str, to: AttemptState, **more: Any) -> None:
        """Take an attempt to a state by the shortest way that the table of moves allows."""
        way = _way(self.journal.reports[attempt].state, to)
        for state in way:
            self.journal.say(attempt, state, **(more if state is to else {}))


def _way(start: AttemptState, to: AttemptState) -> list[AttemptState]:
    ways = [[start]]
    while ways:
        way = ways.pop(0)
        if way[-1] is to:
            return way[1:]
        ways += [[*way, s] for s in sorted(MOVES[way[-1]]) if s not in way]
    raise AssertionError(f"{to} does not follow {start}")


_DOCUMENT = '{"executors": [{"image": "host", "command": ["true"]}]}'


def tasks(project: Project, count: int = 1, person: Any = None, **wants: Any) -> list[Task]:
    """Queued tasks of one group, as `tasks.create` would make them."""
    shape = Shape(images=("host",), **{k: v for k, v in wants.items() if k != "group"})
    group_fields = wants.get("group", {})
    shape = Shape(images=("host",), **{k: v for k, v in wants.items() if k != "group"})
    key = secrets.token_hex(32) if group_fields else f"{hash(shape):x}"
    someone = person or factories.person()
    group, _ = Group.objects.get_or_create(
        project=project,
        key=f"{key[:32]}-{person.pk if person else 0}",
        defaults={"shape": shape.to_json(), "person": someone, **group_fields},
    )
    first = ids.new(count)
    made = [
        Task(
            id=first + n,
            project=project,
            person=someone,
            group=group,
            state=TaskState.QUEUED.value,
            created=timezone.now(),
        )
        for n in range(count)
    ]
    Task.objects.bulk_create(made)
    TaskBody.objects.bulk_create(TaskBody(task=t, document=_DOCUMENT) for t in made)
    return made


def state(task: Task) -> TaskState:
    return TaskState(Task.objects.values_list("state", flat=True).get(id=task.id))
