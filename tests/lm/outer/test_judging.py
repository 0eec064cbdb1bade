"""Versions are judged by the sites: kept, or taken back; who harms is found. And going back at a wish."""

from __future__ import annotations

from itertools import pairwise

from ayni.lm.outer.lineage import referenced
from ayni.lm.outer.machine import outstanding, tick
from ayni.lm.outer.messages import (
    Evaluated,
    Inspect,
    Inspected,
    Merged,
    MergeFailed,
    Pause,
    Readmit,
    Rebuilt,
    Resume,
    RollBack,
    Set,
)
from ayni.lm.outer.perform import perform
from ayni.lm.outer.schedule import Phase, Schedule
from ayni.lm.outer.state import GiftState, LaneState, VersionState, dump
from tests.lm.outer.net import Make, Net


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


def test_a_site_that_is_gone_is_waited_for_once_and_no_more(network: Make) -> None:
    """Whoever is silent for the patience, and since the version before, holds up no judgement."""
    net = network(evaluate=True, quorum=2)
    net.round()
    vote(net, 1)
    net.round("a", "b")
    net.hear(at=net.now + 20)
    vote(net, 2, sites="ab")
    assert net.hub.lane().versions[2].state is VersionState.PROVISIONAL, "c may only be slow"
    net.hear(at=net.now + net.hub.state.rules.patience)
    assert net.hub.lane().versions[2].state is VersionState.COMMITTED
    for number in (3, 4):
        net.round("a", "b")
        net.hear(at=net.now + 20)
        assert net.version == number
        vote(net, number, sites="a")
        assert net.hub.lane().versions[number].state is VersionState.PROVISIONAL
        vote(net, number, sites="b")
        assert net.hub.lane().versions[number].state is VersionState.COMMITTED
    assert {one["verdict"] for one in net.books("judged")} == {"no harm"}


def test_one_site_alone_judges_nothing_where_others_are_gone(network: Make) -> None:
    net = network(evaluate=True, quorum=2)
    net.round()
    vote(net, 1)
    net.round()
    net.hear(at=net.now + 2 * net.hub.state.rules.patience)
    vote(net, 2, sites="a", harm="a")
    assert net.hub.lane().versions[2].state is VersionState.COMMITTED
    assert net.books("judged")[-1]["verdict"] == "not judged"


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


def test_after_a_rollback_the_way_that_was_left_is_no_measure(network: Make) -> None:
    net = network(evaluate=True)
    for version, after in enumerate((1.9, 1.5, 1.2), 1):
        net.round()
        for name in "abc":
            net.hear(Evaluated(site=name, fragment="all", version=version, before=2.0, after=after))
    net.hear(RollBack(order="one", to=1))
    net.round()
    for name in "abc":
        net.hear(Evaluated(site=name, fragment="all", version=5, before=1.9, after=1.8))
    assert net.books("judged")[-1]["verdict"] == "no harm"


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


def test_the_last_version_is_judged_before_the_run_is_over(network: Make) -> None:
    schedule = Schedule(steps=5, phases=(Phase(from_step=0, inner_steps=5),))
    net = network(evaluate=True, schedule=schedule)
    net.round()
    assert net.hub.head().status == "judging"
    vote(net, 1, harm="bc")
    assert [share.site for share in net.hub.lane().versions[3].shares] == ["b", "c"]
    assert net.hub.head().status == "judging"
    vote(net, 3)
    assert net.hub.head().status == "done" and net.hub.state.sites["a"].suspended is not None
