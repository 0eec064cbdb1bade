"""The virtual clock: what it says can be reckoned by hand where nothing overlaps."""

from __future__ import annotations

import pytest
from bench.outer_clock.clock import ROUND_TRIPS, SAID, Link, Rates, Run, ring

from ayni.lm.outer.codec import Codec, blob_size
from ayni.lm.outer.schedule import Phase, Schedule

COUNT = 8 << 22
LINK = Link("slow", 8e6, 0.1)
RATES = Rates(send=1e-7, apply=2e-8, inspect=1e-8, merge=3e-8)


def schedule(steps: int, length: int) -> Schedule:
    return Schedule(steps=steps, phases=(Phase(from_step=0, inner_steps=length),))


def gone(fragments: int, steps: int = 30, pace: float = 10.0, link: Link = LINK) -> Run:
    overlap = 10 if fragments > 1 else 0
    run = Run(
        schedule(steps, 10), Codec.INT8, COUNT, link, RATES, pace=pace, fragments=fragments, overlap=overlap,
    )  # fmt: skip
    run.go()
    return run


def test_without_overlap_a_round_is_its_steps_and_one_exchange() -> None:
    run = gone(1)
    one_way = 8 * blob_size(COUNT, Codec.INT8) / LINK.rate + SAID + ROUND_TRIPS * LINK.delay
    work = RATES.send + RATES.apply + 3 * RATES.inspect + RATES.merge
    # After the last of three rounds nothing is trained any more.
    assert run.seconds == pytest.approx(3 * 100.0 + 2 * (2 * one_way + work * COUNT))
    assert run.utilisation == pytest.approx(300.0 / run.seconds)
    assert {site.step for site in run.sites.values()} == {30}


def test_overlap_hides_an_exchange_that_is_shorter_than_a_round() -> None:
    assert gone(1, 200, pace=20.0).utilisation < 0.8
    assert gone(4, 200, pace=20.0).utilisation > 0.97


def test_a_site_does_not_run_away_from_a_link_that_is_too_slow() -> None:
    run = gone(4, 60, pace=0.1)
    assert run.utilisation < 0.2
    assert all(head.status == "done" for head in run.machine.heads())


def test_the_same_bytes_pass_whether_they_overlap_or_not() -> None:
    whole, parts = gone(1), gone(4)
    for site in ("site-0", "site-2"):
        sent = whole.sites[site].up.bytes
        assert sent == 3 * blob_size(COUNT, Codec.INT8)
        # Fragments take turns: their first rounds are shorter, so there is one round more of some.
        assert sent <= parts.sites[site].up.bytes <= 4 / 3 * sent + 4096


def test_a_ring_sends_each_value_once_and_a_third_again_of_three_sites() -> None:
    link = Link("ring", 8e6, 0.0)
    assert ring(3_000_000, link, sites=3, width=4) == pytest.approx(4 * 4 * 3e6 / 3 / 1e6)
