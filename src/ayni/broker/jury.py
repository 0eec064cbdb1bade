"""Judging a group at all sites at once: what `eligible.judge` says of each, in a few microseconds.

Which partitions are large enough is read from tables: for each measure the partitions' limits in order,
and with each limit the set of those that offer as much. A set of partitions is an integer, a bit to each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ayni.broker.eligible import (
    Eligibility,
    asked,
    banned,
    in_the_way,
    nearest,
    offered,
    unfit,
    until,
    unwanted,
    unwell,
)
from ayni.broker.types import Group, Settings, Site
from ayni.tes.shape import Shape

Bits = int


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What all sites say to a group, in their order, and which partitions may have it."""

    sites: tuple[Eligibility, ...]
    partitions: Bits

    @property
    def hopeless(self) -> bool:
        """No site would ever take it."""
        return not self.partitions and all(e.final for e in self.sites)


def members(bits: Bits) -> Iterator[int]:
    """The numbers in a set, in order."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


class Jury:
    """Partitions are numbered through all sites, in their order. Answers that recur are kept."""

    def __init__(self, sites: Sequence[Site], settings: Settings) -> None:
        self.benches: list[_Bench] = []
        for site in sites:
            first = self.benches[-1].end if self.benches else 0
            self.benches.append(_Bench(site, first, settings))
        partitions = [p for site in sites for p in site.partitions]
        self._all = (1 << len(partitions)) - 1
        self._named: dict[str, Bits] = {}
        for n, p in enumerate(partitions):
            self._named[p.name] = self._named.get(p.name, 0) | 1 << n
        self._tables = [_Table(offers) for offers in zip(*map(offered, partitions), strict=True)]
        self._until = _Table([until(site, p) for site in sites for p in site.partitions])
        self._known: dict[
            tuple[Bits, Bits], Verdicts
        ] = {}  # of groups that only size keeps from anywhere

    def judge(self, group: Group) -> Verdicts:
        shape, wanted = group.shape, asked(group.shape)
        fits = self._all if shape.partition is None else self._named.get(shape.partition, 0)
        for value, table in zip(wanted, self._tables, strict=False):
            fits &= table.offering(value)
        particular = bool(
            shape.site is not None or shape.zones or group.sites is not None or group.objections
        )
        in_time = self._until.offering(shape.walltime)
        known = None if particular else self._known.get((fits, in_time))
        if known is None:
            known, shared = self._judge(group, wanted, fits, in_time, particular)
            if shared:
                self._known[fits, in_time] = known
        return known

    def _judge(
        self, group: Group, wanted: tuple[int, ...], fits: Bits, in_time: Bits, particular: bool
    ) -> tuple[Verdicts, bool]:
        """The verdicts, and whether they hold for all groups that ask nothing in particular."""
        shared = not particular
        partitions = 0
        verdicts = []
        for bench in self.benches:
            here = fits & bench.bits
            if particular and (no := unwanted(bench.site, group)):
                verdicts.append(Eligibility(reason=no))
            elif bench.banned:
                verdicts.append(bench.banned)
            elif here and bench.unwell is None and not here & in_time:
                verdicts.append(bench.in_maintenance(here))
            elif here:
                verdicts.append(bench.fitting(here & in_time))
                if bench.unwell is None:
                    partitions |= here & in_time
            else:
                verdicts.append(bench.unfit(group.shape, wanted))
                shared = False
        return Verdicts(tuple(verdicts), partitions), shared


class _Table:
    """The partitions by what they offer of one measure."""

    def __init__(self, offers: Sequence[float]) -> None:
        self.limits = sorted(set(offers))
        self.sets = [
            sum(1 << n for n, offer in enumerate(offers) if offer >= limit) for limit in self.limits
        ]
        self.sets.append(0)

    def offering(self, wanted: int) -> Bits:
        return self.sets[bisect_left(self.limits, wanted)]


class _Bench:
    """One site, and what it has answered."""

    def __init__(self, site: Site, first: int, settings: Settings) -> None:
        self.site = site
        self.first, self.end = first, first + len(site.partitions)  # its partitions' numbers
        self.bits = (1 << self.end) - (1 << first)
        self.banned = Eligibility(reason=banned(site)) if site.banned else None
        self.unwell = Eligibility(reason=no) if (no := unwell(site, settings)) else None
        self.offers = [offered(p) for p in site.partitions]
        self.offers_named: dict[str, list[tuple[int, ...]]] = {}
        for p, offer in zip(site.partitions, self.offers, strict=True):
            self.offers_named.setdefault(p.name, []).append(offer)
        self._fitting: dict[Bits, Eligibility] = {}
        self._unfit: dict[tuple[int, int, int] | str | None, Eligibility] = {}

    def in_maintenance(self, here: Bits) -> Eligibility:
        """To groups that fit into these partitions, and would not end in time in any."""
        there = [self.site.partitions[n - self.first] for n in members(here)]
        return Eligibility(reason=in_the_way(self.site, there))

    def fitting(self, here: Bits) -> Eligibility:
        """To groups that fit into these partitions."""
        if self.unwell is not None:
            return self.unwell
        answer = self._fitting.get(here)
        if answer is None:
            partitions = tuple(self.site.partitions[n - self.first] for n in members(here))
            answer = self._fitting[here] = Eligibility(partitions)
        return answer

    def unfit(self, shape: Shape, wanted: tuple[int, ...]) -> Eligibility:
        """To groups that fit nowhere."""
        named = shape.partition
        offers = self.offers if named is None else self.offers_named.get(named)
        key: tuple[int, int, int] | str | None = named
        if offers:
            measure, offer = nearest(wanted, offers)
            key = measure, wanted[measure], offer
        answer = self._unfit.get(key)
        if answer is None:
            answer = self._unfit[key] = Eligibility(reason=unfit(self.site, shape))
        return answer
