"""What may leave a task that read a dataset."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.protocol.messages import DatasetUse
from ayni.protocol.release import (
    CLOSED,
    FREE,
    Release,
    Rule,
    forbidden,
    from_json,
    over,
    rule_of,
    strictest,
)

uses = st.builds(
    DatasetUse,
    name=st.sampled_from(["a", "b"]),
    release=st.sampled_from(["nothing", "aggregate", "anything", "typo", ""]),
    release_limit=st.integers(-1, 1000),
)


def rule(release: str, limit: int = 0) -> Rule:
    return rule_of(DatasetUse(name="censo", release=release, release_limit=limit))


def test_a_task_that_reads_no_dataset_is_free() -> None:
    assert strictest([]) is FREE
    assert over(FREE, [("a", 1 << 60)], [1 << 60]) is None


@pytest.mark.parametrize("release", ["typo", "", "NOTHING", "aggregates"])
def test_a_release_that_is_not_known_lets_nothing_leave(release: str) -> None:
    assert rule(release, 100).release is Release.NOTHING


def test_aggregates_without_a_limit_are_nothing() -> None:
    assert rule("aggregate", 0).release is Release.NOTHING
    assert rule("aggregate", -5).release is Release.NOTHING


@given(st.lists(uses, max_size=5))
def test_the_strictest_rule_holds(given_uses: list[DatasetUse]) -> None:
    rules = [rule_of(use) for use in given_uses]
    found = strictest(rules)
    for other in rules:
        if other.release is Release.NOTHING:
            assert found.release is Release.NOTHING
        if other.release is Release.AGGREGATE and found.release is Release.AGGREGATE:
            assert found.limit <= other.limit
        if not other.free:
            assert not found.free


@given(st.lists(uses, max_size=3), uses, st.integers(0, 2000), st.integers(0, 2000))
def test_one_dataset_more_never_lets_more_leave(
    given_uses: list[DatasetUse], more: DatasetUse, outputs: int, log: int
) -> None:
    rules = [rule_of(use) for use in given_uses]
    before = over(strictest(rules), [("/o", outputs)], [log])
    after = over(strictest([*rules, rule_of(more)]), [("/o", outputs)], [log])
    if before is not None:
        assert after is not None


def test_outputs_names_and_logs_count_together() -> None:
    limited = rule("aggregate", 100)
    assert over(limited, [("/o", 58)], [40]) is None
    assert over(limited, [("/o", 59)], [40]) is not None
    assert over(limited, [("/" + "x" * 98, 0)], []) is None
    assert over(limited, [("/" + "ñ" * 98, 0)], []) is not None
    assert over(limited, [("/a", 0)] * 51, []) is not None


def test_nothing_means_nothing() -> None:
    assert over(rule("nothing"), [], [1]) is not None
    assert over(rule("nothing"), [("/empty", 0)], []) is not None
    assert over(rule("nothing"), [], []) is None


def test_a_task_whose_results_nobody_could_have_is_refused_before_it_runs() -> None:
    found = forbidden(rule("nothing"), outputs=1, network=False)
    assert found is not None
    assert found.field == "outputs[0].url"
    assert "lets nothing leave" in found.message and "take them out" in found.message
    assert forbidden(rule("nothing"), outputs=0, network=False) is None
    assert forbidden(rule("aggregate", 10), outputs=1, network=False) is None


def test_a_task_that_reads_restricted_data_gets_no_network() -> None:
    for restricted in (rule("nothing"), rule("aggregate", 10)):
        found = forbidden(restricted, outputs=0, network=True)
        assert found is not None
        assert found.field == "resources.backend_parameters.network"
        assert "gets no network" in found.message
    assert forbidden(rule("anything"), outputs=1, network=True) is None


def test_a_task_over_several_nodes_has_their_network_where_every_card_says_so() -> None:
    open_, closed = (
        rule_of(DatasetUse(name=name, release="nothing", inner_network=inner))
        for name, inner in (("censo", True), ("salud", False))
    )
    asks = {"outputs": 0, "network": True}
    assert forbidden(open_, **asks, nodes=2) is None
    assert forbidden(open_, **asks, nodes=1) is not None, "it has nobody to talk to but outside"
    found = forbidden(strictest([open_, closed]), **asks, nodes=2)
    assert found is not None
    assert "salud" in found.message and "inner_network" in found.message
    assert forbidden(CLOSED, **asks, nodes=2) is not None
    assert from_json(json.loads(json.dumps(asdict(open_)))).inner, "as volumes keep it"


def test_logs_are_shown_live_only_where_anything_may_leave() -> None:
    assert rule("anything").live_tails
    assert not rule("aggregate", 10).live_tails
    assert not rule("nothing").live_tails


# --- channels ---------------------------------------------------------------------------------


def named(release: str, limit: int, *channels: str, of: int = 500) -> Rule:
    use = DatasetUse(
        name="censo", release=release, release_limit=limit,
        channels=list(channels), channel_limit=of if channels else 0,
    )  # fmt: skip
    return rule_of(use)


def limit_of(rule: Rule, channel: str = "quinua/sums") -> int | None:
    gate = rule.narrowest(channel)
    return None if gate is None else gate.limit


def test_who_reads_nothing_restricted_may_say_anything() -> None:
    assert limit_of(FREE) is None
    assert limit_of(rule("anything")) is None


def test_aggregates_share_their_limit_with_channels() -> None:
    shared = rule("aggregate", 100)
    assert limit_of(shared) == 100 and shared.shares
    assert over(shared, [("o", 50)], [20], sent=20) is None
    assert over(shared, [("o", 50)], [20], sent=40) is not None


def test_nothing_leaves_by_a_channel_where_nothing_may() -> None:
    assert limit_of(rule("nothing")) == 0
    assert limit_of(CLOSED) == 0


@pytest.mark.parametrize("release", ["nothing", "aggregate"])
def test_named_channels_have_a_limit_of_their_own(release: str) -> None:
    own = named(release, 100, "quinua/sums")
    assert limit_of(own) == 500 and limit_of(own, "quinua/other") == 0
    assert not own.shares
    assert over(own, [("o", 90)], [], sent=400) is None or release == "nothing"


def test_every_dataset_that_is_read_must_let_it_out() -> None:
    both = strictest([named("nothing", 0, "quinua/*"), named("aggregate", 9, "*/sums", of=30)])
    assert limit_of(both) == 30
    assert limit_of(both, "quinua/other") == 0
    assert limit_of(strictest([both, rule("nothing")])) == 0
    assert limit_of(strictest([both, rule("anything")])) == 30


@given(st.lists(uses, max_size=5))
def test_another_dataset_never_widens_what_a_task_may_say(given_uses: list[DatasetUse]) -> None:
    rules = [rule_of(use) for use in given_uses]
    whole = limit_of(strictest(rules))
    for one in rules:
        alone = limit_of(one)
        assert alone is None or (whole is not None and whole <= alone)


def test_a_task_is_told_beforehand_by_which_channels_it_may_not_send() -> None:
    closed = forbidden(rule("nothing"), outputs=0, network=False, sends=["quinua/sums"])
    assert closed is not None and closed.field.endswith("channels")
    assert "sums:in" in closed.message
    own = named("nothing", 0, "quinua/sums")
    assert forbidden(own, outputs=0, network=False, sends=["quinua/sums"]) is None
    other = forbidden(own, outputs=0, network=False, sends=["quinua/other"])
    assert other is not None and "quinua/sums" in other.message
