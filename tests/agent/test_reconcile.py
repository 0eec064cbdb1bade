"""The hub's books beside the scheduler's accounting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.slurm.parse import Account
from ayni.agent.reconcile import compare, words
from ayni.agent.units import read_time
from ayni.errors import UserError
from ayni.protocol.books import Booked

ACCOUNT = Account(
    id="7", name="ayni-x-y", state="COMPLETED", by="", exit_code=0, signal=0, submitted=90.0,
    started=100.0, ended=160.0, elapsed=60, cores=4, nodes=1, gpus=0, memory=0, peak_memory=0,
    cpu=1.0, reason="",
)  # fmt: skip


def booked(job: str = "7", submitted: float = 90.0, core_seconds: float = 240.0) -> Booked:
    return Booked(
        job=job, submitted=submitted, attempts=2, core_seconds=core_seconds, node_seconds=0.0,
        gpu_seconds=0.0,
    )  # fmt: skip


def books(*entries: Booked) -> dict[tuple[str, float], Booked]:
    return {(one.job, one.submitted): one for one in entries}


def test_books_that_agree_show_no_difference() -> None:
    found = compare([ACCOUNT], books(booked()), begin=0, end=1000)
    assert (found.jobs, found.scheduler, found.hub, found.difference) == (1, 240.0, 240.0, 0.0)


def test_a_job_that_is_booked_short_is_named() -> None:
    found = compare([ACCOUNT], books(booked(core_seconds=200.0)), begin=0, end=1000)
    assert found.difference == 40.0
    assert [(one.job, one.scheduler, one.hub) for one in found.differences] == [("7", 240.0, 200.0)]
    assert any("job 7: 240.0 by the scheduler, 200.0 booked" in line for line in words(found))


def test_only_jobs_whose_end_lies_in_the_period_count() -> None:
    for begin, end in ((0, 160), (161, 1000)):
        assert compare([ACCOUNT], books(booked()), begin=begin, end=end).jobs == 0
    assert compare([ACCOUNT], books(booked()), begin=160, end=161).jobs == 1


def test_an_id_that_came_again_is_another_job() -> None:
    again = replace(ACCOUNT, submitted=500.0, started=510.0, ended=520.0, elapsed=10)
    found = compare([ACCOUNT, again], books(booked(), booked("7", 500.0, 40.0)), begin=0, end=1000)
    assert (found.jobs, found.difference) == (2, 0.0)


def test_what_runs_what_ran_away_what_waits_and_what_was_idle_are_told_apart() -> None:
    runs = replace(ACCOUNT, id="1", state="RUNNING", ended=None)
    lost = replace(ACCOUNT, id="2", state="RUNNING", ended=None)
    unsent, idle = replace(ACCOUNT, id="3"), replace(ACCOUNT, id="4")
    found = compare(
        [runs, lost, unsent, idle], {}, begin=0, end=1000,
        queued=frozenset({"1"}), unsent=frozenset({"3"}),
    )  # fmt: skip
    assert (found.open, found.runaway, found.waiting, found.idle) == (["1"], ["2"], ["3"], ["4"])
    assert (found.idle_core_seconds, found.difference) == (240.0, 0.0)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 512)), max_size=30))
def test_books_dealt_from_the_accounting_always_agree(jobs: list[tuple[int, int]]) -> None:
    accounts = [
        replace(ACCOUNT, id=str(n), elapsed=elapsed, cores=cores)
        for n, (elapsed, cores) in enumerate(jobs)
    ]
    there = books(*(booked(a.id, 90.0, a.elapsed * a.cores) for a in accounts))
    assert compare(accounts, there, begin=0, end=1000).differences == []


def test_a_time_that_is_none_is_said_with_the_option() -> None:
    assert read_time("2026-11-01T08:00+00:00", "--from").hour == 8
    with pytest.raises(UserError, match=r"--from 'soon'.*2026-11-01"):
        read_time("soon", "--from")
