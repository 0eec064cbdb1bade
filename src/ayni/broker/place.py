"""One cycle of the broker: which groups' tasks go where, and what is thought of every site.

First the projects are ordered (`order`), then each group in its turn is given the best sites that
have room. The cost of a site is the expected time until the task's commands run there: its queue and
the bytes to move. Works by groups and sites; the number of tasks does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ayni.broker import reasons
from ayni.broker.eligible import Eligibility
from ayni.broker.foresight import Start
from ayni.broker.jury import Bits, Jury, Verdicts, members
from ayni.broker.order import Ask, serve
from ayni.broker.room import Room, rooms_of, service_guess
from ayni.broker.types import Decision, Group, Project, Settings, Site, SiteReason
from ayni.tes.size import Size, size_of

Key = tuple[object, ...]
RoomKey = tuple[str, str]  # site, partition


@dataclass(slots=True)
class Judged:
    """What all sites say to groups of one kind. Room only shrinks in a cycle: `full` stays so."""

    verdicts: Verdicts
    full: bool = False


@dataclass(slots=True)
class Hold:
    """A site is passed over for now, since `better` is expected to be free in time."""

    better: Room
    start_in: float  # there, seconds
    cost: float  # here, seconds


@dataclass(slots=True)
class Given:
    """Tasks of a group that a partition gets."""

    first: Start
    count: int = 0
    waits: float = 0.0  # seconds, of all of them together

    @property
    def start(self) -> Start:
        """The mean of them."""
        return Start(self.waits / self.count, self.first.by)


@dataclass(slots=True)
class Case:
    """One group in this cycle."""

    group: Group
    judged: Judged
    partitions: Bits  # that may have it now
    service: float  # seconds that one task runs
    given: dict[RoomKey, Given] = field(default_factory=dict)
    held: dict[str, Hold] = field(default_factory=dict)  # by site
    again: bool = False  # nobody else has room: also where an attempt has failed

    @property
    def left(self) -> int:
        return self.group.queued - sum(given.count for given in self.given.values())

    def given_to(self, site: Site) -> int:
        return sum(given.count for (name, _), given in self.given.items() if name == site.name)

    def first_at(self, site: Site) -> Start:
        """When the first of those given to a site would start."""
        firsts = [given.first for (name, _), given in self.given.items() if name == site.name]
        return min(firsts, key=lambda start: start.seconds)

    def unfailed(self, site: Site) -> int:
        """How many of its tasks the site may have that it has not just failed."""
        return self.group.queued - self.group.failed.get(site.name, 0) - self.given_to(site)

    def most(self, site: Site) -> int:
        return self.left if self.again else max(0, self.unfailed(site))


def place(
    groups: Sequence[Group],
    sites: Sequence[Site],
    projects: Sequence[Project],
    now: float,
    settings: Settings,
) -> list[Decision]:
    """Decide for every group. A group that is placed in part has several decisions.

    Every decision carries one reason for each site. The result depends on the arguments alone, not
    on their order.
    """
    cycle = _Cycle(sites, now, settings)
    cases = {g.id: cycle.case(g) for g in sorted(groups, key=lambda g: g.id) if g.queued > 0}
    asks = [
        Ask(
            id=c.group.id,
            project=c.group.project,
            oldest=c.group.oldest,
            left=c.group.queued,
            cost=c.group.shape.cores * c.group.shape.nodes * c.service,
        )
        for c in cases.values()
    ]
    serve(
        asks,
        {p.name: p for p in projects},
        lambda group, count: cycle.give(cases[group], count),
        most=settings.most_tasks,
        step=cycle.step(),
    )
    return [decision for case in cases.values() for decision in cycle.decide(case)]


class _Cycle:
    def __init__(self, sites: Sequence[Site], now: float, settings: Settings) -> None:
        self.sites = sorted(sites, key=lambda s: s.name)
        self.rooms = rooms_of(self.sites)
        self.numbered = list(self.rooms.values())  # as the jury numbers them
        self.now = now
        self.settings = settings
        self.jury = Jury(self.sites, settings)
        self._spent: dict[Size, Bits] = {}  # partitions without room for anything of that size
        self._judged: dict[Key, Judged] = {}
        self._waiting: dict[int, tuple[SiteReason, ...]] = {}  # by identity of verdicts
        self._told_full: dict[tuple[str, tuple[str, ...]], SiteReason] = {}
        self._told_possible: dict[tuple[object, ...], SiteReason] = {}

    def step(self) -> int:
        """Tasks in a turn: small beside the room there is, so that equals come out equal."""
        room = sum(max(0, r.cores) + r.partition.depth for r in self.numbered)
        return max(1, min(room, self.settings.most_tasks) // 64)

    def case(self, group: Group) -> Case:
        # Objections are compared by identity: the same mapping stands for the same objections.
        objections = id(group.objections) if group.objections else None
        key = (group.shape, group.sites, objections, frozenset(group.awaiting))
        judged = self._judged.get(key)
        if judged is None:
            judged = self._judged[key] = Judged(self.jury.judge(group))
        service = group.service or service_guess(group.shape)
        return Case(group, judged, self._accepted(group, judged.verdicts.partitions), service)

    def _accepted(self, group: Group, partitions: Bits) -> Bits:
        """Those of sites that have accepted the group's charters. Where none has, operators must be
        asked, and they are by a task that waits for them."""
        if not group.awaiting:
            return partitions
        accepted = 0
        for n in members(partitions):
            if self.numbered[n].site.name not in group.awaiting:
                accepted |= 1 << n
        return accepted or partitions

    # --- giving ---------------------------------------------------------------------------

    def give(self, case: Case, count: int) -> int:
        """Give up to `count` tasks to the best sites with room."""
        given = 0
        while given < count and (tier := self._best(case)):
            for room, share in _shares(case, tier, count - given):
                self._note(case, room, share)
                room.take(case.group.shape, share)
                given += share
        return given

    def _note(self, case: Case, room: Room, count: int) -> None:
        first = room.start(case.group.shape, case.service)
        last = room.start_in(case.group.shape, case.service, count - 1)
        given = case.given.setdefault((room.site.name, room.partition.name), Given(first))
        given.count += count
        given.waits += count * (first.seconds + last) / 2

    def _best(self, case: Case) -> list[Room]:
        """The rooms that would start a task soonest, equals together; none if it has to wait."""
        if case.judged.full:
            return []
        open_rooms = list(self._with_room(case))
        if not open_rooms:
            case.judged.full = True
            return []
        unfailed = [room for room in open_rooms if case.unfailed(room.site) > 0]
        case.again = not unfailed
        costs = [(self.cost(case, room), room) for room in unfailed or open_rooms]
        costs = list(self._worth_taking(case, costs))
        if not costs:
            return []
        best = min(cost for cost, _ in costs)
        tier = [room for cost, room in costs if cost <= best + self.settings.same_cost]
        return [r for r in tier if r.fits(case.group.shape)] or tier

    def _with_room(self, case: Case) -> Iterator[Room]:
        shape, size = case.group.shape, size_of(case.group.shape)
        spent = self._spent.get(size, 0)
        for n in members(case.partitions & ~spent):
            room = self.numbered[n]
            if room.of_shape(shape) > 0:
                yield room
            elif room.spent(size):
                spent |= 1 << n
        self._spent[size] = spent

    def cost(self, case: Case, room: Room, ahead: int = 0) -> float:
        """Seconds until one more task's commands would run there."""
        start = room.start_in(case.group.shape, case.service, ahead)
        return start + time_to_move(case.group, room.site)

    def _worth_taking(
        self, case: Case, costs: list[tuple[float, Room]]
    ) -> Iterator[tuple[float, Room]]:
        """Leave out sites for which a much better one, full now, is worth a bounded wait."""
        until_end = self.settings.hold_at_most - (self.now - case.group.oldest)
        better = self._better_but_full(case, until_end) if until_end > 0 else None
        for cost, room in costs:
            if better is not None and self._much_sooner(better[0], cost):
                case.held[room.site.name] = Hold(better[2], better[1], cost)
            else:
                yield cost, room

    def _better_but_full(self, case: Case, until_end: float) -> tuple[float, float, Room] | None:
        """Cost, start and room of the best full site that is expected to be free in time."""
        shape = case.group.shape
        best: tuple[float, float, Room] | None = None
        for n in members(case.partitions):
            room = self.numbered[n]
            if room.of_shape(shape) > 0:
                continue
            start = room.start_in(shape, case.service, case.left - 1)
            cost = self.cost(case, room, case.left - 1)
            if start <= until_end and (best is None or cost < best[0]):
                best = cost, start, room
        return best

    def _much_sooner(self, better: float, cost: float) -> bool:
        s = self.settings
        return better * s.hold_gain < cost and cost - better >= s.least_gain

    # --- explaining -----------------------------------------------------------------------

    def decide(self, case: Case) -> Iterator[Decision]:
        why = self._reasons(case)
        for (site, partition), given in sorted(case.given.items()):
            move = time_to_move(case.group, self.rooms[site, partition].site)
            yield Decision(
                case.group.id, site, partition, given.count, why, start=given.start, move=move
            )
        if case.left:
            hopeless = not case.given and case.judged.verdicts.hopeless
            yield Decision(case.group.id, None, None, case.left, why, hopeless)

    def _reasons(self, case: Case) -> tuple[SiteReason, ...]:
        verdicts = case.judged.verdicts
        plain = case.judged.full and not (case.given or case.held or case.group.awaiting)
        if plain and (known := self._waiting.get(id(verdicts))):
            return known
        why = tuple(
            eligibility.reason or self._reason(case, site, eligibility)
            for site, eligibility in zip(self.sites, verdicts.sites, strict=True)
        )
        if plain:
            self._waiting[id(verdicts)] = why
        return why

    def _reason(self, case: Case, site: Site, eligibility: Eligibility) -> SiteReason:
        shape = case.group.shape
        rooms = [self.rooms[site.name, p.name] for p in eligibility.partitions]
        channel = case.group.awaiting.get(site.name)
        count = case.given_to(site) if case.given else 0
        if channel and count:
            return reasons.asked(site, count, channel)
        if channel and case.partitions != case.judged.verdicts.partitions:
            return reasons.unaccepted(site, channel)
        if count:
            start = case.first_at(site)
            return reasons.chosen(site, count, start, time_to_move(case.group, site))
        if case.judged.full or all(room.of_shape(shape) == 0 for room in rooms):
            return self._full_site(site, eligibility)
        if hold := case.held.get(site.name):
            limit = self.settings.hold_at_most
            return reasons.held(site, hold.cost, hold.better.site.name, hold.start_in, limit)
        if case.unfailed(site) <= 0:
            return reasons.failed(site)
        starts = (room.start(shape, case.service) for room in rooms)
        start = min(starts, key=lambda start: start.seconds)
        return self._possible_site(site, start, bytes_to_move(case.group, site), bool(case.given))

    def _possible_site(self, site: Site, start: Start, move: int, chosen: bool) -> SiteReason:
        key = site.name, start, move, chosen
        told = self._told_possible.get(key)
        if told is None:
            told = reasons.possible(site, start, move, chosen=chosen)
            self._told_possible[key] = told
        return told

    def _full_site(self, site: Site, eligibility: Eligibility) -> SiteReason:
        """Most groups are told the same of a full site: once is enough."""
        names = tuple(p.name for p in eligibility.partitions)
        told = self._told_full.get((site.name, names))
        if told is None:
            told = reasons.full(site, [self.rooms[site.name, name] for name in names])
            self._told_full[site.name, names] = told
        return told


def bytes_to_move(group: Group, site: Site) -> int:
    """Bytes of the group's inputs that are not at the site."""
    return sum(group.data.values()) - group.data.get(site.name, 0)


def time_to_move(group: Group, site: Site) -> float:
    """Seconds until these have come."""
    return bytes_to_move(group, site) / site.bandwidth


def _shares(case: Case, tier: list[Room], count: int) -> Iterator[tuple[Room, int]]:
    """Divide `count` tasks over equally good rooms by what each can take (largest remainder)."""
    shape = case.group.shape
    starts_now = any(room.fits(shape) for room in tier)
    caps = []
    for room in tier:
        cap = min(room.of_shape(shape), case.most(room.site))
        caps.append(min(cap, room.fits(shape)) if starts_now else cap)
    total = sum(caps)
    count = min(count, total)
    shares = [count * cap // total for cap in caps]
    by_remainder = sorted(range(len(tier)), key=lambda i: (-(count * caps[i] % total), i))
    for i in by_remainder[: count - sum(shares)]:
        shares[i] += 1
    for room, share in zip(tier, shares, strict=True):
        # Partitions of one site share what its policy leaves, and what it has not failed.
        if share := min(share, room.of_shape(shape), case.most(room.site)):
            yield room, share
