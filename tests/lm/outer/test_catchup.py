"""A site gets to the head from wherever it was."""

from __future__ import annotations

import pytest

from ayni.lm.outer.catchup import catch_up
from ayni.lm.outer.messages import Head, Link


def head(*links: Link) -> Head:
    last = links[-1] if links else Link(version=10, update=None, digest="d10")
    return Head(
        run="r",
        fragment="all",
        count=5,
        version=last.version,
        digest=last.digest,
        status="running",
        step=0,
        inner_steps=5,
        window=2,
        lr=None,
        evaluate=False,
        snapshot_version=10,
        snapshot="w10",
        snapshot_digest="d10",
        chain=links,
    )


LINKS = [Link(version=v, update=f"u{v}", digest=f"d{v}") for v in (11, 12, 13, 14)]
HEAD = head(*LINKS)


@pytest.mark.parametrize(
    ("held", "late", "discard"), [(14, 0, False), (12, 2, False), (11, 3, True), (10, 4, True)]
)
def test_who_is_on_the_way_applies_what_it_missed(held: int, late: int, discard: bool) -> None:
    way = catch_up(HEAD, held, f"d{held}")
    assert (way.snapshot, way.late, way.discard) == (None, late, discard)
    assert [link.version for link in way.links] == list(range(held + 1, 15))


@pytest.mark.parametrize("held", [3, 9, 99])
def test_who_is_elsewhere_takes_the_snapshot(held: int) -> None:
    way = catch_up(HEAD, held, f"d{held}")
    assert (way.snapshot, way.links, way.late, way.discard) == ("w10", HEAD.chain, None, True)


def test_who_has_other_weights_takes_the_snapshot() -> None:
    assert catch_up(HEAD, 14, "other").snapshot == "w10"


def test_a_newcomer_has_nothing_to_discard() -> None:
    way = catch_up(HEAD, None, None)
    assert way.snapshot == "w10" and not way.discard


def test_the_first_version_needs_no_link() -> None:
    assert catch_up(head(), 10, "d10").links == ()
