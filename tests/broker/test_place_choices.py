"""Which site is chosen, and what is said of it, in small worlds made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ayni.broker import jury
from ayni.broker.place import place
from ayni.broker.recall import recall
from ayni.broker.types import Decision, Group, Settings, Site, SiteReason, Verdict, Waiting
from ayni.protocol.policy import Reason
from ayni.tes.size import size_of
from tests.broker.worlds import DEFAULT, GIB, NOW, group, partition, site

SETTINGS = Settings()
PAIR = replace(DEFAULT, cores=2)


def decide(g: Group, *sites: Site) -> list[Decision]:
    return place([g], sites, [], NOW, SETTINGS)


def reason(g: Group, s: Site) -> SiteReason:
    return decide(g, s)[0].reasons[0]


@pytest.mark.parametrize(
    ("g", "s", "code"),
    [
        (group(wants={"site": "bravo"}), site("andes"), "site"),
        (group(wants={"zones": ("MX",)}), site("andes"), "zone"),
        (group(sites=frozenset({"bravo"})), site("andes"), "residency"),
        (group(), site("andes", banned=True), "banned"),
        (group(objections={"andes": Reason(code="image", message="no")}), site("andes"), "image"),
        (group(), Site("andes", "CL", ()), "never"),
        (group(wants={"partition": "gpu"}), site("andes"), "partition"),
        (group(wants={"cores": 5}), site("andes"), "cores"),
        (group(wants={"memory": 65 * GIB}), site("andes"), "memory"),
        (group(wants={"gpus": 1}), site("andes"), "gpus"),
        (group(wants={"nodes": 2}), site("andes"), "nodes"),
        (group(wants={"walltime": 86401}), site("andes"), "walltime"),
        (group(), site("andes", silent_for=91), "silent"),
        (group(), site("andes", draining=True), "draining"),
        (group(), site("andes", ill=("disk",)), "ill"),
        (group(), site("andes", closed=Reason(code="hours", message="closed")), "hours"),
        (
            group(wants={"walltime": 601}),
            site("andes", maintenance=Reason(code="maintenance", message="soon"), until=600.0),
            "maintenance",
        ),
    ],
)
def test_an_ineligible_site_says_why(g: Group, s: Site, code: str) -> None:
    assert (reason(g, s).verdict, reason(g, s).code) == (Verdict.INELIGIBLE, code)


def test_a_task_that_ends_before_the_maintenance_is_placed() -> None:
    soon = Reason(code="maintenance", message="soon")
    there = site("andes", maintenance=soon, until=600.0)
    assert decide(group(wants={"walltime": 600}), there)[0].site == "andes"
    later = decide(group(wants={"walltime": 601}), there)[0]
    assert (later.site, later.hopeless) == (None, False), "it waits until the maintenance is over"


def test_maintenance_of_one_partition_keeps_tasks_from_that_one_only() -> None:
    soon = {"maintenance": Reason(code="maintenance", message="soon"), "until": 600.0}
    there = site("andes", partition(name="main", **soon), partition(name="large"))
    [decision] = decide(group(wants={"walltime": 3600}), there)
    assert (decision.site, decision.partition) == ("andes", "large")
    g = group(wants={"walltime": 3600, "partition": "main"})
    assert (reason(g, there).code, reason(g, there).message) == ("maintenance", "soon")
    assert decide(group(wants={"walltime": 600, "partition": "main"}), there)[0].site == "andes"


def test_of_several_partitions_in_maintenance_the_last_one_says_why() -> None:
    parts = [
        partition(name=name, maintenance=Reason(code="maintenance", message=name), until=until)
        for name, until in (("main", 60.0), ("large", 600.0))
    ]
    g = group(wants={"walltime": 3600})
    assert reason(g, site("andes", *parts)).message == "large"
    whole = Reason(code="maintenance", message="all")
    assert reason(g, site("andes", *parts, maintenance=whole, until=90.0)).message == "all"


def test_what_waits_at_a_site_is_asked_back_before_its_maintenance() -> None:
    soon = Reason(code="maintenance", message="soon")
    there = site("andes", maintenance=soon, until=600.0)
    long, short = (
        Waiting(group(wants={"walltime": w}), "andes", "main", 3, NOW) for w in (601, 60)
    )
    assert [(r.count, r.better) for r in recall([long], [there], NOW, SETTINGS)] == [(3, None)]
    assert recall([short], [there], NOW, SETTINGS) == []


@pytest.mark.parametrize("zone", ["andes", "CL"])
def test_a_zone_names_a_site_or_a_member(zone: str) -> None:
    assert decide(group(wants={"zones": (zone,)}), site("andes"))[0].site == "andes"


def test_what_passes_leaves_hope_and_what_is_final_does_not() -> None:
    silent, small = site("andes", silent_for=1e4), site("bravo", partition(cores=1))
    g = group(wants={"cores": 2})
    assert not decide(g, silent, small)[0].hopeless
    assert decide(g, small)[0].hopeless


def test_a_task_goes_where_it_starts_first() -> None:
    busy = site("andes", partition(live=4, used_cores=4))
    assert decide(group(), busy, site("bravo"))[0].site == "bravo"


def test_a_task_goes_where_its_data_lie() -> None:
    g = group(data={"": 10, "bravo": 10**9})
    assert decide(g, site("andes"), site("bravo"))[0].site == "bravo"


def test_a_task_that_a_site_failed_is_tried_at_another_that_has_room() -> None:
    g = group(failed={"andes": 1}, data={"andes": 10**9})  # although all its data are there
    [decision] = decide(g, site("andes"), site("bravo"))
    assert decision.site == "bravo"
    assert decision.reasons[0].code == "failed"
    assert "another site is tried first" in decision.reasons[0].message


@pytest.mark.parametrize(
    "other",
    [
        site("bravo", partition(live=6, waiting_of={size_of(PAIR): 2}, used_cores=6)),
        site("bravo", draining=True),
        site("bravo", partition(cores=1)),
    ],
)
def test_a_task_that_a_site_failed_goes_there_again_if_no_other_has_room(other: Site) -> None:
    g = group(failed={"andes": 1}, shape=PAIR)
    assert decide(g, site("andes"), other)[0].site == "andes"


def test_a_task_that_asks_for_the_site_that_failed_it_goes_there_again() -> None:
    g = group(failed={"andes": 1}, wants={"site": "andes"})
    assert decide(g, site("andes"), site("bravo"))[0].site == "andes"


def test_only_as_many_of_a_group_are_kept_from_a_site_as_it_failed() -> None:
    large = partition(cores=64)
    g = group(queued=10, failed={"andes": 4}, data={"andes": 10**9})
    decisions = decide(g, site("andes", large), site("bravo", large))
    assert [(d.site, d.count) for d in decisions] == [("andes", 6), ("bravo", 4)]


def test_a_large_group_is_spread_over_like_sites_and_then_queued_to_their_depth() -> None:
    decisions = decide(group(queued=100), site("andes"), site("bravo"), site("caribe"))
    assert [(d.site, d.count) for d in decisions] == [
        ("andes", 6),
        ("bravo", 6),
        ("caribe", 6),
        (None, 82),
    ]


def test_a_few_tasks_are_spread_too() -> None:
    decisions = decide(group(queued=6), site("andes"), site("bravo"), site("caribe"))
    assert [d.count for d in decisions] == [2, 2, 2]


def test_attempts_that_only_just_fit_are_no_backlog() -> None:
    just_assigned = partition(
        live=4, waiting_of={size_of(DEFAULT): 4}, used_cores=4, used_memory=4 * GIB
    )
    assert decide(group(queued=9), site("andes", just_assigned))[0].count == just_assigned.depth


def test_a_queue_of_wide_tasks_keeps_no_narrow_one_away() -> None:
    wide = replace(DEFAULT, cores=3)
    queue = site("andes", partition(live=4, waiting_of={size_of(wide): 3}, used_cores=12))
    assert decide(group(shape=wide), queue)[0].site is None
    decisions = decide(group(queued=9), queue)
    assert [(d.site, d.count) for d in decisions] == [("andes", 2), (None, 7)]


def test_a_full_site_says_what_fills_it() -> None:
    r = reason(
        group(), site("andes", partition(live=6, waiting_of={size_of(DEFAULT): 2}, used_cores=6))
    )
    assert r.verdict is Verdict.FULL
    assert r.message == "is full: 4 running and 2 waiting there"


def test_the_policy_limit_on_tasks_is_named() -> None:
    assert reason(group(), site("andes", max_tasks=0)).code == "most-tasks"


def test_a_task_is_held_for_a_much_better_site_but_not_for_ever() -> None:
    full = site(
        "andes", partition(cores=8, live=10, waiting_of={size_of(DEFAULT): 2}, used_cores=10)
    )
    data = {"andes": 10**11}  # 8,000 s to any other site
    fresh, old = (group(service=60.0, data=data, oldest=NOW - age) for age in (1, 121))
    held = decide(fresh, full, site("bravo"))
    assert held[0].site is None
    assert held[0].reasons[1].verdict is Verdict.HELD
    assert "andes" in held[0].reasons[1].message
    assert decide(old, full, site("bravo"))[0].site == "bravo"


def test_where_no_site_has_accepted_the_charter_an_operator_is_asked() -> None:
    g = group(awaiting={"andes": "up", "bravo": "up"}, wants={"site": "bravo"})
    [d] = decide(g, site("andes"), site("bravo"))
    assert d.site == "bravo" and [r.code for r in d.reasons] == ["site", "asked"]
    said = d.reasons[1]
    assert said.verdict is Verdict.CHOSEN and "no site that could take it has" in said.message
    assert "accept the charter of channel up ('ayni site charter accept')" in said.message


def test_a_site_that_has_accepted_the_charter_is_taken_and_waited_for() -> None:
    g = group(awaiting={"andes": "up"}, data={"andes": 10**12}, oldest=NOW - 10**6)
    for accepted, place_ in (
        (site("bravo"), "bravo"),
        (site("bravo", partition(depth=0, used_cores=4)), None),
    ):
        [d] = decide(g, site("andes"), accepted)
        assert d.site == place_ and d.reasons[0].code == "unaccepted"
        assert d.reasons[0].message.endswith("charter of channel up; another site's has")
    [d] = decide(g, site("andes"), site("bravo", draining=True))
    assert d.site == "andes" and d.reasons[0].code == "asked"


def test_like_tasks_of_which_only_some_await_a_charter_are_judged_apart() -> None:
    groups = [group(1, awaiting={"andes": "up"}), group(2)]
    full = site("bravo", partition(depth=0, used_cores=4))
    found = {d.group: d for d in place(groups, [site("andes"), full], [], NOW, SETTINGS)}
    assert found[1].site is None and found[2].site == "andes"
    assert [r.code for r in found[1].reasons] == ["unaccepted", "full"]


def test_waiting_attempts_are_recalled_for_a_free_site_only_after_a_while() -> None:
    busy = site("andes", partition(live=6, waiting_of={size_of(DEFAULT): 2}, used_cores=6))
    free = site("bravo")
    for age, wanted in ((10, []), (60, [("bravo", 2)])):
        waiting = Waiting(group(), "andes", "main", 2, NOW - age)
        recalls = recall([waiting], [busy, free], NOW, SETTINGS)
        assert [(r.better, r.count) for r in recalls] == wanted


def test_what_waits_for_an_operator_is_recalled_for_a_site_that_has_accepted_the_charter() -> None:
    g = group(awaiting={"andes": "up", "darien": "up"})
    sites = [site("andes"), site("bravo", partition(cores=2)), site("caribe", partition(cores=9))]
    for age, wanted in ((10, []), (60, [("bravo", 2), ("caribe", 3)])):
        recalls = recall([Waiting(g, "andes", "main", 5, NOW - age)], sites, NOW, SETTINGS)
        assert [(r.better, r.count) for r in recalls] == wanted
    assert not recall(
        [Waiting(g, "andes", "main", 5, NOW - 60)], [site("andes"), site("darien")], NOW, SETTINGS
    )


def test_a_draining_site_is_asked_for_all_that_waits() -> None:
    waiting = Waiting(group(), "andes", "main", 2, NOW)
    [r] = recall([waiting], [site("andes", draining=True)], NOW, SETTINGS)
    assert (r.count, r.better) == (2, None)


def test_ten_thousand_groups_at_a_hundred_sites_need_little_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No clock: groups of all different shapes are told the same, so the answers made are counted."""
    made = 0
    verdicts = jury.Verdicts

    def counted(*args: Any) -> jury.Verdicts:
        nonlocal made
        made += 1
        return verdicts(*args)

    monkeypatch.setattr(jury, "Verdicts", counted)
    sites = [site(f"s{i}") for i in range(100)]
    groups = [
        group(i, 5, f"p{i % 50}", wants={"cores": 1 + i % 4, "walltime": 60 + i})
        for i in range(10_000)
    ]
    decisions = place(groups, sites, [], NOW, Settings(most_tasks=100_000))
    assert made == 1
    assert len({d.group for d in decisions}) == 10_000
    assert len({id(d.reasons) for d in decisions}) < 1000


@pytest.mark.parametrize("wants", [{"partition": "gpu"}, {"partition": "main", "cores": 9}])
def test_a_site_makes_its_answer_to_who_names_a_partition_once(wants: dict[str, Any]) -> None:
    groups = [group(i, wants={**wants, "memory": i}) for i in range(1, 4)]
    [one, two, three] = [d.reasons[0] for d in place(groups, [site("andes")], [], NOW, SETTINGS)]
    assert one is two is three
    assert one.code == ("cores" if wants["partition"] == "main" else "partition")
