"""Whether a site may have a group's tasks at all, and in which of its partitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ayni.broker.types import Group, Partition, Settings, Site, SiteReason, Verdict
from ayni.tes.shape import Shape
from ayni.tes.units import show_amount

#: What passes by itself or by the site's operator: a task may wait for it. Anything else is final
#: as things stand, and a group that has nothing else from any site is hopeless.
PASSING = frozenset({"silent", "draining", "hours", "ill", "never", "busy", "maintenance"})


@dataclass(frozen=True, slots=True)
class Eligibility:
    """One site's answer: the partitions that fit, or the reason why there are none."""

    partitions: tuple[Partition, ...] = ()
    reason: SiteReason | None = None

    @property
    def final(self) -> bool:
        return self.reason is not None and self.reason.code not in PASSING


def judge(site: Site, group: Group, settings: Settings) -> Eligibility:
    """Judge one site for one group, room apart. What is final is named before what passes."""
    fitting = _fitting(site, group.shape)
    no = unwanted(site, group) or (None if fitting else unfit(site, group.shape))
    if no := no or unwell(site, settings):
        return Eligibility(reason=no)
    in_time = tuple(p for p in fitting if group.shape.walltime <= until(site, p))
    return Eligibility(in_time) if in_time else Eligibility(reason=in_the_way(site, fitting))


def _no(site: Site, code: str, message: str, **parameters: object) -> SiteReason:
    return SiteReason(site.name, Verdict.INELIGIBLE, code, message, parameters)


def unwanted(site: Site, group: Group) -> SiteReason | None:
    """The task, its data or the site's policy rule the site out."""
    shape = group.shape
    if shape.site is not None and shape.site != site.name:
        return _no(site, "site", f"the task asks for site {shape.site}", wanted=shape.site)
    if shape.zones and not {site.name, site.member} & set(shape.zones):
        zones = ", ".join(shape.zones)
        return _no(site, "zone", f"is in none of the zones asked for: {zones}", zones=zones)
    if group.sites is not None and site.name not in group.sites:
        places = ", ".join(sorted(group.sites)) or "no site"
        return _no(site, "residency", f"the data must stay at {places}", sites=places)
    if site.banned:
        return banned(site)
    if objection := group.objections.get(site.name):
        return _no(site, objection.code, objection.message, **objection.parameters)
    return None


def banned(site: Site) -> SiteReason:
    return _no(site, "banned", "takes no part in the network now")


#: What tasks ask and partitions offer, in the order in which it is named: of a node, of time, in all.
MEASURES = ("cores", "memory", "gpus", "nodes", "walltime", "capacity", "memory", "gpus")
_UNIT = {
    "cores": "cores a node",
    "memory": "of memory a node",
    "gpus": "GPUs a node",
    "nodes": "nodes",
    "walltime": "of walltime at most",
    "capacity": "cores in all",
}


def asked(shape: Shape) -> tuple[int, ...]:
    """What a task asks, by measure."""
    s, n = shape, shape.nodes
    return s.cores, s.memory, s.gpus, n, s.walltime, s.cores * n, s.memory * n, s.gpus * n


def offered(partition: Partition) -> tuple[int, ...]:
    """What a partition offers, by measure."""
    p = partition
    a_node = p.cores_per_node, p.memory_per_node, p.gpus_per_node
    return *a_node, p.nodes, p.max_walltime, p.cores, p.memory, p.gpus


def unfit(site: Site, shape: Shape) -> SiteReason:
    """Why no partition is large enough: the reason of the one that comes nearest."""
    if not site.partitions:
        return _no(site, "never", "has not said yet what it offers")
    offers = [offered(p) for p in site.partitions if shape.partition in (None, p.name)]
    if not offers:
        return _no(site, "partition", f"has no partition {shape.partition}", wanted=shape.partition)
    wanted = asked(shape)
    measure, offer = nearest(wanted, offers)
    return too_small(site, measure, wanted[measure], offer)


def nearest(wanted: Sequence[int], offers: Iterable[Sequence[int]]) -> tuple[int, int]:
    """The measure of which the nearest of too small partitions offers too little, and its offer."""
    best: tuple[tuple[float, str], int, int] | None = None
    for offer in offers:
        measure = _misfit(wanted, offer)
        assert measure is not None
        near = offer[measure] / wanted[measure], MEASURES[measure]
        if best is None or near > best[0]:
            best = near, measure, offer[measure]
    assert best is not None
    return best[1:]


def too_small(site: Site, measure: int, wanted: int, offer: int) -> SiteReason:
    code = MEASURES[measure]
    message = f"offers {show_amount(code, offer)} {_UNIT[code]}, {show_amount(code, wanted)} asked"
    return _no(site, code, message, wanted=wanted, offered=offer)


def _misfit(wanted: Sequence[int], offer: Sequence[int]) -> int | None:
    """The first measure that is too small; None if the task fits."""
    for measure, value in enumerate(wanted):
        if value > offer[measure]:
            return measure
    return None


def _fitting(site: Site, shape: Shape) -> tuple[Partition, ...]:
    wanted = asked(shape)
    return tuple(
        p
        for p in site.partitions
        if shape.partition in (None, p.name) and _misfit(wanted, offered(p)) is None
    )


def until(site: Site, partition: Partition) -> float:
    """Seconds until maintenance: a task must have ended by then."""
    return min(site.until, partition.until)


def in_the_way(site: Site, partitions: Iterable[Partition]) -> SiteReason:
    """Maintenance that begins too early: of the partition, of some, that has the most time left."""
    latest = max(partitions, key=lambda p: until(site, p))
    no = site.maintenance if site.until <= latest.until else latest.maintenance
    assert no is not None
    return _no(site, no.code, no.message, **no.parameters)


def unwell(site: Site, settings: Settings) -> SiteReason | None:
    """What keeps work away for now."""
    if site.silent_for > settings.silent_after:
        seconds = round(site.silent_for)
        return _no(site, "silent", f"has not been heard for {seconds} s", seconds=seconds)
    if site.draining:
        return _no(site, "draining", "takes no new tasks: its operator is draining it")
    if site.ill:
        return _no(site, "ill", f"reports a fault: {site.ill[0]}", faults=list(site.ill))
    if site.closed is not None:
        return _no(site, "hours", site.closed.message, **site.closed.parameters)
    return None
