"""What holds of every cycle of the broker, whatever the world."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.broker.eligible import judge
from ayni.broker.jury import Jury, members
from ayni.broker.place import place
from ayni.broker.recall import recall
from ayni.broker.room import rooms_of
from ayni.broker.types import Decision, Group, Partition, Project, Settings, Site, Verdict, Waiting
from tests.broker.worlds import NOW, group, partition, site, worlds

World = tuple[list[Group], list[Site], list[Project]]
SETTINGS = Settings()


def _placed(decisions: list[Decision]) -> list[Decision]:
    return [d for d in decisions if d.site is not None]


@given(worlds())
def test_a_jury_says_what_each_site_says(world: World) -> None:
    groups, sites, _ = world
    jury = Jury(sites, SETTINGS)
    numbers = [(s.name, p.name) for s in sites for p in s.partitions]
    for g in groups * 2:  # the second time from memory
        verdicts = jury.judge(g)
        alone = [judge(s, g, SETTINGS) for s in sites]
        assert list(verdicts.sites) == alone
        assert [numbers[n] for n in members(verdicts.partitions)] == [
            (s.name, p.name) for s, e in zip(sites, alone, strict=True) for p in e.partitions
        ]
        assert verdicts.hopeless == all(e.final for e in alone)


def test_in_many_worlds_something_is_placed() -> None:
    """Or the properties below would hold of nothing."""
    placed: list[bool] = []

    @settings(max_examples=200, derandomize=True, database=None)
    @given(worlds())
    def look(world: World) -> None:
        placed.append(bool(_placed(place(*world, NOW, SETTINGS))))

    look()
    assert sum(placed) > len(placed) / 3


def faults(g: Group, s: Site, p: Partition) -> list[str]:
    """Why a placement may not be; said anew here, so that the broker is not its own judge."""
    shape = g.shape
    bad = {
        "another site is asked for": shape.site not in (None, s.name),
        "another partition is asked for": shape.partition not in (None, p.name),
        "outside the zones": bool(shape.zones) and not {s.name, s.member} & {*shape.zones},
        "the data are elsewhere": g.sites is not None and s.name not in g.sites,
        "refused": s.name in g.objections,
        "unwell": s.banned or s.draining or bool(s.ill) or s.closed is not None,
        "maintenance comes first": any(
            there.maintenance is not None and shape.walltime > there.until for there in (s, p)
        ),
        "silent": s.silent_for > SETTINGS.silent_after,
        "a node is too small": shape.cores > p.cores_per_node
        or shape.memory > p.memory_per_node
        or shape.gpus > p.gpus_per_node,
        "too few nodes": shape.nodes > p.nodes,
        "too short": shape.walltime > p.max_walltime,
        "too small in all": shape.cores * shape.nodes > p.cores
        or shape.memory * shape.nodes > p.memory
        or shape.gpus * shape.nodes > p.gpus,
    }
    return [fault for fault, found in bad.items() if found]


@settings(max_examples=300)
@given(worlds())
def test_no_placement_is_ever_ineligible(world: World) -> None:
    groups, sites, projects = world
    by_site, by_group = {s.name: s for s in sites}, {g.id: g for g in groups}
    for d in _placed(place(groups, sites, projects, NOW, SETTINGS)):
        there = by_site[d.site or ""]
        [queue] = [p for p in there.partitions if p.name == d.partition]
        assert faults(by_group[d.group], there, queue) == []


@given(worlds())
def test_a_site_is_passed_over_for_ever_only_for_a_fault(world: World) -> None:
    groups, sites, _ = world
    for g in groups:
        for s in sites:
            fit = {p.name for p in judge(s, g, SETTINGS).partitions}
            assert fit == {p.name for p in s.partitions if not faults(g, s, p)}


@settings(max_examples=300)
@given(worlds(), st.sampled_from(["andes", "bravo", "caribe", "darien"]), st.floats(0, 1))
def test_no_site_gets_a_task_again_that_it_failed_while_another_has_room(
    world: World, bad: str, part: float
) -> None:
    groups, sites, _ = world
    rooms = rooms_of(sites)
    failed = (replace(g, failed={bad: math.ceil(part * g.queued)}, awaiting={}) for g in groups)
    for g in (g for g in failed if g.queued):
        got: Counter[str] = Counter()
        for d in _placed(place([g], sites, [], NOW, SETTINGS)):
            got[d.site or ""] += d.count
        may = {s.name: g.queued - g.failed.get(s.name, 0) for s in sites}
        again = {name for name, count in got.items() if count > may[name]}
        for other in sites:
            if again and other.name not in again:
                there = [rooms[other.name, p.name] for p in judge(other, g, SETTINGS).partitions]
                room = sum(r.of_shape(g.shape) for r in there)
                room = min(
                    [room, may[other.name], *(int(min(r.shared.tasks, room)) for r in there)]
                )
                assert room <= got[other.name]


@given(worlds())
def test_operators_are_asked_to_accept_a_charter_only_where_none_has_whose_site_could_take_it(
    world: World,
) -> None:
    groups, sites, projects = world
    by_group = {g.id: g for g in groups}
    for d in _placed(place(groups, sites, projects, NOW, SETTINGS)):
        g = by_group[d.group]
        accepted = [s for s in sites if s.name not in g.awaiting]
        could = any(judge(s, g, SETTINGS).partitions for s in accepted)
        assert not (could and d.site in g.awaiting)
        told = {r.site: r.code for r in d.reasons}
        assert (told[str(d.site)] == "asked") == (d.site in g.awaiting)


@given(worlds())
def test_no_site_is_given_more_than_it_has_room_for(world: World) -> None:
    groups, sites, projects = world
    shapes = {g.id: g.shape for g in groups}
    given_tasks: Counter[str] = Counter()
    for d in _placed(place(groups, sites, projects, NOW, SETTINGS)):
        assert d.site is not None
        given_tasks[d.site] += d.count
    decisions = _placed(place(groups, sites, projects, NOW, SETTINGS))
    for s in sites:
        if s.max_tasks is not None:
            live = sum(p.live for p in s.partitions)
            assert given_tasks[s.name] <= max(0, s.max_tasks - live)
        for p in s.partitions:
            here = [d for d in decisions if (d.site, d.partition) == (s.name, p.name)]
            free = max(0, p.cores - p.foreign_cores - p.used_cores)
            for shape in {shapes[d.group] for d in here}:
                count = sum(d.count for d in here if shapes[d.group] == shape)
                assert count <= free // (shape.cores * shape.nodes) + p.depth


@given(worlds())
def test_every_decision_has_one_reason_for_each_site_and_every_task_is_accounted_for(
    world: World,
) -> None:
    groups, sites, projects = world
    decisions = place(groups, sites, projects, NOW, SETTINGS)
    counts: Counter[int] = Counter()
    for d in decisions:
        counts[d.group] += d.count
        assert [r.site for r in d.reasons] == sorted(s.name for s in sites)
        assert all(r.code and r.message for r in d.reasons)
        chosen = {r.site for r in d.reasons if r.verdict is Verdict.CHOSEN}
        assert (d.site in chosen) if d.site else True
    assert counts == Counter({g.id: g.queued for g in groups if g.queued})


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_the_arguments_does_not_matter(world: World, rng: random.Random) -> None:
    groups, sites, projects = world
    before = place(groups, sites, projects, NOW, SETTINGS)
    for part in (groups, sites, projects):
        rng.shuffle(part)
    assert place(groups, sites, projects, NOW, SETTINGS) == before


@given(worlds())
def test_a_group_is_hopeless_only_if_no_site_would_ever_take_it(world: World) -> None:
    groups, sites, projects = world
    by_group = {g.id: g for g in groups}
    for d in place(groups, sites, projects, NOW, SETTINGS):
        verdicts = [judge(s, by_group[d.group], SETTINGS) for s in sites]
        assert d.hopeless == (d.site is None and all(v.final for v in verdicts))


@given(worlds())
def test_an_eligible_task_waits_only_for_room_or_a_bounded_hold(world: World) -> None:
    groups, sites, projects = world
    for d in place(groups, sites, projects, NOW, SETTINGS):
        if d.site is None:
            verdicts = {r.verdict for r in d.reasons}
            assert Verdict.POSSIBLE not in verdicts
            if Verdict.HELD in verdicts:
                held_for = NOW - next(g.oldest for g in groups if g.id == d.group)
                assert held_for < SETTINGS.hold_at_most


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(0, 400), st.integers(1, 400), st.floats(0, 1e6))
def test_projects_of_equal_weight_and_usage_share_a_cycle_evenly(
    cores: int, depth: int, queued: int, usage: float
) -> None:
    groups = [group(i, queued, project) for i, project in enumerate("pq")]
    projects = [Project(name, usage) for name in "pq"]
    here = site(
        "andes", partition(cores=cores, depth=depth, memory=1 << 50, memory_per_node=1 << 50)
    )
    decisions = _placed(place(groups, [here], projects, NOW, SETTINGS))
    p, q = (sum(d.count for d in decisions if d.group == i) for i in (0, 1))
    room = cores + depth
    assert p + q == min(room, 2 * queued)
    assert abs(p - q) <= max(1, room // 64)


@given(st.integers(1, 20), st.integers(1, 5000))
def test_a_small_project_gets_its_task_in_the_first_cycle_with_room(room: int, others: int) -> None:
    groups = [group(1, others, "large", oldest=NOW - 9999), group(2, 1, "small", oldest=NOW)]
    projects = [Project("large", usage=5e5), Project("small", usage=0.0)]
    here = site("andes", partition(cores=room, depth=0))
    decisions = _placed(place(groups, [here], projects, NOW, SETTINGS))
    assert [d.count for d in decisions if d.group == 2] == [1]


@given(worlds(), st.integers(1, 9), st.integers(0, 500))
def test_recalls_ask_for_no_more_than_wait_and_name_only_eligible_sites(
    world: World, count: int, age: int
) -> None:
    groups, sites, _ = world
    by_site, by_group = {s.name: s for s in sites}, {g.id: g for g in groups}
    waiting = [
        Waiting(g, s.name, p.name, count, NOW - age)
        for g in groups
        for s in sites
        for p in s.partitions
    ]
    asked: Counter[tuple[int, str, str]] = Counter()
    for r in recall(waiting, sites, NOW, SETTINGS):
        asked[r.group, r.site, r.partition] += r.count
        if r.better is not None:
            assert r.better != r.site
            assert judge(by_site[r.better], by_group[r.group], SETTINGS).partitions
    assert all(n <= count for n in asked.values())
