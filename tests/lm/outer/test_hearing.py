"""What is refused, and with which reason; nothing that is heard twice changes anything."""

from __future__ import annotations

import numpy as np
import pytest

from ayni.lm.outer.messages import (
    Left,
    Rejected,
    Resume,
    RollBack,
)
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import GiftState, dump
from tests.lm.outer.net import COUNT, Make
from tests.lm.outer.sites import Site


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": "other"}, "of the run other"),
        ({"base": 7}, "no version 7 yet"),
        ({"digest": "f00d"}, "has other weights"),
        ({"nonce": "f00d"}, "nonce"),
        ({"steps": 6, "tokens": 1}, "allows 5 at most"),
        ({"tokens": 501}, "more than its 5 steps"),
        ({"size": 10**9}, "more than the fragment has"),
        ({"attempt": 16}, "at most 16"),
    ],
)
def test_a_contribution_that_cannot_be_is_refused_with_its_reason(
    network: Make, changes: dict[str, object], reason: str
) -> None:
    net = network()
    net.take()
    event = net.sites["c"].bring(net.hub.head(), net.store).model_copy(update=changes)
    net.hear(event, event)
    net.hear(event)
    assert len(net.refusals()) == 1 and reason in net.refusals()[0]
    net.bring("a", "b")
    net.hear(at=1000.0)
    assert [s.site for s in net.hub.lane().versions[1].shares] == ["a", "b"]


def test_a_blob_that_is_not_sound_is_refused(network: Make) -> None:
    net = network()
    head = net.take()
    good = net.sites["c"].bring(head, net.store)
    data = net.store.blobs[good.blob]
    for attempt, bad in enumerate((data[:-1], data[:90] + b"x" + data[91:], b"", data + b"x")):
        net.hear(net.sites["c"].say(head, net.store.put(bad), len(data), attempt))
    net.hear(net.sites["c"].say(head, "gone", len(data), 9))
    assert len(net.refusals()) == 5
    assert any("truncated" in r for r in net.refusals())
    assert any("no blob gone" in r for r in net.refusals())
    net.hear(good.model_copy(update={"attempt": 10}))
    net.bring("a", "b")
    assert [s.key for s in net.hub.lane().versions[1].shares] == ["0/a/0", "0/b/0", "0/c/10"]


def test_bytes_that_were_not_there_are_not_booked(network: Make) -> None:
    net = network()
    head = net.take()
    data = net.store.blobs[net.sites["c"].bring(head, net.store).blob]
    for attempt, size in enumerate((len(data) + 1, len(data) - 1)):
        net.hear(net.sites["c"].say(head, net.store.put(data), size, attempt))
    assert net.refusals() == [
        f"the blob has {len(data)} bytes, and {size} were announced"
        for size in (len(data) + 1, len(data) - 1)
    ]


def test_two_payloads_under_one_key_are_a_dispute_and_the_first_counts(network: Make) -> None:
    net = network()
    head = net.take()
    first = net.sites["c"].bring(head, net.store)
    other = net.sites["c"].bring(head, net.store, delta=np.ones(COUNT, np.float32))
    net.hear(first, other, other)
    net.bring("a", "b")
    assert net.version == 1 and len(net.books("alarm")) == 1
    assert net.hub.lane().gifts["0/c/0"].blob == first.blob


def test_the_last_of_several_attempts_is_merged_and_no_later_one(network: Make) -> None:
    net = network()
    head = net.take()
    for attempt in (1, 0, 2):
        net.bring("c", attempt=attempt, delta=np.full(COUNT, attempt / 10, np.float32))
    net.bring("a", "b")
    assert "0/c/2" in {s.key for s in net.hub.lane().versions[1].shares}
    net.hear(net.sites["c"].bring(head, net.store, attempt=3))
    assert len([s for s in net.hub.lane().gifts.values() if s.state is GiftState.MERGED]) == 3
    assert net.refusals() == ["another attempt at this base was merged"] * 3


def test_a_norm_beyond_what_is_usual_is_clipped_and_far_beyond_refused(network: Make) -> None:
    net = network(clip=2.0, refuse=8.0)
    for _ in range(3):
        net.round()
    usual = net.hub.state.sites["c"].habits["all"].norms
    assert len(usual) == 3
    head = net.take()
    plain = net.sites["c"].delta(head)
    size = float(np.linalg.norm(plain)) / 5 / float(np.median(usual))
    net.bring("c", delta=(plain * (4 / size)).astype(np.float32))
    net.bring("a", "b")
    (share,) = (s for s in net.hub.lane().versions[4].shares if s.site == "c")
    assert share.clipped == pytest.approx(0.5, rel=0.01)
    net.take()
    net.bring("c", delta=(plain * (9 / size)).astype(np.float32))
    assert "times what is usual" in net.refusals()[0]


def test_what_is_clipped_does_not_become_usual(network: Make) -> None:
    """Nor does what stays below being clipped, beyond twice what is usual of the others."""
    for times in (9.0, 2.9):
        net = network()
        for _ in range(3):
            net.round()
        usual = float(np.median(net.hub.state.sites["c"].habits["all"].norms))
        for _ in range(25):
            net.take()
            pull = net.sites["c"].delta(net.hub.head())
            limit = 5 * usual * times
            net.bring("c", delta=(pull * limit / np.linalg.norm(pull)).astype(np.float32))
            net.bring("a", "b")
        gifts = [g for g in net.hub.lane().gifts.values() if g.site == "c" and g.limit]
        others = [np.median(net.hub.state.sites[n].habits["all"].norms) for n in "ab"]
        assert all(g.limit / 5 <= 3 * 2 * max(max(others), usual) for g in gifts)
        if times == 9.0:
            habit = net.hub.state.sites["c"].habits["all"].norms
            assert max(habit) <= 1.5 * usual


def test_who_trains_on_while_he_waits_may_bring_what_the_schedule_lets_him(network: Make) -> None:
    net = network(overlap=2)
    head = net.take()
    plain = net.sites["c"].bring(head, net.store)
    net.hear(plain.model_copy(update={"steps": 8, "attempt": 1}))
    assert net.refusals() == ["8 inner steps where the round allows 7 at most"]
    net.hear(plain.model_copy(update={"steps": 7, "tokens": 700}))
    net.bring("a", "b")
    assert "0/c/0" in {share.key for share in net.hub.lane().versions[1].shares}


def test_of_the_tokens_a_fragment_counts_its_share(network: Make) -> None:
    net = network(fragments=("one", "two"))
    plain = net.sites["c"].bring(net.take(fragment="two"), net.store, fragment="two")
    net.hear(plain.model_copy(update={"tokens": plain.tokens + 1}))
    assert net.refusals() == ["501 tokens are more than its 5 steps can have seen"]


def test_in_the_first_round_already_what_is_far_too_long_is_refused(network: Make) -> None:
    """Nothing is usual of anybody yet: the others of the round say what is."""
    net = network()
    head = net.take()
    net.bring("c", delta=np.full(COUNT, 1e20, np.float32))
    net.bring("a", "b")
    assert "times the round's" in net.refusals()[0] and net.version == 0
    net.bring("c", attempt=1)
    assert {share.site for share in net.hub.lane().versions[1].shares} == set("abc")
    assert np.abs(net.hub.weights()).max() < 2 and head.version == 0


def test_who_brings_nearly_nothing_in_the_first_round_has_nobody_refused(network: Make) -> None:
    for little in (0.0, 1e-9):
        net = network()
        head = net.take()
        net.bring("c", delta=(little * net.sites["c"].delta(head)).astype(np.float32))
        net.bring("a", "b")
        assert net.version == 1 and not net.refusals()
        assert {share.clipped for share in net.hub.lane().versions[1].shares} == {1.0}


def test_of_two_the_longer_is_shortened_to_what_the_other_could_bring(network: Make) -> None:
    net = network()
    net.take()
    net.bring("c", delta=np.full(COUNT, 1e20, np.float32))
    net.bring("a")
    net.hear(at=1000.0)
    gifts = net.hub.lane().gifts
    (share,) = (one for one in net.hub.lane().versions[1].shares if one.site == "c")
    length = share.clipped * float(gifts["0/c/0"].norm or 0)
    assert length == pytest.approx(10 * float(gifts["0/a/0"].norm or 0))


def test_a_merge_whose_values_are_too_large_pauses_the_run_until_somebody_goes_back(
    network: Make,
) -> None:
    """Started again it does not fail again; and who goes back goes on."""
    phase = Phase(from_step=0, inner_steps=5, lr=1.0, momentum=0.9)
    net = network(quorum=1, schedule=Schedule(steps=1000, phases=(phase,)))
    net.sites = {name: net.sites[name] for name in "c"}
    net.hear(Left(site="a"), Left(site="b"))
    net.take()
    net.bring("c", delta=np.full(COUNT, 1.2e30, np.float32))
    assert net.version == 0 and net.hub.head().status == "paused"
    assert "beyond" in str(net.hub.state.why_paused), net.hub.state.why_paused
    net.hear(RollBack(order="one", to=0), Resume())
    net.round()
    assert [share.key for share in net.hub.lane().versions[net.version].shares] == ["1/c/0"]
    assert np.abs(net.hub.weights()).max() < 2


def test_a_newcomer_is_measured_by_the_others(network: Make) -> None:
    net = network()
    for _ in range(3):
        net.round()
    net.join("d")
    net.take()
    net.bring("d", delta=np.full(COUNT, 1000, np.float32))
    assert "times what is usual" in net.refusals()[0]


def test_strangers_and_forgeries_change_nothing_but_the_books(network: Make) -> None:
    net = network()
    net.take()
    before = net.hub.state
    stranger = Site("x", 9)
    stranger.take(net.hub.head(), net.store)
    net.hear(
        stranger.bring(net.hub.head(), net.store),
        Rejected(claimed="a", digest="f00d", reason="the signature does not hold"),
        at=net.now,
    )
    assert dump(net.hub.state) == dump(before)
    assert net.books("unknown site") and net.books("rejected")


def test_an_input_lost_between_inspection_and_merge_is_left_out(network: Make) -> None:
    net = network()
    net.take()
    net.bring("a", "b")
    ref = net.hub.lane().gifts["0/a/0"].blob
    kept = net.store.blobs.pop(ref)
    net.bring("c")
    assert net.version == 0, "it may bring another attempt"
    net.hear(at=1000.0)
    assert [s.site for s in net.hub.lane().versions[1].shares] == ["b", "c"]
    assert "no blob" in net.refusals()[0]
    net.store.blobs[ref] = kept
