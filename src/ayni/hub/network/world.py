"""The network as the broker sees it: read from the database in a few queries, whatever is queued."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ayni.broker.room import service_guess
from ayni.broker.types import Group, Partition, Project, Settings, Site
from ayni.hub.network import bulk, failures, reads, waits
from ayni.hub.network.charters import Charters, Wanted, awaited
from ayni.hub.network.models import Site as SiteRow
from ayni.hub.network.usage import Past
from ayni.hub.tasks.ids import made_at
from ayni.hub.tasks.models import Group as GroupRow
from ayni.protocol import charters, volumes
from ayni.protocol.attempts import AttemptState
from ayni.protocol.charters import CharterStatus
from ayni.protocol.messages import MAX_LIVE, PartitionStatus, SiteStatus
from ayni.protocol.policy import (
    Policy,
    Reason,
    Who,
    Window,
    maintenance,
    next_window,
    not_now,
    refusal,
)  # fmt: skip
from ayni.tes.shape import Shape
from ayni.tes.size import Size, size_of

MOST_GROUPS = 1000  # judged in one cycle; the others have their turn in the next ones
#: Health notes that keep work away.
STOPPING = frozenset(
    {"controller", "disk", "executor", "munge", "sandbox", "shared", "state", "store"}
)
_RUNNING = frozenset({AttemptState.RUNNING.value, AttemptState.FINALIZING.value})


@dataclass(frozen=True, slots=True)
class Content:
    """What a group's row holds; never changes."""

    shape: Shape
    sites: frozenset[str] | None
    data: Mapping[str, int]
    datasets: tuple[tuple[str, str], ...]
    https_hosts: frozenset[str]


@dataclass(slots=True)
class World:
    """The arguments of one cycle, and how the broker's names map to rows."""

    now: float
    groups: list[Group]
    sites: list[Site]
    projects: list[Project]
    site_ids: dict[str, int]
    group_projects: dict[int, int]  # group → project
    charters: dict[int, Wanted]  # group → those that its tasks need; without those that need none
    oldest: dict[int, float]  # group → when its oldest queued task was made
    refused: frozenset[int]  # groups that some site's agent has refused


@dataclass(slots=True)
class _Load:
    """What live attempts use of a partition."""

    live: int = 0
    cores: int = 0
    memory: int = 0
    gpus: int = 0
    waiting_of: Counter[Size] = field(default_factory=Counter)


@dataclass(slots=True)
class _SiteFacts:
    """What a cycle reads of every site. The status, which is large, is read when it has changed."""

    id: int
    name: str
    member: str
    draining: bool
    banned: bool
    last_seen: datetime | str | None
    status_at: object
    status: SiteStatus | None = None

    @property
    def version(self) -> object:
        return self.id, self.name, self.status_at

    @property
    def policy(self) -> Policy | None:
        return self.status.policy if self.status else None

    @property
    def charters(self) -> list[CharterStatus] | None:
        return self.status.charters if self.status else None


@dataclass
class Loader:
    """Reads worlds. Keeps between cycles what is costly to make and does not change."""

    settings: Settings = field(default_factory=Settings)
    past: Past = field(init=False)
    _contents: dict[str, Content] = field(default_factory=dict)
    _statuses: dict[int, tuple[object, SiteStatus | None]] = field(default_factory=dict)
    _objections: dict[object, dict[str, Reason]] = field(default_factory=dict)
    _charters: Charters = field(default_factory=Charters)
    _versions: object = None
    _waits_since: dict[int, float] = field(default_factory=dict)
    _considered: Counter[int] = field(default_factory=Counter)
    _cycle: int = 0

    def __post_init__(self) -> None:
        self.past = Past(self.settings.usage_half_life)

    def load(self, now: float) -> World:
        """All groups that wait (at most MOST_GROUPS of them), all sites, the waiting projects."""
        queued = reads.queued()
        return self._load(now, queued, self._choose(queued, now))

    def load_groups(self, now: float, groups: Collection[int]) -> World:
        """The world with these groups alone, as if each had a task waiting: to explain."""
        return self._load(now, {}, list(groups))

    def hypothetical(self, now: float, project: int, email: str, content: Content) -> World:
        """The world with one group that is not stored: for a dry run."""
        world = self._load(now, {}, [])
        [row] = reads.projects([project])
        cards = reads.datasets(content.datasets)
        world.projects = [Project(row[1], 0.0, row[2])]
        facts = self._site_facts()
        agreed = self._charters.wanted([(project, content.shape)])
        world.groups = [self._group(0, content, row, email, 1, now, facts, {}, cards, agreed)]
        return world

    # --- parts ----------------------------------------------------------------------------

    def _choose(self, queued: Mapping[int, tuple[int, int]], now: float) -> list[int]:
        """Which groups to judge now: all, or in turn; and since when each has waited."""
        self._cycle += 1
        # What is queued before the first cycle waits since before a restart, as far as can be known since
        # it was made: a hold must not begin anew.
        since = {g: now if self._cycle > 1 else made_at(first) for g, (_, first) in queued.items()}
        self._waits_since = {g: self._waits_since.get(g, since[g]) for g in queued}
        if len(queued) <= MOST_GROUPS:
            return list(queued)
        last = self._considered
        chosen = sorted(queued, key=lambda g: (last[g], queued[g][1]))[:MOST_GROUPS]
        self._considered = Counter({g: last[g] for g in queued if last[g]})
        self._considered.update({g: self._cycle - last[g] for g in chosen})
        return chosen

    def _load(
        self, now: float, queued: Mapping[int, tuple[int, int]], chosen: Collection[int]
    ) -> World:
        self.past.update(now)
        live = reads.live()
        rows = reads.groups({*chosen, *(group for _, _, group, _, _ in live)})
        contents = self._known(rows)
        facts = self._site_facts()
        loads, promised = self._loads(live, rows, contents)
        lately = waits.lately(now)
        projects = {r[0]: r for r in reads.projects({rows[g].project for g in chosen if g in rows})}
        refusals, failed = reads.refusals(chosen, now), failures.counts(chosen)
        wanted = [g for g in chosen if g in rows and not projects[rows[g].project][5]]
        cards = reads.datasets(pair for g in wanted for pair in contents[g].datasets)
        pairs = {g: (rows[g].project, contents[g].shape) for g in wanted}
        agreed = self._charters.wanted(set(pairs.values()))
        groups = []
        for g in wanted:
            count = queued[g][0] if g in queued else 1
            row, email = projects[rows[g].project], rows[g].email
            since, refused = self._waits_since.get(g, now), refusals.get(g, {})
            groups.append(
                self._group(g, contents[g], row, email, count, since, facts, refused, cards, agreed)
            )
        groups = [replace(g, failed=failed[g.id]) if g.id in failed else g for g in groups]
        return World(
            now=now,
            groups=groups,
            sites=[self._site(f, loads, lately, now) for f in facts],
            projects=[
                Project(row[1], self.past.usage.get(p, 0.0) + promised.get(p, 0.0), row[2])
                for p, row in projects.items()
            ],
            site_ids={f.name: f.id for f in facts},
            group_projects={g: rows[g].project for g in wanted},
            charters={g: agreed[pair] for g, pair in pairs.items() if pair in agreed},
            oldest={g: made_at(first) for g, (_, first) in queued.items()},
            refused=frozenset(refusals),
        )

    def _group(
        self,
        id: int,
        content: Content,
        project: tuple[Any, ...],
        email: str,
        queued: int,
        since: float,
        facts: list[_SiteFacts],
        refused: dict[str, Reason],
        cards: set[tuple[str, str]],
        agreed: Mapping[tuple[int, Shape], Wanted],
    ) -> Group:
        number, name, _, member, institution, _ = project
        who = Who(name="", email=email, institution=institution, project=name, member=member)
        wanted = agreed.get((number, content.shape), {})
        objections = self._objecting(content, who, facts, wanted)
        gone = {
            site: Reason(code="dataset", message=f"has dataset {dataset} no more")
            for site, dataset in content.datasets
            if (site, dataset) not in cards
        }
        return Group(
            id=id,
            project=name,
            member=member,
            shape=content.shape,
            queued=queued,
            oldest=since,
            service=self.past.service.get(id),
            sites=content.sites,
            data=content.data,
            objections={**objections, **gone, **refused} if gone or refused else objections,
            awaiting=awaited(((f.name, f.charters) for f in facts), name, wanted) if wanted else {},
        )

    def _objecting(
        self, content: Content, who: Who, facts: list[_SiteFacts], wanted: Wanted
    ) -> dict[str, Reason]:
        """What the sites' policies say. Who it is matters where a policy names persons."""
        email = who.email if any(f.policy and f.policy.deny_persons for f in facts) else ""
        agreed = tuple(wanted.items())
        key = (content.shape, content.https_hosts, who.project, who.member, email, agreed)
        found = self._objections.get(key)
        if found is None:
            found = {}
            for f in facts:
                if f.policy is None:
                    continue
                no = refusal(f.policy, content.shape, who, https_hosts=content.https_hosts)
                no = no or _no_volumes(f, content.shape, who)
                no = no or charters.refusal(f.charters, who.project, wanted)
                if no is not None:
                    found[f.name] = no
            self._objections[key] = found
        return found

    def _site_facts(self) -> list[_SiteFacts]:
        facts = [_SiteFacts(*row) for row in reads.sites()]
        versions = {f.id: f.version for f in facts}
        known = self._statuses
        news = [f.id for f in facts if f.id not in known or known[f.id][0] != f.version]
        if news:
            rows = SiteRow.objects.filter(id__in=news).values_list("id", "status")
            for id, told in rows:
                status = None if told is None else SiteStatus.model_validate(told)
                known[id] = versions[id], status
        for f in facts:
            f.status = known[f.id][1]
        if versions != self._versions or len(self._objections) > 10 * MOST_GROUPS:
            self._versions, self._objections = versions, {}
        return facts

    def _site(
        self, facts: _SiteFacts, loads: Mapping[Any, _Load], lately: waits.ByPlace, now: float
    ) -> Site:
        status, seen = facts.status, bulk.read_moment(facts.last_seen)
        most = status.policy.max_tasks if status else None
        at = datetime.fromtimestamp(now, UTC)
        window = next_window(status.windows, now) if status else None
        partitions = status.partitions if status else ()
        known = {p.name: lately.get((facts.id, p.name), waits.Lately()) for p in partitions}
        return Site(
            name=facts.name,
            member=facts.member,
            partitions=tuple(
                _partition(p, loads.get((facts.id, p.name), _Load()), now) for p in partitions
            ),
            silent_for=now - seen.timestamp() if seen else 0.0,
            draining=bool(facts.draining) or (status is not None and status.draining is not None),
            banned=bool(facts.banned),
            closed=not_now(status.policy, at) if status else None,
            maintenance=None if window is None else maintenance(window, now),
            until=_until(window, now),
            max_tasks=MAX_LIVE if most is None else min(most, MAX_LIVE),
            ill=tuple(n.message for n in status.health if n.code in STOPPING) if status else (),
            waited={name: one.any_size for name, one in known.items()},
            foresight={p.name: waits.foresight(p, known[p.name], now) for p in partitions},
        )

    def _loads(
        self,
        live: list[tuple[Any, ...]],
        rows: Mapping[int, reads.Row],
        contents: Mapping[int, Content],
    ) -> tuple[dict[tuple[int, str], _Load], dict[int, float]]:
        """What is in use by site and partition, and what projects were promised, in core seconds."""
        loads: dict[tuple[int, str], _Load] = {}
        promised: dict[int, float] = {}
        for site, partition, group, state, count in live:
            shape = contents[group].shape
            load = loads.setdefault((site, partition), _Load())
            cores = shape.cores * shape.nodes
            load.live += count
            load.waiting_of[size_of(shape)] += 0 if state in _RUNNING else count
            load.cores += count * cores
            load.memory += count * shape.memory * shape.nodes
            load.gpus += count * shape.gpus * shape.nodes
            service = self.past.service.get(group) or service_guess(shape)
            project = rows[group].project
            promised[project] = promised.get(project, 0.0) + count * cores * service
        return loads, promised

    def _known(self, rows: Mapping[int, reads.Row]) -> dict[int, Content]:
        """The contents of groups; what has the same key has the same content."""
        if len(self._contents) > 10 * MOST_GROUPS:
            self._contents.clear()
        missing = [g for g, row in rows.items() if row.key not in self._contents]
        for part in bulk.parts(missing):
            fields = ("key", "shape", "sites", "data", "datasets", "https_hosts")
            for key, *values in GroupRow.objects.filter(id__in=part).values_list(*fields):
                self._contents[key] = _content(*values)
        return {g: self._contents[row.key] for g, row in rows.items()}


_shared = Loader()
_shared_lock = threading.Lock()


def look(load: Callable[[Loader], World]) -> World:
    """A world for those who only ask. They share a loader, so that usage is read once a process."""
    with _shared_lock:
        return load(_shared)


def _no_volumes(facts: _SiteFacts, shape: Shape, who: Who) -> Reason | None:
    offer = facts.status.volumes if facts.status else None
    return volumes.refusal(offer, who.project, shape.volumes)


def _content(shape: Any, sites: Any, data: Any, datasets: Any, hosts: Any) -> Content:
    return Content(
        shape=Shape.from_json(shape),
        sites=None if sites is None else frozenset(sites),
        data=data,
        datasets=tuple((site, name) for site, name in datasets),
        https_hosts=frozenset(hosts),
    )


def _partition(told: PartitionStatus, load: _Load, now: float) -> Partition:
    window = next_window(told.windows, now)
    return Partition(
        **told.model_dump(exclude={"windows", "starts"}),
        maintenance=None if window is None else maintenance(window, now),
        until=_until(window, now),
        used_cores=load.cores,
        used_memory=load.memory,
        used_gpus=load.gpus,
        live=load.live,
        waiting_of=load.waiting_of,
    )


def _until(window: Window | None, now: float) -> float:
    return float("inf") if window is None else max(0.0, window.begin - now)
