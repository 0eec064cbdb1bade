"""Who is waited for, what is taken, what is refused and why; all of it by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ayni.lm.outer.lineage import referenced
from ayni.lm.outer.machine import outstanding, tick
from ayni.lm.outer.messages import (
    Discarded,
    Evaluated,
    Failed,
    Inspect,
    Inspected,
    Left,
    Merged,
    MergeFailed,
    Pause,
    Progressed,
    Readmit,
    Rebuilt,
    Rejected,
    Resume,
    RollBack,
    Set,
)
from ayni.lm.outer.perform import perform
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import GiftState, LaneState, VersionState, dump
from tests.lm.outer.net import COUNT, START, Net, rules
from tests.lm.outer.reference import Reference
from tests.lm.outer.sites import Site, decoded


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Net]:
    made = []

    def make(fragments: tuple[str, ...] = ("all",), **changes: object) -> Net:
        made.append(Net(tmp_path / str(len(made)), rules(**changes), fragments))
        return made[-1]

    return make


Make = Callable[..., Net]


# --- rounds -----------------------------------------------------------------------------------


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


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": "other"}, "of the run other"),
        ({"base": 7}, "no version 7 yet"),
        ({"digest": "f00d"}, "has other weights"),
        ({"nonce": "f00d"}, "nonce"),
        ({"steps": 11, "tokens": 1}, "allows 10 at most"),
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
        net.bring("c", attempt=attempt, delta=np.full(COUNT, attempt, np.float32))
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


# --- judging ----------------------------------------------------------------------------------


def vote(net: Net, version: int, harm: str = "", sites: str = "abc") -> None:
    for name in sites:
        after = 3.0 if name in harm else 2.01
        net.hear(Evaluated(site=name, fragment="all", version=version, before=2.0, after=after))


def test_a_version_is_announced_at_once_and_committed_when_judged(network: Make) -> None:
    net = network(evaluate=True)
    net.round()
    assert net.hub.head().version == 1 and net.hub.head().evaluate
    assert net.hub.lane().versions[1].state is VersionState.PROVISIONAL
    vote(net, 1, harm="c")
    assert net.hub.lane().versions[1].state is VersionState.COMMITTED


def test_one_harmful_site_of_three_is_found_and_suspended(network: Make) -> None:
    """Version 2 does harm; without a still; without b still; without c no longer."""
    net = network(evaluate=True)
    net.round()
    vote(net, 1)
    before = net.hub.weights().copy()
    net.round()
    vote(net, 2, harm="ab")
    assert net.hub.lane().versions[3].parent == 1, "back to version 1"
    assert net.hub.lane().versions[3].digest == net.hub.lane().versions[1].digest
    assert [s.site for s in net.hub.lane().versions[4].shares] == ["b", "c"]
    vote(net, 4, harm="ab")
    assert [s.site for s in net.hub.lane().versions[6].shares] == ["a", "c"]
    vote(net, 6, harm="ab")
    assert [s.site for s in net.hub.lane().versions[8].shares] == ["a", "b"]
    assert net.hub.lane().versions[7].digest == net.hub.lane().versions[1].digest
    net.take("c")
    net.bring("c")
    assert net.hub.lane().gifts["8/c/0"].state is GiftState.ACCEPTED
    vote(net, 8)
    assert net.hub.state.sites["c"].suspended is not None
    assert not net.hub.state.paused and net.hub.lane().trial is None
    assert (net.hub.weights() != before).any()
    net.take("a", "b")
    net.bring("a", "b")
    assert [s.site for s in net.hub.lane().versions[9].shares] == ["a", "b"]
    net.take("c")
    net.bring("c")
    assert "suspended" in net.refusals()[-1]
    net.hear(Readmit(site="c", order="1"))
    net.round("c", "a", "b")
    assert "c" in {s.site for s in net.hub.lane().versions[net.version].shares}


def test_harm_by_no_one_site_loses_the_round_and_in_the_end_pauses(network: Make) -> None:
    net = network(evaluate=True, most_harms=4)
    net.round()
    for _ in range(4):
        vote(net, net.version, harm="abc")
    assert net.hub.state.paused and "in a row" in str(net.hub.state.why_paused)
    assert net.hub.lane().versions[net.version].digest == net.hub.lane().versions[0].digest
    assert net.hub.head().status == "paused"
    net.hear(Resume())
    net.round()
    assert net.hub.lane().versions[net.version].shares


def test_nobody_judges_alone_what_it_brought_alone(network: Make) -> None:
    net = network(evaluate=True, quorum=1, grace=0.0)
    net.take("c")
    net.bring("c")
    vote(net, 1, sites="c")
    net.hear(at=1e6)
    assert net.books("judged")[0]["verdict"] == "not judged"


def test_silent_judges_are_waited_for_with_patience_and_no_longer(network: Make) -> None:
    net = network(evaluate=True, patience=100.0)
    net.round()
    vote(net, 1, harm="a", sites="a")
    net.hear(at=net.now + 50)
    assert net.hub.lane().versions[1].state is VersionState.PROVISIONAL
    net.hear(at=net.now + 100)
    assert net.books("judged")[0]["verdict"] == "not judged"


def test_nan_is_harm_and_the_first_vote_counts(network: Make) -> None:
    net = network(evaluate=True)
    net.round()
    for name in "ab":
        net.hear(Evaluated(site=name, fragment="all", version=1, before=2.0, after=None))
        net.hear(Evaluated(site=name, fragment="all", version=1, before=2.0, after=2.0))
    assert net.books("judged")[0]["verdict"] == "harm"


def test_what_was_built_on_a_harmful_version_goes_with_it(network: Make) -> None:
    net = network(evaluate=True)
    net.round()
    net.round()
    vote(net, 1, harm="ab")
    assert net.hub.lane().versions[3].parent == 0
    assert {d["version"] for d in net.books("rolled back")} == {1, 2}


def test_a_judgement_that_comes_late_finds_what_was_merged(network: Make) -> None:
    """The payloads of a provisional version are kept, however old their base is by then."""
    net = network(evaluate=True, patience=1e9)
    for _ in range(5):
        net.round()
    net.store.blobs = {
        ref: data for ref, data in net.store.blobs.items() if ref in referenced(net.hub.state)
    }
    vote(net, 1, harm="ab")
    assert net.hub.lane().versions[6].parent == 0
    assert [s.key for s in net.hub.lane().versions[7].shares] == ["0/b/0", "0/c/0"]


def test_a_parent_that_one_may_go_back_to_is_kept(network: Make) -> None:
    net = network(evaluate=True, patience=1e9, keep=1, snapshot_every=1)
    for _ in range(4):
        net.round()
    vote(net, 1, harm="ab")
    assert net.hub.lane().versions[5].digest == net.hub.lane().versions[0].digest


def test_harm_in_small_steps_is_harm_in_the_end(network: Make) -> None:
    net = network(evaluate=True)
    losses = [2.0, 2.04, 2.08, 2.12]
    for version, (before, after) in enumerate(pairwise(losses), 1):
        net.round()
        for name in "abc":
            net.hear(
                Evaluated(site=name, fragment="all", version=version, before=before, after=after)
            )
    verdicts = [d["verdict"] for d in net.books("judged")]
    assert verdicts[:3] == ["no harm", "no harm", "harm"]


def test_a_tie_is_no_harm(network: Make) -> None:
    net = network(evaluate=True)
    net.join("d")
    net.round("a", "b", "c", "d")
    vote(net, 1, harm="ab", sites="abcd")
    assert net.books("judged")[0]["verdict"] == "no harm"


def test_an_answer_to_another_question_is_not_heard(network: Make) -> None:
    net = network()
    net.round()
    net.take()
    events = [net.sites[n].bring(net.hub.head(), net.store) for n in "abc"]
    net.hub.hear(net.now, events)
    other = Inspected(fragment="all", base=1, site="a", attempt=0, blob="other", norm=1.0)
    net.hub.hear(net.now, [other])
    assert net.hub.lane().gifts["1/a/0"].state is GiftState.OFFERED
    for action in [a for a in outstanding(net.hub.state) if isinstance(a, Inspect)]:
        net.hub.hear(net.now, [perform(action, net.store)])
    before = dump(net.hub.state)
    assert net.hub.lane().state is LaneState.MERGING
    for version, attempt in ((1, 0), (2, 1), (3, 0)):
        merged = Merged(
            fragment="all",
            version=version,
            attempt=attempt,
            update="u",
            params="p",
            digest="d",
            norm=1.0,
        )
        net.hub.hear(net.now, [merged])
    net.hub.hear(net.now, [Rebuilt(fragment="all", version=2, params="p", digest="d")])
    failed = MergeFailed(fragment="all", version=2, attempt=1, input="1/a/0", problem="lost")
    net.hub.hear(net.now, [failed])
    assert dump(net.hub.state) == before
    net.hub.hear(net.now, [RollBack(order="one", to=0)])
    before = dump(net.hub.state)
    net.hub.hear(net.now, [Rebuilt(fragment="all", version=2, params="p", digest="d")])
    assert dump(net.hub.state) == before


def test_weights_that_come_back_wrong_pause_the_run(network: Make) -> None:
    net = network()
    net.round()
    net.hub.hear(net.now, [RollBack(order="one", to=0)])
    net.hub.hear(net.now, [Rebuilt(fragment="all", version=2, params="p", digest="other")])
    assert net.hub.state.paused and "look at the disk" in str(net.hub.state.why_paused)


# --- steering ---------------------------------------------------------------------------------


def test_a_pause_merges_nothing_and_loses_nothing(network: Make) -> None:
    net = network()
    net.take()
    net.hear(Pause())
    net.bring("a", "b", "c")
    assert net.version == 0 and net.hub.head().status == "paused"
    net.hear(Resume())
    assert net.version == 1


def test_a_rollback_is_a_new_version_with_old_weights(network: Make) -> None:
    net = network(snapshot_every=2, keep=10)
    digests = {0: net.hub.head().digest}
    for version in range(1, 6):
        net.round()
        digests[version] = net.hub.head().digest
    late = net.sites["c"].bring(net.hub.head(), net.store)
    net.hear(RollBack(order="one", to=3))
    net.hear(RollBack(order="one", to=3))
    head = net.hub.head()
    assert (head.version, head.digest, head.step) == (6, digests[3], 15)
    net.hear(late)
    assert net.refusals() == ["version 5 was rolled back"]
    net.round()
    assert net.version == 7
    for site in net.sites.values():
        assert site.held["all"] == 6 and not net.books("alarm")


def test_a_rollback_to_what_is_not_kept_is_refused(network: Make) -> None:
    net = network(snapshot_every=1, keep=2)
    for _ in range(4):
        net.round()
    net.hear(RollBack(order="one", to=0))
    assert net.version == 4 and "not kept" in str(net.books("alarm")[0]["text"])


def test_a_rollback_while_merging_drops_the_merge(network: Make) -> None:
    net = network()
    net.round()
    net.take()
    events = [net.sites[n].bring(net.hub.head(), net.store) for n in "abc"]
    net.hub.hear(net.now, events)
    for action in [a for a in tick(net.hub.state, net.now).actions if a.kind == "inspect"]:
        answer = perform(action, net.store)
        assert answer is not None
        net.hub.hear(net.now, [answer])
    assert net.hub.lane().state is LaneState.MERGING
    net.hear(RollBack(order="one", to=0))
    assert net.hub.lane().versions[net.version].parent == 0
    net.round()
    assert net.hub.lane().versions[net.version].shares


def test_settings_hold_from_their_version_on(network: Make) -> None:
    net = network()
    net.hear(
        Set(name="lr", value=0.5, from_version=1),
        Set(name="outer_lr", value=0.25, from_version=1),
        Set(name="outer_momentum", value=0.5, from_version=2),
    )
    assert net.hub.head().lr is None
    for _ in range(3):
        net.round()
    assert net.hub.head().lr == 0.5
    made = [(d["lr"], d["momentum"]) for d in net.books("version")]
    assert made == [(1.0, 0.0), (0.25, 0.0), (0.25, 0.5)]


def test_a_new_inner_rate_makes_nobody_unusual(network: Make) -> None:
    net = network()
    for _ in range(4):
        net.round()
    wish = Set(name="lr", value=1.0, from_version=4)
    net.hear(wish)
    net.take()
    for name in "abc":
        net.bring(name, delta=50 * net.sites[name].delta(net.hub.head()))
    assert net.version == 5 and not net.refusals()
    net.hear(wish)
    assert net.hub.state.sites["a"].habits["all"].norms, "the second time it changes nothing"


def test_the_run_ends_with_its_last_step(network: Make) -> None:
    net = network(schedule=Schedule(steps=7, phases=(Phase(from_step=0, inner_steps=5),)))
    net.round()
    assert net.hub.head().inner_steps == 2
    net.round()
    assert net.hub.head().status == "done" and net.hub.lane().state is LaneState.DONE
    net.hear(net.sites["a"].bring(net.hub.head(), net.store, steps=1, tokens=1))
    net.hear(at=1e9)
    assert net.version == 2


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
