"""Who is late and why; what each site brought, and what became of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.outer.messages import Discarded, Failed, Left, Progressed, Record, RollBack
from ayni.lm.outer.watch import Standing, Tallies, Tally, contributions, standings
from tests.lm.outer.net import Net, rules


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(tmp_path, rules())


def of(net: Net, site: str) -> Standing:
    (found,) = (s for s in standings(net.hub.state, net.now) if s.site == site)
    return found


def test_every_site_says_where_it_is(net: Net) -> None:
    net.round()
    net.take("a", "b")
    net.bring("a")
    net.hear(Progressed(site="b", seq=1, doing="training", step=3, of=5))
    net.hear(Progressed(site="c", seq=1, doing="waiting"))
    assert of(net, "a").brought and of(net, "a").why == "it has brought its part"
    assert (of(net, "b").behind, of(net, "b").awaited) == (0, True)
    assert of(net, "b").why == "training, step 3 of 5"
    assert (of(net, "c").behind, of(net, "c").why) == (1, "waiting from version 0; the head is 1")


def test_who_brings_nothing_says_why(net: Net) -> None:
    net.round()
    net.take()
    net.bring("a", tokens=10**9)
    net.hear(Failed(fragment="all", base=1, site="b", attempt=0, reason="the disk is full"))
    net.hear(Left(site="c"))
    assert "tokens are more than" in of(net, "a").why and not of(net, "a").brought
    assert of(net, "b").why == "it cannot: the disk is full" and not of(net, "b").awaited
    assert of(net, "c").why == "it left the run" and not of(net, "c").awaited


def test_who_says_nothing_is_silent(net: Net) -> None:
    net.round()
    net.take()
    net.now += 3600
    assert of(net, "a").why == "silent for 60 minutes"


def test_what_was_brought_is_counted_and_what_was_rolled_back_apart(net: Net) -> None:
    for _ in range(3):
        net.round()
    net.hear(RollBack(order="one", to=2))
    net.take()
    net.bring("c", tokens=10**9)
    net.hear(Discarded(site="b", fragment="all", base=0, steps=5, tokens=500))
    found = contributions(record for _, record in net.hub.journal.books())
    assert {site: (t.tokens, t.merged, t.revoked) for site, t in found.items()} == dict.fromkeys(
        "abc", (1000, 2, 1)
    )
    assert found["c"].refused == 1 and "tokens" in found["c"].reasons[0]
    assert found["b"].discarded_tokens == 500
    for version in (1, 2):
        assert sum(t.weights["all", version] for t in found.values()) == pytest.approx(1)


def record(what: str, version: int, site: str = "a", **data: str | float) -> Record:
    said = {"fragment": "all", "version": version, "site": site} | data
    if what == "rolled back":
        del said["site"]
    return Record(key=f"{what}/{version}/{site}", what=what, at=0.0, data=said)


def brought(version: int, site: str, tokens: int, weight: float) -> Record:
    return record(
        "merged", version, site, tokens=tokens, bytes=tokens, staleness=tokens % 2, clipped=weight,
        weight=weight, core_seconds=tokens,
    )  # fmt: skip


_books = st.lists(
    st.one_of(
        st.builds(
            brought, st.integers(1, 4), st.sampled_from("ab"), st.integers(0, 9), st.sampled_from((0.25, 1.0))
        ),
        st.builds(record, st.just("rolled back"), st.integers(1, 4)),
        st.builds(
            lambda tokens: record("discarded", 0, "b", tokens=tokens), st.integers(1, 9)
        ),
    ),
    max_size=20,
)  # fmt: skip


@given(_books)
def test_counted_record_by_record_or_without_what_never_stood_it_comes_to_the_same(
    books: list[Record],
) -> None:
    back = {one.data["version"] for one in books if one.what == "rolled back"}
    plain = Tallies()
    for one in books:
        if one.what == "discarded" or (one.what == "merged" and one.data["version"] not in back):
            plain.take(one)
    counted = contributions(books)
    for site, tally in counted.items():
        revoked = [
            one
            for one in books
            if one.what == "merged" and one.data["site"] == site and one.data["version"] in back
        ]
        assert tally.revoked == len(revoked)
        assert replace(tally, revoked=0) == plain.of.get(site, Tally())
    assert plain.of.keys() <= counted.keys()
