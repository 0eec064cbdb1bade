"""What is alarming in a run, and what is not."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.lm.outer.messages import Failed, Progressed, Record, RollBack
from ayni.lm.outer.watch import SILENT, standings
from ayni.lm.watching.alarms import ENOUGH, LEAST, ROUNDS, Alarm, Watch, limit
from ayni.lm.watching.record import Report
from tests.lm.outer.net import Net, rules

LOSSES = st.floats(0.01, 100)
HISTORIES = st.lists(LOSSES, min_size=ENOUGH, max_size=ROUNDS)


def reports(*losses: float, site: str = "cl", every: float = 60.0) -> list[Report]:
    return [
        Report(site, base, base * every, {"es": loss}, {"es": 100}, 50.0)
        for base, loss in enumerate(losses)
    ]


def heard(*losses: float, **more: Any) -> list[Alarm]:
    watch = Watch()
    return [alarm for report in reports(*losses, **more) for alarm in watch.report(report)]


@given(HISTORIES, st.floats(0.01, 100))
def test_the_limit_grows_with_the_losses_by_the_same_factor(
    history: list[float], factor: float
) -> None:
    most = limit(history)
    scaled = limit([loss * factor for loss in history])
    assert most is not None and scaled is not None
    assert math.isclose(scaled, most * factor, rel_tol=1e-9)


@given(HISTORIES)
def test_a_loss_within_the_usual_is_no_spike_and_one_far_beyond_is(history: list[float]) -> None:
    most = limit(history)
    assert most is not None
    assert most > median(history) * (1 + LEAST / 2)
    assert not [a for a in heard(*history, most) if a.key == f"spike/cl/{len(history)}"]
    assert [a for a in heard(*history, most * 1.01) if a.key == f"spike/cl/{len(history)}"]


@given(st.lists(LOSSES, max_size=40))
def test_losses_that_never_rise_raise_no_alarm(losses: list[float]) -> None:
    assert not heard(*sorted(losses, reverse=True))


@given(LOSSES, st.floats(1.06, 10), st.integers(1, 30))
def test_a_lasting_rise_is_told_for_half_a_history_and_becomes_usual(
    low: float, factor: float, after: int
) -> None:
    found = heard(*[low] * ROUNDS, *[low * factor] * after)
    assert len(found) == min(after, ROUNDS // 2 + 1)


@given(st.lists(LOSSES, max_size=30), st.lists(LOSSES, max_size=30))
def test_sites_are_measured_by_themselves(mine: list[float], others: list[float]) -> None:
    watch = Watch()
    both = sorted([*reports(*mine), *reports(*others, site="mx")], key=lambda report: report.at)
    found = [alarm for report in both for alarm in watch.report(report)]
    assert [alarm for alarm in found if alarm.site == "cl"] == heard(*mine)


@given(st.lists(st.floats(2, 3), min_size=ENOUGH + 1, max_size=20))
def test_one_spike_does_not_hide_the_next(losses: list[float]) -> None:
    top = 100 * max(losses)
    found = heard(*losses, top, min(losses), top)
    assert {alarm.key for alarm in found} >= {
        f"spike/cl/{len(losses)}",
        f"spike/cl/{len(losses) + 2}",
    }


def test_an_alarm_names_the_language_that_rose_most_and_counts_the_others() -> None:
    watch = Watch()
    for base in range(ENOUGH):
        assert not watch.report(Report("cl", base, base, {"es": 3.0, "quy": 4.0}, {}, 0.0))
    (alarm,) = watch.report(Report("cl", 9, 9.0, {"es": 3.3, "quy": 8.0}, {}, 0.0))
    assert alarm.text == "cl: the loss of quy is 8.000, where 4.000 was usual; 1 more languages"


# --- silence ----------------------------------------------------------------------------------


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(tmp_path, rules())


def silent(watch: Watch, net: Net) -> dict[str | None, str]:
    state = net.hub.state
    found = watch.silent(standings(state, net.now), state.sites, net.now)
    return {alarm.site: alarm.text for alarm in found}


def test_who_is_waited_for_and_says_nothing_for_long_is_silent(net: Net) -> None:
    net.round()
    net.take()
    net.hear(Progressed(site="b", seq=1, doing="training", step=3, of=5))
    net.bring("a")
    net.now += SILENT - 60
    assert not silent(Watch(), net)
    net.now += 120
    found = silent(Watch(), net)
    assert set(found) == {"b", "c"}
    assert found["b"].endswith("said nothing for 16 minutes; at last it was training, step 3 of 5")


def test_usual_is_what_the_site_itself_does(net: Net) -> None:
    net.round()
    net.take()
    watch = Watch()
    for report in [*reports(*[3.0] * 6, site="b", every=100.0), *reports(3.0, 3.0, site="c")]:
        watch.report(report)
    net.now += 299
    assert not silent(watch, net)
    net.now += 2
    assert set(silent(watch, net)) == {"b"}  # of c too little is known


@given(st.floats(0.1, 1e5), st.integers(0, 12))
def test_patience_lies_between_two_minutes_and_a_quarter_of_an_hour(every: float, n: int) -> None:
    watch = Watch()
    for report in reports(*[3.0] * n, every=every):
        watch.report(report)
    assert 120 <= watch.patience("cl") <= SILENT


# --- the books --------------------------------------------------------------------------------


def of_books(net: Net) -> list[Alarm]:
    watch = Watch()
    return [alarm for _, record in net.hub.journal.books() for alarm in watch.record(record)]


def test_an_undisturbed_run_is_quiet(net: Net) -> None:
    for _ in range(3):
        net.round()
    assert not of_books(net)


def test_refusals_failures_and_going_back_are_told_once_each(net: Net) -> None:
    for _ in range(4):
        net.round()
    net.hear(RollBack(order="one", to=1))
    net.take()
    net.bring("a", tokens=10**9)
    net.hear(Failed(fragment="all", base=5, site="b", attempt=0, reason="the disk is full"))
    by_kind: dict[str, list[str]] = {}
    for alarm in of_books(net):
        by_kind.setdefault(alarm.what, []).append(alarm.key)
    assert {kind: len(set(keys)) for kind, keys in by_kind.items()} == {
        "rolled back": 1,
        "refused": 1,
        "failed": 1,
    }


def test_a_clipped_norm_and_harm_are_told() -> None:
    def record(what: str, **data: Any) -> Record:
        return Record(key=f"{what}/1", what=what, at=5.0, data=data)

    watch = Watch()
    (clipped,) = watch.record(record("merged", site="cl", version=4, clipped=0.25, tokens=1))
    assert clipped.text == "cl: its contribution to version 4 was clipped to 25%"
    assert not watch.record(record("merged", site="cl", version=4, clipped=1.0, tokens=1))
    (harm,) = watch.record(record("judged", version=4, verdict="harm"))
    assert (harm.what, harm.site) == ("judged", None)
    assert not watch.record(record("judged", version=4, verdict="no harm"))


def judged(version: int, verdict: str) -> Record:
    data: dict[str, Any] = {"fragment": "all", "version": version, "verdict": verdict}
    return Record(key=f"judged/all/{version}", what="judged", at=float(version), data=data)


def test_versions_that_nobody_judges_are_told_once_until_one_is_judged() -> None:
    watch = Watch()
    verdicts = ["no harm", "not judged", "not judged", "no harm", "not judged"]
    found = [
        alarm for n, verdict in enumerate(verdicts) for alarm in watch.record(judged(n, verdict))
    ]
    assert [alarm.key for alarm in found] == ["judged/all/1", "judged/all/4"]
    assert "version 1 was not judged: fewer than two sites" in found[0].text
