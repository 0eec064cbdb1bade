"""Whether a site may have a group's tasks at all, and in which of its partitions."""

from __future__ import annotations

from dataclasses import dataclass

from ayni.broker.types import Group, Partition, Settings, Site, SiteReason, Verdict
from ayni.tes.shape import Shape

#: What passes by itself or by the site's operator: a task may wait for it. Anything else is final
#: as things stand, and a group that has nothing else from any site is hopeless.
PASSING = frozenset({"silent", "draining", "hours", "ill", "never", "busy"})


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
    no = _unwanted(site, group) or (None if fitting else _unfit(site, group.shape))
    if no := no or _unwell(site, settings):
        return Eligibility(reason=no)
    return Eligibility(partitions=fitting)


def _no(site: Site, code: str, message: str, **parameters: object) -> SiteReason:
    return SiteReason(site.name, Verdict.INELIGIBLE, code, message, parameters)


def _unwanted(site: Site, group: Group) -> SiteReason | None:
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
        return _no(site, "banned", "takes no part in the network now")
    if objection := group.objections.get(site.name):
        return _no(site, objection.code, objection.message, **objection.parameters)
    return None


def _unfit(site: Site, shape: Shape) -> SiteReason:
    """Why no partition is large enough: the reason of the one that comes nearest."""
    if not site.partitions:
        return _no(site, "never", "has not said yet what it offers")
    asked = [p for p in site.partitions if shape.partition in (None, p.name)]
    if not asked:
        return _no(site, "partition", f"has no partition {shape.partition}", wanted=shape.partition)
    misfits = [m for p in asked if (m := _misfit(p, shape)) is not None]
    code, wanted, offered = max(misfits, key=lambda m: (m[2] / m[1], m[0]))
    return _no(
        site,
        code,
        f"offers {offered} {_UNIT[code]}, {wanted} asked",
        wanted=wanted,
        offered=offered,
    )


_UNIT = {
    "cores": "cores a node",
    "memory": "bytes of memory a node",
    "gpus": "GPUs a node",
    "nodes": "nodes",
    "walltime": "seconds of walltime",
    "capacity": "cores in all",
}


def _misfit(partition: Partition, shape: Shape) -> tuple[str, int, int] | None:
    """What is too small, how much was asked and how much there is; None if the task fits."""
    p, nodes = partition, shape.nodes
    if (
        shape.cores <= p.cores_per_node
        and shape.memory <= p.memory_per_node
        and shape.gpus <= p.gpus_per_node
        and nodes <= p.nodes
        and shape.walltime <= p.max_walltime
        and shape.cores * nodes <= p.cores
        and shape.memory * nodes <= p.memory
        and shape.gpus * nodes <= p.gpus
    ):
        return None
    pairs = (
        ("cores", shape.cores, p.cores_per_node),
        ("memory", shape.memory, p.memory_per_node),
        ("gpus", shape.gpus, p.gpus_per_node),
        ("nodes", nodes, p.nodes),
        ("walltime", shape.walltime, p.max_walltime),
        ("capacity", shape.cores * nodes, p.cores),
        ("memory", shape.memory * nodes, p.memory),
        ("gpus", shape.gpus * nodes, p.gpus),
    )
    return next(pair for pair in pairs if pair[1] > pair[2])


def _fitting(site: Site, shape: Shape) -> tuple[Partition, ...]:
    return tuple(
        p
        for p in site.partitions
        if shape.partition in (None, p.name) and _misfit(p, shape) is None
    )


def _unwell(site: Site, settings: Settings) -> SiteReason | None:
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
