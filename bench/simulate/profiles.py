"""The alliances that are simulated, and what their people submit.

The synthetic tasks: a project sends campaigns (arrays) of like tasks. Their sizes, the cores and the run
times are heavy-tailed, demand is not in proportion to what a site has, people sleep at night and rest on
Sundays by their own clock, and before deadlines a site sends several times as much. Every task fits at
its home, so that staying at home is possible for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

from bench.simulate.site import Need
from bench.simulate.workload import DAY, HOUR, LIMITS, Shape, Workload

GIB = 1 << 30
NODE_CORES = 64
NODE_MEMORY = 256 * GIB
NODE_GPUS = 4
HOURS_FROM_UTC = {
    "ar": -3, "bo": -4, "br": -3, "cl": -4, "co": -5, "cr": -6, "cu": -5, "do": -4, "ec": -5, "gt": -6,
    "hn": -6, "mx": -6, "ni": -6, "pa": -5, "pe": -5, "pr": -4, "py": -3, "sv": -6, "uy": -3, "ve": -4,
}  # fmt: skip
COUNTRIES = list(HOURS_FROM_UTC)


@dataclass(frozen=True)
class SiteSpec:
    name: str
    member: str
    nodes: int
    gpu_nodes: int = 0
    node_cores: int = NODE_CORES
    node_memory: int = NODE_MEMORY
    node_gpus: int = NODE_GPUS
    demand: float = 1.0  # what its people ask, against what it has

    def sizes(self) -> dict[str, Need]:
        """Cores, memory and GPUs of each partition."""
        found = {}
        for kind, nodes, gpus in (("cpu", self.nodes, 0), ("gpu", self.gpu_nodes, self.node_gpus)):
            if nodes:
                found[kind] = nodes * self.node_cores, nodes * self.node_memory, nodes * gpus
        return found


@dataclass(frozen=True)
class Profile:
    sites: list[SiteSpec]
    tasks: int
    about: str
    load: float = 0.8
    gap: int = 1  # simulated seconds between the broker's cycles, at least

    @property
    def members(self) -> list[str]:
        return sorted({s.member for s in self.sites})


def alliance() -> Profile:
    sites = [
        SiteSpec("nlhpc", "cl", nodes=60, gpu_nodes=4, demand=0.8),
        SiteSpec("lns", "mx", nodes=120, gpu_nodes=10, demand=1.0),
        SiteSpec("bios", "co", nodes=24, gpu_nodes=2, demand=1.25),
    ]
    return Profile(sites, 20_000, "three sites of three members")


def hundred() -> Profile:
    """The sites are the same whatever the seed: only what is submitted depends on it."""
    rng = np.random.default_rng(100)
    nodes = np.clip(rng.lognormal(np.log(24), 0.8, 100), 6, 300).astype(int)
    gpus = np.where(rng.random(100) < 0.4, np.clip(nodes // 6, 2, 40), 0)
    demand = np.clip(rng.lognormal(0.0, 0.3, 100), 0.5, 1.5)
    sites = [
        SiteSpec(f"site-{n:02}", COUNTRIES[n % 20], int(nodes[n]), int(gpus[n]), demand=float(demand[n]))
        for n in range(100)
    ]  # fmt: skip
    return Profile(sites, 1_000_000, "100 sites of 20 members", gap=15)


def coatlicue() -> Profile:
    """15,000 GPUs (314 petaflops) in one house, and university clusters of other members beside it."""
    members = [c for c in COUNTRIES if c != "mx"][:12]
    sites = [SiteSpec("coatlicue", "mx", nodes=400, gpu_nodes=3750, demand=1.0)]
    sites += [
        SiteSpec(f"uni-{member}", member, nodes=16 + 4 * (n % 4), gpu_nodes=2 + n % 3, demand=1.0)
        for n, member in enumerate(members)
    ]
    return Profile(sites, 100_000, "Coatlicue beside twelve university clusters", load=0.9, gap=5)


PROFILES = {"alliance": alliance, "hundred": hundred, "coatlicue": coatlicue}


def synthetic(profile: Profile, tasks: int, seed: int, load: float) -> Workload:
    """The same seed gives the same tasks."""
    return _Maker(profile, seed).make(tasks, load)


class _Bench:
    """One partition as its people use it: who they are, and what they have asked so far."""

    def __init__(self, site: int, kind: str, size: Need, demand: float, projects: range) -> None:
        self.site, self.kind, self.projects = site, kind, projects
        self.parts = NODE_GPUS if kind == "gpu" else NODE_CORES  # of a node
        self.units = size[2] if kind == "gpu" else size[0]
        self.cores_a_unit = NODE_CORES // self.parts
        self.wanted = demand * size[0]

    def shape(self, power: int, rich: bool, limit: int) -> Shape:
        """A power of two, up to half of what there is."""
        units = 1 << min(power, max(0, (self.units // 2).bit_length() - 1))
        each = min(units, self.parts)
        cores = each * self.cores_a_unit
        memory = cores * (4 if rich else 2) * GIB
        gpus = each if self.kind == "gpu" else 0
        return Shape(self.kind, cores, memory, gpus, units // each, limit)


class _Maker:
    def __init__(self, profile: Profile, seed: int) -> None:
        self.sites = profile.sites
        self.rng = np.random.default_rng(seed)
        self.homes: list[int] = []
        self.benches: list[_Bench] = []
        for n, site in enumerate(self.sites):
            projects = self._projects(n, site)
            for kind, size in site.sizes().items():
                self.benches.append(_Bench(n, kind, size, site.demand, projects))
        self.cores = sum(size[0] for site in self.sites for size in site.sizes().values())

    def _projects(self, n: int, site: SiteSpec) -> range:
        """A site has more projects the larger it is, four at least."""
        first = len(self.homes)
        self.homes += [n] * int(4 + (site.nodes + 4 * site.gpu_nodes) ** 0.5)
        return range(first, len(self.homes))

    def make(self, tasks: int, load: float) -> Workload:
        rows, shapes = self._campaigns(tasks)
        bench, project, shape, median, count = (
            np.array(column) for column in zip(*rows, strict=True)
        )
        site = np.array([b.site for b in self.benches])[bench]
        shape_of, limits = np.repeat(shape, count), np.array([s.limit for s in shapes])
        spread = np.repeat(median, count) * self.rng.lognormal(0.0, 0.3, int(count.sum()))
        run = np.clip(np.rint(spread), 2, limits[shape_of]).astype(np.int64)
        cores = np.array([s.need[0] for s in shapes])[shape_of]
        span = float((cores * run).sum()) / (load * self.cores)
        when = np.repeat(self._when(site, span), count)
        order = np.argsort(when, kind="stable")
        return Workload(
            when[order], run[order], shape_of[order], np.repeat(project, count)[order], shapes, self.homes
        )  # fmt: skip

    def _campaigns(self, tasks: int) -> tuple[list[tuple[int, int, int, float, int]], list[Shape]]:
        """Rows (bench, project, shape, median run time, tasks); each goes where least was asked yet."""
        rng, draws = self.rng, tasks + 8
        sizes = 3 * (1 + rng.pareto(1.1, draws))
        medians = np.clip(rng.lognormal(np.log(900), 1.4, draws), 5, 1.2 * DAY)
        asked = np.searchsorted(LIMITS, medians * rng.choice((1.5, 2.5, 5.0), draws))
        powers, ranks = rng.geometric(0.3, draws) - 1, rng.zipf(1.6, draws) - 1
        rich = rng.random(draws) < 0.2
        turns = [(0.0, n) for n in range(len(self.benches))]
        rows: list[tuple[int, int, int, float, int]] = []
        shapes: dict[Shape, int] = {}
        left = tasks
        for n in range(draws):
            had, b = turns[0]
            bench = self.benches[b]
            limit = LIMITS[min(int(asked[n]), len(LIMITS) - 1)]
            made = bench.shape(int(powers[n]), bool(rich[n]), limit)
            each = made.need[0] * float(medians[n])
            # No campaign asks for more than a day of all there is.
            count = min(int(sizes[n]), max(1, int(bench.wanted * DAY / each)), 5000, left)
            project = bench.projects[int(ranks[n]) % len(bench.projects)]
            rows.append(
                (b, project, shapes.setdefault(made, len(shapes)), float(medians[n]), count)
            )
            heapreplace(turns, (had + count * each / bench.wanted, b))
            left -= count
            if not left:
                break
        return rows, list(shapes)

    def _when(self, site: np.ndarray, span: float) -> np.ndarray:
        """By the hour: a site's people work by day, and before deadlines they work more."""
        hours = max(1, int(np.ceil(span / HOUR)))
        when = np.zeros(len(site), dtype=np.int64)
        for n, spec in enumerate(self.sites):
            local = np.arange(hours) + HOURS_FROM_UTC[spec.member]
            rate = 0.35 + 0.65 * np.clip(np.sin((local % 24 - 7) * np.pi / 14), 0, 1)
            rate[(local // 24) % 7 == 6] *= 0.5
            for begin in self.rng.integers(0, hours, max(1, hours // 100)):
                rate[begin : begin + 12] *= 4
            mine = np.flatnonzero(site == n)
            share = np.concatenate([[0.0], np.cumsum(rate / rate.sum())])
            at = np.interp(self.rng.random(len(mine)), share, np.arange(hours + 1))
            when[mine] = np.floor(at * span / hours)
        return when
