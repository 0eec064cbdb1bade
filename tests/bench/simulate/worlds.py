"""Small worlds of simulated sites, and what must hold of every schedule in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bench.simulate.policies import Schedule
from bench.simulate.profiles import SiteSpec
from bench.simulate.workload import Shape, Workload, in_order
from hypothesis import strategies as st

MEMORY = 8
Need = tuple[int, int, int]


def plus(a: Need, b: Need) -> Need:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def minus(a: Need, b: Need) -> Need:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def within(need: Need, free: Need) -> bool:
    return all(n <= f for n, f in zip(need, free, strict=True))


def earliest(need: Need, free: Need, running: list[tuple[int, Need]]) -> tuple[int, Need]:
    """When enough will be free, and what is left then: tried at every moment at which something ends."""
    for moment, _ in sorted(running):
        there = free
        for end, frees in running:
            if end <= moment:
                there = plus(there, frees)
        if within(need, there):
            return moment, minus(there, need)
    raise AssertionError("it would never fit")


def silent(done: int) -> None:
    """No progress line."""


@st.composite
def shapes(draw: st.DrawFn, exact: bool) -> list[Shape]:
    """Shapes that the smallest site can hold. `exact`: tasks run for as long as their limit."""
    limits = st.integers(1, 30) if exact else st.integers(20, 60)
    one = st.builds(
        Shape,
        kind=st.sampled_from(["cpu", "gpu"]),
        cores=st.integers(1, 3),
        memory=st.integers(1, MEMORY),
        gpus=st.just(0),
        nodes=st.integers(1, 2),
        limit=limits,
    )
    made = draw(st.lists(one, min_size=1, max_size=6, unique=True))
    return [s._replace(gpus=1) if s.kind == "gpu" else s for s in made]


@st.composite
def sites(draw: st.DrawFn, most: int = 3) -> list[SiteSpec]:
    count = draw(st.integers(1, most))
    return [
        SiteSpec(
            f"site-{n}",
            f"member-{n % 2}",
            nodes=draw(st.integers(2, 4)),
            gpu_nodes=2,
            node_cores=3,
            node_memory=MEMORY,
            node_gpus=1,
        )
        for n in range(count)
    ]


@st.composite
def worlds(
    draw: st.DrawFn, exact: bool = False, most_sites: int = 3, fewest: int = 1, span: int = 60
) -> tuple[Workload, list[SiteSpec]]:
    """At least `fewest` tasks, submitted within `span` seconds."""
    offered, places = draw(shapes(exact)), draw(sites(most_sites))
    homes = draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=4))
    task = st.tuples(
        st.integers(0, span),
        st.integers(1, 20),
        st.integers(0, len(offered) - 1),
        st.integers(0, len(homes) - 1),
    )
    rows = draw(st.lists(task, min_size=fewest, max_size=40))
    if exact:
        rows = [(submit, offered[shape].limit, shape, p) for submit, _, shape, p in rows]
    return in_order(iter(rows), offered, homes), places


def assert_possible(workload: Workload, places: Sequence[SiteSpec], schedule: Schedule) -> None:
    """Each task once, none before its submission, and nowhere more in use than there is."""
    assert len(schedule.start) == len(schedule.site) == len(workload)
    assert (schedule.start >= workload.submit).all()
    ends = schedule.start + workload.run
    needs = workload.needs()
    kinds = np.array([s.kind for s in workload.shapes])[workload.shape]
    for n, place in enumerate(places):
        for kind in ("cpu", "gpu"):
            mine = (schedule.site == n) & (kinds == kind)
            for moment in schedule.start[mine]:
                running = mine & (schedule.start <= moment) & (moment < ends)
                assert (needs[running].sum(axis=0) <= place.sizes()[kind]).all()
