"""Who is waited for, and what a round takes; all of it by a clock that the test turns."""

from __future__ import annotations

import numpy as np
import pytest

from ayni.lm.outer.machine import tick
from ayni.lm.outer.messages import (
    Discarded,
    Failed,
    Left,
    Progressed,
)
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import LaneState, dump
from tests.lm.outer.net import COUNT, START, Make
from tests.lm.outer.reference import Reference
from tests.lm.outer.sites import decoded


def test_when_all_are_in_the_merge_waits_for_nothing(network: Make) -> None:
    net = network()
    net.round()
    assert net.version == 1 and net.hub.lane().state is LaneState.COLLECTING
    shares = net.hub.lane().versions[1].shares
    assert [s.site for s in shares] == ["a", "b", "c"]
    assert sum(s.weight for s in shares) == pytest.approx(1)


def test_many_rounds_are_those_of_the_independent_reference(network: Make) -> None:
    """Coordinator, each site and the reference hold the same weights; the first two to the bit."""
    phases = (
        Phase(from_step=0, inner_steps=5),
        Phase(from_step=15, inner_steps=10, lr=0.7, momentum=0.9),
    )
    net = network(schedule=Schedule(steps=75, phases=phases), codec=0, clip=100.0)
    reference = Reference(START)
    while (head := net.take()).status == "running":
        deltas = {}
        for name, site in net.sites.items():
            event = site.bring(head, net.store)
            deltas[name] = decoded(net.store.blobs[event.blob], COUNT)
            net.hear(event)
        phase = net.hub.state.rules.schedule.at(head.step)
        reference.round(deltas, dict.fromkeys("abc", 1.0), phase.lr, phase.momentum)
        np.testing.assert_allclose(net.hub.weights(), reference.weights, rtol=1e-5, atol=1e-6)
    assert head.step == 75 and net.hub.lane().state is LaneState.DONE
    assert net.version == 3 + 6
    for site in net.sites.values():
        assert site.global_["all"].tobytes() == net.hub.weights().tobytes()


@pytest.mark.parametrize("codec", [1, 2, 3])
def test_sites_and_coordinator_apply_the_same_decoded_update(network: Make, codec: int) -> None:
    net = network(codec=codec)
    for _ in range(4):
        net.round()
    net.take()
    for site in net.sites.values():
        assert site.global_["all"].tobytes() == net.hub.weights().tobytes()
    assert not net.books("alarm")


def test_a_quorum_waits_for_the_others_only_through_the_grace(network: Make) -> None:
    net = network()
    net.take()
    net.bring("a")
    assert net.hub.lane().state is LaneState.COLLECTING
    net.bring("b")
    assert net.hub.lane().state is LaneState.GRACE and net.version == 0
    until = net.hub.lane().grace_until
    assert until is not None
    net.hear(at=until - 0.1)
    assert net.version == 0
    net.hear(at=until)
    assert net.version == 1


def test_the_grace_grows_with_the_round(network: Make) -> None:
    net = network(grace=1.0, grace_share=0.5)
    net.take()
    net.hear(at=1000.0)
    net.bring("a", "b")
    assert net.hub.lane().grace_until == pytest.approx(1002 + 501)


def test_without_a_quorum_nothing_is_merged_however_late(network: Make) -> None:
    net = network()
    net.take()
    net.bring("a")
    net.hear(at=1e9)
    assert net.version == 0


def test_what_is_late_is_taken_with_less_weight_for_two_versions(network: Make) -> None:
    net = network()
    head = net.take()
    late = net.sites["c"].bring(head, net.store)
    net.bring("a", "b")
    net.hear(at=1000.0)
    net.hear(late)
    net.round("a", "b")
    assert net.version == 2
    (share,) = (s for s in net.hub.lane().versions[2].shares if s.site == "c")
    assert (share.staleness, share.tokens) == (1, 500)
    assert share.weight == pytest.approx((500 / 1.25) / (1000 + 500 / 1.25))


def test_what_is_later_than_two_versions_is_refused_and_says_so(network: Make) -> None:
    net = network()
    late = net.sites["c"].bring(net.take(), net.store)
    for turn in range(3):
        net.take("a", "b")
        net.bring("a", "b")
        net.hear(at=(turn + 1) * 1000.0)
    assert net.version == 3
    net.hear(late, late)
    net.hear(late)
    assert net.refusals() == ["version 0 is more than 2 versions behind 3"]


def test_an_accepted_contribution_that_becomes_too_old_is_refused(network: Make) -> None:
    net = network(window=0)
    late = net.sites["c"].bring(net.take(), net.store)
    net.bring("a", "b")
    net.hub.hear(1000.0, [])  # the merge begins, and is not done
    assert net.hub.lane().state is LaneState.MERGING
    net.hub.hear(1000.0, [late])
    net.hub.work()
    assert net.version == 1
    assert net.refusals() == ["version 0 is too far behind 1, or was rolled back"]


def test_a_newcomer_starts_and_nobody_waits_for_it(network: Make) -> None:
    net = network()
    net.round()
    net.join("d")
    net.take()
    net.bring("a", "b", "c")
    assert net.version == 2
    net.take("d")
    assert net.sites["d"].global_["all"].tobytes() == net.hub.weights().tobytes()
    net.round("d", "a", "b", "c")
    assert [s.site for s in net.hub.lane().versions[3].shares] == ["a", "b", "c", "d"]
    net.take()
    net.bring("a", "b", "c")
    assert net.version == 3, "d brought something: now it is waited for"
    net.bring("d")
    assert net.version == 4


def test_a_site_that_is_away_for_long_is_waited_for_no_longer(network: Make) -> None:
    net = network()
    net.round()
    for _ in range(2):
        net.take("a", "b")
        net.bring("a", "b")
        net.hear(at=net.now + 1000)
    net.round("a", "b")
    net.round("a", "b")
    assert net.version == 5


def test_a_site_back_after_long_takes_the_head_and_discards_what_it_had(network: Make) -> None:
    net = network(snapshot_every=2)
    net.take()
    for _ in range(3):
        net.take("a", "b")
        net.bring("a", "b")
        net.hear(at=net.now + 1000)
    net.take("c")
    assert net.sites["c"].discarded == 1
    net.hear(Discarded(site="c", fragment="all", base=0, steps=5, tokens=500))
    net.hear(Discarded(site="c", fragment="all", base=0, steps=5, tokens=500))
    assert [d["tokens"] for d in net.books("discarded")] == [500]
    net.round("c", "a", "b")
    assert "c" in {s.site for s in net.hub.lane().versions[net.version].shares}


def test_a_site_that_says_it_cannot_is_not_waited_for(network: Make) -> None:
    net = network()
    net.round()
    net.take()
    net.bring("a", "b")
    assert net.version == 1
    net.hear(Failed(fragment="all", base=1, site="c", attempt=0, reason="its loss is NaN"))
    assert net.version == 2
    assert net.books("failed")[0]["reason"] == "its loss is NaN"


def test_a_site_that_leaves_is_not_waited_for_and_what_it_brought_stays(network: Make) -> None:
    net = network()
    net.round()
    net.take()
    net.bring("c", "a")
    net.hear(Left(site="c"))
    net.bring("b")
    assert [s.site for s in net.hub.lane().versions[2].shares] == ["a", "b", "c"]


def test_progress_heard_out_of_order_keeps_the_newest(network: Make) -> None:
    net = network()
    for seq, step in ((1, 10), (3, 30), (2, 20)):
        net.hear(Progressed(site="a", seq=seq, doing="training", step=step, of=50))
    assert net.hub.state.sites["a"].step == 30


# --- fragments --------------------------------------------------------------------------------


def test_fragments_go_their_ways_apart(network: Make) -> None:
    net = network(fragments=("one", "two"))
    net.take(fragment="one")
    net.take(fragment="two")
    for name in "abc":
        net.hear(net.sites[name].bring(net.hub.head("one"), net.store))
    assert (net.hub.lane("one").head, net.hub.lane("two").head) == (1, 0)
    for name in "abc":
        net.hear(net.sites[name].bring(net.hub.head("two"), net.store))
    assert (net.hub.lane("one").head, net.hub.lane("two").head) == (1, 1)


# --- the state --------------------------------------------------------------------------------


def test_a_tick_leaves_its_state_as_it_is(network: Make) -> None:
    net = network()
    net.take()
    before = dump(net.hub.state)
    event = net.sites["a"].bring(net.hub.head(), net.store)
    first = tick(net.hub.state, net.now + 1, [event])
    assert dump(net.hub.state) == before
    second = tick(net.hub.state, net.now + 1, [event])
    assert dump(first.state) == dump(second.state) and first.actions == second.actions


def test_how_sites_and_rounds_point_is_on_record(network: Make) -> None:
    net = network()
    net.round()
    net.round()
    (first, second) = net.books("version")
    pairs = [f"cosine {v}/{p}/0 {v}/{q}/0" for v in (0,) for p, q in ("ab", "ac", "bc")]
    assert [key for key in first if key.startswith("cosine")] == pairs
    assert "cosine 1/a/0 before" in second
    assert all(abs(float(str(second[k]))) <= 1 for k in second if k.startswith("cosine"))


def test_the_clock_is_never_taken_back(network: Make) -> None:
    net = network()
    assert tick(net.hub.state, -5.0).state.now == net.hub.state.now


def test_the_state_does_not_grow_with_the_run(network: Make) -> None:
    net = network(snapshot_every=2, keep=4)
    sizes = []
    for _ in range(40):
        net.round()
        sizes.append(len(dump(net.hub.state)))
    assert max(sizes[25:]) < 1.1 * max(sizes[10:25])
