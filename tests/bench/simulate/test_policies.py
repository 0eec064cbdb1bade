from __future__ import annotations

import numpy as np
import pytest
from bench.simulate.central import by_list
from bench.simulate.metrics import bounded_slowdown, jain, least_makespan, measure
from bench.simulate.ours import Ours
from bench.simulate.policies import Schedule, StrandedError, at_random, home
from bench.simulate.profiles import PROFILES, SiteSpec, alliance, synthetic
from bench.simulate.workload import Shape, Workload, in_order
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.simulate.worlds import assert_possible, silent, worlds

World = tuple[Workload, list[SiteSpec]]
ALONE = {"home": home, "random": at_random, "list": by_list}


@pytest.mark.parametrize("policy", ALONE)
@given(worlds(), st.integers(0, 9))
def test_each_task_runs_once_where_there_is_room(policy: str, world: World, seed: int) -> None:
    workload, sites = world
    schedule = ALONE[policy](workload, sites, seed, silent)
    assert_possible(workload, sites, schedule)
    last = float((schedule.start + workload.run).max() - workload.submit[0])
    assert last >= least_makespan(workload, sites) - 1e-6


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 9), st.sampled_from([0.0, 0.3]), st.sampled_from([1, 7]))
def test_ours_runs_each_task_once_although_messages_get_lost(
    world: World, seed: int, loss: float, gap: int
) -> None:
    workload, sites = world
    schedule = Ours(gap, loss)(workload, sites, seed, silent)
    assert_possible(workload, sites, schedule)
    last = float((schedule.start + workload.run).max() - workload.submit[0])
    assert last >= least_makespan(workload, sites) - 1e-6


def some(count: int = 600, load: float = 1.5) -> tuple[Workload, list[SiteSpec]]:
    profile = alliance()
    return synthetic(profile, count, 3, load), profile.sites


def test_at_home_each_site_is_as_if_it_were_alone() -> None:
    workload, sites = some()
    together = home(workload, sites, 0, silent)
    for n, site in enumerate(sites):
        mine = np.flatnonzero(workload.home() == n)
        assert (together.site[mine] == n).all()
        alone = Workload(
            workload.submit[mine],
            workload.run[mine],
            workload.shape[mine],
            np.zeros(len(mine), dtype=np.int64),
            workload.shapes,
            [0],
        )
        assert (home(alone, [site], 0, silent).start == together.start[mine]).all()


def test_what_is_asked_back_runs_elsewhere_also_where_messages_get_lost() -> None:
    workload, sites = some(3000, load=1.0)
    schedule = Ours(5, 0.2)(workload, sites, 1, silent)
    assert_possible(workload, sites, schedule)
    assert schedule.notes["withdrawn"] > 0
    assert schedule.notes["repeated reports"] > 0


def test_with_one_site_there_is_nothing_to_choose() -> None:
    workload, sites = some(200)
    workload.homes[:] = [0] * len(workload.homes)
    largest = [max(sites, key=lambda s: s.nodes)]
    starts = [ALONE[p](workload, largest, 1, silent).start for p in ("home", "random")]
    assert (starts[0] == starts[1]).all()


@pytest.mark.parametrize("policy", [*ALONE, "ours"])
def test_the_same_seed_gives_the_same_answer(policy: str) -> None:
    run = Ours(5, 0.2) if policy == "ours" else ALONE[policy]
    first, second = (run(*some(), 7, silent) for _ in range(2))
    assert (first.start == second.start).all()
    assert (first.site == second.site).all()
    assert first.notes == second.notes


def test_another_seed_gives_other_tasks() -> None:
    one, other = (synthetic(alliance(), 500, seed, 0.8) for seed in (1, 2))
    assert one.submit.tolist() != other.submit.tolist()


@pytest.mark.parametrize("profile", PROFILES)
def test_synthetic_tasks_fit_at_their_homes(profile: str) -> None:
    made = PROFILES[profile]()
    workload = synthetic(made, 2000, 1, made.load)
    assert len(workload) == 2000
    assert (np.diff(workload.submit) >= 0).all()
    limits = np.array([s.limit for s in workload.shapes])[workload.shape]
    assert (workload.run >= 1).all()
    assert (workload.run <= limits).all()
    sizes = [s.sizes() for s in made.sites]
    for shape, where in set(zip(workload.shape.tolist(), workload.home().tolist(), strict=True)):
        asked = workload.shapes[shape]
        size = sizes[where][asked.kind]
        assert all(n <= s for n, s in zip(asked.need, size, strict=True))


def test_a_task_that_fits_nowhere_is_named() -> None:
    shape = Shape("cpu", 1, 1, 0, 1000, 60)
    workload = in_order(iter([(0, 10, 0, 0)]), [shape], [0])
    with pytest.raises(StrandedError, match="no site has 1000 cores"):
        home(workload, [SiteSpec("a", "cl", 2)], 0, silent)


def test_the_figures_of_a_schedule_done_by_hand() -> None:
    shape = Shape("cpu", 1, 1, 0, 2, 100)
    sites = [SiteSpec("a", "cl", 4, node_cores=1), SiteSpec("b", "mx", 4, node_cores=1)]
    workload = in_order(iter([(0, 5, 0, 1), (0, 100, 0, 0)]), [shape], [0, 1])
    found = measure(workload, sites, Schedule(np.array([20, 0]), np.array([1, 1])))
    assert found.mean_wait == 10
    assert found.member_slowdown == {"cl": 1.0, "mx": 2.5}
    assert found.slowdown == 1.75
    assert found.jain == pytest.approx(3.5**2 / (2 * (1 + 2.5**2)))
    assert found.utilisation == pytest.approx(210 / 800)
    assert found.member_taken["cl"] == found.member_given["mx"] == pytest.approx(200 / 3600)
    assert found.abroad == pytest.approx(200 / 210)


def test_slowdown_is_bounded_for_tasks_of_a_moment() -> None:
    wait, run = np.array([0, 10, 10]), np.array([1, 1, 100])
    assert bounded_slowdown(wait, run).tolist() == [1.0, 1.1, 1.1]


def test_jains_index_is_one_among_equals_and_one_nth_where_one_has_all() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
