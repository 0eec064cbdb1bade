"""A simulated hub: the real broker and the hub's half of the real protocol, over plain memory.

What stands in for the database is as simple as can be. Three formulas of the hub's are repeated here,
since their home (`ayni.hub.network.usage`, `world`) is bound to the database: how usage decays, how
the run time of a group's tasks is learnt, and how long tasks waited at a site lately.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, fields

from ayni.broker.order import decayed
from ayni.broker.place import place
from ayni.broker.recall import recall
from ayni.broker.room import service_guess
from ayni.broker.types import Group, Partition, Project, Settings, Site, Waiting
from ayni.protocol.attempts import FINAL, AttemptState
from ayni.protocol.exchange import Known, SiteMemory, Taken, hear, missing, take
from ayni.protocol.messages import (
    MAX_ASSIGNMENTS,
    Assignment,
    Report,
    SiteStatus,
    SyncReply,
    SyncRequest,
)
from ayni.protocol.policy import Who
from ayni.tes.shape import Shape
from ayni.tes.size import Size, size_of
from bench.simulate.profiles import SiteSpec
from bench.simulate.workload import Workload

WEIGHT = 0.2  # of the newest value in a moving mean
WAIT_HALF_LIFE = 600.0
#: What a partition says of itself that the broker takes as it is.
OFFERED = {f.name for f in fields(Partition)}
STARTED = frozenset({AttemptState.RUNNING, AttemptState.FINALIZING})


@dataclass(slots=True)
class Line:
    """A group, and its tasks that wait at the hub."""

    id: int
    project: int
    member: str
    shape: Shape
    tasks: deque[int] = field(default_factory=deque)
    since: float = 0.0
    service: float | None = None
    told: Group | None = None  # as the broker was given it last

    def group(self, queued: int) -> Group:
        told = self.told
        if (
            told is None
            or told.queued != queued
            or told.oldest != self.since
            or told.service != self.service
        ):
            told = self.told = Group(
                self.id,
                str(self.project),
                self.member,
                self.shape,
                queued,
                self.since,
                self.service,
            )
        return told

    @property
    def need(self) -> tuple[int, int, int]:
        s = self.shape
        return s.cores * s.nodes, s.memory * s.nodes, s.gpus * s.nodes


@dataclass(slots=True)
class Attempt:
    task: int
    line: Line
    partition: str
    assigned: float
    promised: float  # core seconds expected of it
    known: Known
    withdraw: bool = False


@dataclass(slots=True)
class Load:
    """What live attempts use of a partition."""

    live: int = 0
    cores: int = 0
    memory: int = 0
    gpus: int = 0
    waiting_of: Counter[Size] = field(default_factory=Counter)

    def add(self, need: tuple[int, int, int], sign: int) -> None:
        self.live += sign
        self.cores += sign * need[0]
        self.memory += sign * need[1]
        self.gpus += sign * need[2]


class Desk:
    """What the hub has of one site."""

    def __init__(self, spec: SiteSpec) -> None:
        self.spec = spec
        self.memory = SiteMemory()
        self.status: SiteStatus | None = None
        self.heard_at = 0.0
        self.attempts: dict[str, Attempt] = {}  # that live
        self.waiting: dict[str, Attempt] = {}  # of these, not yet running
        self.unaccepted: dict[str, Attempt] = {}
        self.asked_back: dict[str, Attempt] = {}
        self.finals: deque[tuple[int, str]] = deque()  # not known to be acknowledged
        self.ended: dict[str, Known] = {}
        self.loads: dict[str, Load] = {}
        self.waited: dict[str, float] = {}
        self.told: dict[str, Partition] = {}

    @property
    def has_news(self) -> bool:
        return bool(self.unaccepted or self.asked_back)

    def site(self, silent_for: float) -> Site:
        """As the broker is given it."""
        status = self.status
        partitions = []
        for p in status.partitions if status else ():
            told = self.told.get(p.name)
            if told is None:
                load = self.loads.setdefault(p.name, Load())
                told = self.told[p.name] = Partition(
                    **p.model_dump(include=OFFERED),
                    used_cores=load.cores,
                    used_memory=load.memory,
                    used_gpus=load.gpus,
                    live=load.live,
                    waiting_of=+load.waiting_of,
                )
            partitions.append(told)
        return Site(
            self.spec.name,
            self.spec.member,
            tuple(partitions),
            silent_for=silent_for,
            waited=dict(self.waited),
        )


class Hub:
    def __init__(self, workload: Workload, sites: list[SiteSpec], settings: Settings) -> None:
        self.settings = settings
        self.desks = {s.name: Desk(s) for s in sites}
        self.shapes = [
            Shape(("simulated",), s.cores, s.memory, 0, s.gpus, s.nodes, walltime=s.limit, partition=s.kind)
            for s in workload.shapes
        ]  # fmt: skip
        self.members = [sites[home].member for home in workload.homes]
        self.lines: dict[tuple[int, int], Line] = {}
        self.by_id: list[Line] = []
        self.queued: dict[int, Line] = {}  # lines with tasks that wait here
        self.usage = [0.0] * len(workload.homes)  # core seconds, decayed
        self.promised = [0.0] * len(workload.homes)
        self.at = 0.0
        self.tries: Counter[int] = Counter()
        self.notes: Counter[str] = Counter()
        self.done = 0

    # --- tasks come ---------------------------------------------------------------------------

    def submit(self, task: int, project: int, shape: int, now: float) -> None:
        line = self.lines.get((project, shape))
        if line is None:
            member = self.members[project]
            line = Line(len(self.by_id), project, member, self.shapes[shape])
            self.lines[project, shape] = line
            self.by_id.append(line)
        self._queue(line, task, now)

    def _queue(self, line: Line, task: int, now: float) -> None:
        if not line.tasks:
            line.since = now
            self.queued[line.id] = line
        line.tasks.append(task)

    # --- the broker ---------------------------------------------------------------------------

    def place(self, now: float) -> int:
        """One cycle of the broker: how many tasks were given to sites."""
        if not self.queued:
            return 0
        self._age(now)
        groups = [line.group(len(line.tasks)) for line in self.queued.values()]
        wanting = {line.project for line in self.queued.values()}
        projects = [Project(str(p), self.usage[p] + self.promised[p]) for p in wanting]
        decisions = place(groups, self._sites(now), projects, now, self.settings)
        placed = 0
        for d in decisions:
            if d.site is not None and d.partition is not None:
                placed += d.count
                self._attempt(self.by_id[d.group], d.site, d.partition, d.count, now)
            elif d.hopeless:
                raise RuntimeError("a group that fits somewhere is called hopeless")
        self.notes["cycles"] += 1
        return placed

    def recall(self, now: float) -> None:
        """Ask back what waits at one site while another could start it."""
        counts: dict[tuple[int, str, str], list[float]] = {}
        for name, desk in self.desks.items():
            for a in desk.waiting.values():
                if not a.withdraw:
                    counts.setdefault((a.line.id, name, a.partition), []).append(a.assigned)
        if not counts:
            return
        self._age(now)
        waiting = [
            Waiting(self.by_id[line].group(1), site, partition, len(since), min(since))
            for (line, site, partition), since in counts.items()
        ]  # fmt: skip
        for wish in recall(waiting, self._sites(now), now, self.settings):
            self._ask_back(self.desks[wish.site], wish.group, wish.partition, wish.count)

    def _ask_back(self, desk: Desk, line: int, partition: str, count: int) -> None:
        newest = [
            (id, a)
            for id, a in reversed(desk.waiting.items())
            if a.line.id == line and a.partition == partition and not a.withdraw
        ][:count]
        for id, attempt in newest:
            attempt.withdraw = True
            desk.asked_back[id] = attempt
            self.notes["recalls"] += 1

    def _sites(self, now: float) -> list[Site]:
        return [desk.site(now - desk.heard_at) for desk in self.desks.values()]

    def _age(self, now: float) -> None:
        """Usage and waits count for less as time passes."""
        if now <= self.at:
            return
        factor = decayed(1.0, now - self.at, self.settings.usage_half_life)
        self.usage = [used * factor for used in self.usage]
        factor = decayed(1.0, now - self.at, WAIT_HALF_LIFE)
        for desk in self.desks.values():
            desk.waited = {p: w for p, wait in desk.waited.items() if (w := wait * factor) > 0.01}
        self.at = now

    def _attempt(self, line: Line, site: str, partition: str, count: int, now: float) -> None:
        desk = self.desks[site]
        cores, *_ = line.need
        promised = cores * (line.service or service_guess(line.shape))
        for _ in range(count):
            task = line.tasks.popleft()
            self.tries[task] += 1
            known = Known(AttemptState.ASSIGNED, 0)
            made = Attempt(task, line, partition, now, promised, known)
            id = f"{task}.{self.tries[task]}"
            desk.attempts[id] = desk.waiting[id] = desk.unaccepted[id] = made
            load = desk.loads[partition]
            load.add(line.need, 1)
            load.waiting_of[size_of(line.shape)] += 1
        desk.told.pop(partition, None)
        self.promised[line.project] += promised * count
        if not line.tasks:
            del self.queued[line.id]

    # --- the exchange -------------------------------------------------------------------------

    def hear(self, desk: Desk, request: SyncRequest, now: float) -> None:
        heard = hear(desk.memory, request)
        if heard.fence or heard.rewound:
            raise RuntimeError(f"site {desk.spec.name} is not understood: {heard}")
        desk.memory, desk.heard_at = heard.memory, now
        if heard.fresh and request.status is not None:
            desk.status, desk.told = request.status, {}
        for report in request.reports:
            self._take(desk, report, now)
        while desk.finals and desk.finals[0][0] <= request.since:
            del desk.ended[desk.finals.popleft()[1]]
        if request.inventory is not None:
            live = {id: a.known.state for id, a in desk.attempts.items()}
            if missing(heard, request, live):
                raise RuntimeError(f"site {desk.spec.name} has lost attempts")

    def _take(self, desk: Desk, report: Report, now: float) -> None:
        attempt = desk.attempts.get(report.attempt)
        known = attempt.known if attempt else desk.ended[report.attempt]
        taken = take(known, report)
        if taken is Taken.STALE:
            self.notes["repeated reports"] += 1
        elif taken is Taken.APPLY and attempt:
            self._apply(desk, report, attempt, now)
        else:
            raise RuntimeError(f"report {report} on {known} is {taken}")

    def _apply(self, desk: Desk, report: Report, attempt: Attempt, now: float) -> None:
        load = desk.loads[attempt.partition]
        began = report.state in STARTED or report.state in FINAL
        if began and report.attempt in desk.waiting:
            del desk.waiting[report.attempt]
            load.waiting_of[size_of(attempt.line.shape)] -= 1
            desk.asked_back.pop(report.attempt, None)
        desk.unaccepted.pop(report.attempt, None)
        desk.told.pop(attempt.partition, None)
        attempt.known = Known(report.state, report.seq)
        if report.state not in FINAL:
            return
        del desk.attempts[report.attempt]
        desk.ended[report.attempt] = attempt.known
        desk.finals.append((report.seq, report.attempt))
        line = attempt.line
        load.add(line.need, -1)
        self.promised[line.project] -= attempt.promised
        if report.state is AttemptState.WITHDRAWN:
            self.notes["withdrawn"] += 1
            self._queue(line, attempt.task, now)
        elif report.usage:
            self._book(desk, attempt, report.usage.wall, report.usage.queue_wait, now)

    def _book(
        self, desk: Desk, attempt: Attempt, wall: float, queue_wait: float, now: float
    ) -> None:
        self._age(now)
        line = attempt.line
        self.done += 1
        self.usage[line.project] += line.need[0] * wall
        line.service = _mean(line.service, wall)
        before = desk.waited.get(attempt.partition)
        desk.waited[attempt.partition] = _mean(before, queue_wait)

    def reply(self, desk: Desk, request: SyncRequest) -> SyncReply:
        """All that the site still has to do."""
        unaccepted = list(desk.unaccepted.items())[:MAX_ASSIGNMENTS]
        return SyncReply(
            epoch="simulated",
            number=request.number,
            acknowledged=desk.memory.acknowledged,
            assignments=[self._assignment(id, a) for id, a in unaccepted],
            withdrawals=list(desk.asked_back),
            want_status=desk.status is None,
        )

    def _assignment(self, id: str, attempt: Attempt) -> Assignment:
        line = attempt.line
        return Assignment(
            attempt=id,
            task_id=str(attempt.task),
            number=self.tries[attempt.task],
            task={},
            shape={},
            partition=attempt.partition,
            who=Who(
                name="", email="", institution="", project=str(line.project), member=line.member
            ),
        )


def _mean(before: float | None, now: float) -> float:
    return now if before is None else before + WEIGHT * (now - before)
