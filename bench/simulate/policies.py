"""What ours is compared with: tasks at home, and at random; `central` has a third.

A policy says for every task when and where it starts; the sites are the same for all. It runs over a
workload without losing or inventing a task, which is checked at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.simulate.profiles import SiteSpec
from bench.simulate.site import Need, Partition
from bench.simulate.workload import Ints, Workload

#: Told how many tasks have ended.
Progress = Callable[[int], None]


@dataclass
class Schedule:
    """When and where each task started."""

    start: Ints
    site: Ints
    notes: dict[str, float] = field(default_factory=dict)


class StrandedError(ValueError):
    """A task fits nowhere."""


def eligible(workload: Workload, sites: Sequence[SiteSpec]) -> list[list[int]]:
    """The sites that are large enough, by shape.

    Raises:
        StrandedError: no site is.
    """
    found: list[list[int]] = []
    used = set(workload.shape.tolist())
    for number, shape in enumerate(workload.shapes):
        sizes = [site.sizes().get(shape.kind, (0, 0, 0)) for site in sites]
        fit = [n for n, size in enumerate(sizes) if within(shape.need, size)]
        if not fit and number in used:
            cores, memory, gpus = shape.need
            raise StrandedError(
                f"no site has {cores} cores, {memory} bytes and {gpus} GPUs in partition {shape.kind}"
            )
        found.append(fit)
    return found


def within(need: Need, size: Need) -> bool:
    return all(n <= s for n, s in zip(need, size, strict=True))


def home(workload: Workload, sites: Sequence[SiteSpec], seed: int, progress: Progress) -> Schedule:
    """Every task at its home; one that its home is too small for goes to the first that is not."""
    fits = eligible(workload, sites)
    pairs = zip(workload.home().tolist(), workload.shape.tolist(), strict=True)
    where = [home if home in fits[shape] else fits[shape][0] for home, shape in pairs]
    return run_apart(workload, sites, where, progress)


def at_random(
    workload: Workload, sites: Sequence[SiteSpec], seed: int, progress: Progress
) -> Schedule:
    """Every task at a site drawn from those that are large enough, each as likely."""
    fits, rng = eligible(workload, sites), random.Random(seed)
    where = [rng.choice(fits[s]) for s in workload.shape.tolist()]
    return run_apart(workload, sites, where, progress)


def run_apart(
    workload: Workload, sites: Sequence[SiteSpec], where: list[int], progress: Progress
) -> Schedule:
    """The sites know nothing of each other: one partition after the other lives through its tasks."""
    shapes, runs = workload.shape.tolist(), workload.run.tolist()
    limits = np.array([s.limit for s in workload.shapes])[workload.shape].tolist()
    needs = {n: s.need for n, s in enumerate(workload.shapes)}
    submits, started = workload.submit.tolist(), [-1] * len(workload)
    lines: dict[tuple[int, str], list[int]] = {}
    kinds = [s.kind for s in workload.shapes]
    for task, site in enumerate(where):
        lines.setdefault((site, kinds[shapes[task]]), []).append(task)
    ended = 0
    for (site, kind), tasks in lines.items():
        partition = Partition(site, sites[site].sizes()[kind], needs, runs, limits, started)
        for task in tasks:
            for _ in partition.advance(submits[task]):
                ended += 1
            partition.submit(submits[task], shapes[task], task)
        for _ in partition.advance(1 << 62):
            ended += 1
        progress(ended)
    return checked(workload, started, where, ended)


def checked(
    workload: Workload,
    started: list[int],
    where: list[int],
    ended: int,
    notes: dict[str, float] | None = None,
) -> Schedule:
    """Each task ran once, and none before it was submitted."""
    start = np.array(started, dtype=np.int64)
    if ended != len(workload) or bool((start < workload.submit).any()):
        raise RuntimeError(f"{ended} of {len(workload)} tasks ended: the simulation is wrong")
    return Schedule(start, np.array(where, dtype=np.int64), notes or {})
