"""What a schedule is worth: waiting, bounded slowdown, utilisation, fairness; and a lower bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.simulate.policies import Schedule
from bench.simulate.profiles import SiteSpec
from bench.simulate.workload import Ints, Workload

TAU = 10.0  # seconds below which a task's length does not count in its slowdown


@dataclass(frozen=True)
class Figures:
    """Seconds, and shares of one."""

    mean_wait: float
    median_wait: float
    p95_wait: float
    slowdown: float  # mean bounded
    makespan: float
    utilisation: float  # of all cores, until the last task ends
    jain: float  # of the members' mean bounded slowdowns
    abroad: float  # share of core seconds not run at its home
    member_wait: dict[str, float]
    member_slowdown: dict[str, float]
    member_given: dict[str, float]  # core hours run at its sites for others
    member_taken: dict[str, float]  # core hours run for it at others' sites


def bounded_slowdown(wait: Ints, run: Ints) -> NDArray[np.float64]:
    return np.maximum(1.0, (wait + run) / np.maximum(run, TAU))


def jain(values: Sequence[float]) -> float:
    """1 where all are equal, 1/n where one has everything."""
    x = np.array(values, dtype=float)
    return float(x.sum() ** 2 / (len(x) * (x**2).sum()))


def measure(workload: Workload, sites: Sequence[SiteSpec], schedule: Schedule) -> Figures:
    wait = schedule.start - workload.submit
    slow = bounded_slowdown(wait, workload.run)
    area = workload.needs()[:, 0] * workload.run
    names = sorted({s.member for s in sites})
    member = np.array([names.index(s.member) for s in sites])
    home, host = member[workload.home()], member[schedule.site]
    cores = sum(size[0] for s in sites for size in s.sizes().values())
    makespan = float((schedule.start + workload.run).max() - workload.submit[0])
    abroad = home != host
    asks = {name: home == n for n, name in enumerate(names) if bool((home == n).any())}
    slowdowns = {name: float(slow[mine].mean()) for name, mine in asks.items()}
    return Figures(
        mean_wait=float(wait.mean()),
        median_wait=float(np.median(wait)),
        p95_wait=float(np.quantile(wait, 0.95)),
        slowdown=float(slow.mean()),
        makespan=makespan,
        utilisation=float(area.sum() / (cores * makespan)),
        jain=jain(list(slowdowns.values())),
        abroad=float(area[schedule.site != workload.home()].sum() / area.sum()),
        member_wait={name: float(wait[mine].mean()) for name, mine in asks.items()},
        member_slowdown=slowdowns,
        member_given={name: float(area[abroad & (host == n)].sum() / 3600) for n, name in enumerate(names)},
        member_taken={name: float(area[abroad & (home == n)].sum() / 3600) for n, name in enumerate(names)},
    )  # fmt: skip


def least_makespan(workload: Workload, sites: Sequence[SiteSpec]) -> float:
    """No schedule ends earlier, on however clever a use of the same sites.

    The longest-job bound: a task ends no earlier than its submission and its run time. The area bound:
    what is submitted from some moment on needs, of each kind of partition and of each resource, at
    least its area over all there is.
    """
    first = int(workload.submit[0])
    best = float((workload.submit + workload.run).max() - first)
    needs = workload.needs()
    kinds = np.array([s.kind for s in workload.shapes])[workload.shape]
    for kind in sorted(set(kinds.tolist())):
        mine = kinds == kind
        submit = workload.submit[mine] - first
        for resource in range(3):
            size = sum(s.sizes()[kind][resource] for s in sites if kind in s.sizes())
            if size:
                area = (needs[mine, resource].astype(float) * workload.run[mine])[::-1]
                best = max(best, float((submit + np.cumsum(area)[::-1] / size).max()))
    return best
