"""What a batch job was given is dealt to its tasks, whole."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.slurm.accounting import Accounting
from ayni.agent.executors.slurm.parse import Account
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.executors.slurm.usage import Span, deal, deal_run

UNASKED = Slurm()

ACCOUNT = Account(
    id="1000001_3", name="ayni-x-y", state="COMPLETED", by="", exit_code=0, signal=0,
    submitted=90.0, started=100.0, ended=160.0, elapsed=60, cores=4, nodes=1, gpus=1,
    memory=1 << 30, peak_memory=0, cpu=1.0, reason="",
)  # fmt: skip
TIMES = st.tuples(st.floats(0, 1e6), st.floats(0, 1e6))


@given(st.lists(TIMES, min_size=1, max_size=50), st.integers(0, 10**6), st.integers(1, 512))
def test_the_parts_sum_to_what_the_job_was_given(
    times: list[tuple[float, float]], elapsed: int, cores: int
) -> None:
    tasks = [Span(f"t{n}", *time) for n, time in enumerate(times)]
    account = replace(ACCOUNT, elapsed=elapsed, cores=cores, energy=9000)
    parts = deal_run(account, tasks).values()
    assert sum(part.energy or 0 for part in parts) == pytest.approx(9000)
    assert sum(part.core_seconds for part in parts) == pytest.approx(elapsed * cores)
    assert sum(part.gpu_seconds for part in parts) == pytest.approx(elapsed)
    assert sum(part.memory_seconds for part in parts) == pytest.approx(elapsed * (1 << 30))
    assert all(part.core_seconds >= 0 for part in parts)


def test_a_task_that_took_three_times_as_long_bears_three_times_as_much() -> None:
    parts = deal_run(ACCOUNT, [Span("a", 100, 110), Span("b", 110, 140)])
    assert parts["b"].core_seconds == pytest.approx(3 * parts["a"].core_seconds)
    assert (parts["a"].job, parts["a"].submitted) == ("1000001_3", 90.0)
    assert parts["a"].energy is None, "not measured"


def test_a_task_of_whose_end_nobody_told_lasted_as_long_as_its_job() -> None:
    events = [
        ["pilot", "n1", 0],
        ["started", "a", 100.0],
        ["started", "b", 100.0],
        ["ended", "a", 120.0],
    ]
    parts = deal(ACCOUNT, events)
    assert parts is not None
    assert parts["b"].core_seconds == pytest.approx(3 * parts["a"].core_seconds)


def test_each_run_of_a_requeued_job_is_dealt_to_its_own_tasks() -> None:
    first = replace(ACCOUNT, state="REQUEUED", submitted=10.0, ended=40.0, elapsed=30)
    whole = replace(ACCOUNT, earlier=(first,))
    events = [
        ["pilot", "n1", 0], ["started", "a", 10.0], ["started", "b", 10.0], ["ended", "a", 20.0],
        ["pilot", "n2", 1], ["ended", "b", 101.0], ["started", "c", 101.0], ["ended", "c", 150.0],
    ]  # fmt: skip
    parts = deal(whole, events)
    assert parts is not None
    assert {t: (p.submitted, p.core_seconds) for t, p in parts.items()} == {
        "a": (10.0, pytest.approx(30 * 4 * 10 / 40)),
        "b": (10.0, pytest.approx(30 * 4 * 30 / 40)),
        "c": (90.0, pytest.approx(60 * 4)),
    }


def task_at(when: float) -> list[list[object]]:
    return [["pilot", "n1", 0], ["started", "a", when], ["ended", "a", when + 10]]


@pytest.mark.parametrize(
    "lost",
    [
        {"state": "PENDING", "name": "allocation", "started": None, "ended": None, "elapsed": 0},
        {"state": "PENDING", "started": None, "ended": None, "elapsed": 0},
        {"state": "RUNNING", "started": 300.0, "ended": None, "elapsed": 10**6},
    ],
    ids=["half written", "never began", "began"],
)
def test_a_record_that_a_killed_controller_left_open_keeps_no_task_of_the_same_number_waiting(
    lost: dict[str, Any],
) -> None:
    last = replace(ACCOUNT, submitted=290.0, earlier=(ACCOUNT,), **lost)
    parts = deal(last, task_at(110.0))
    assert parts is not None
    assert (parts["a"].submitted, parts["a"].core_seconds) == (90.0, 240.0)
    assert deal(last, task_at(305.0)) is None, "it ran in what is not recorded yet"


def test_a_job_that_was_put_back_into_the_queue_and_forgotten_is_dealt() -> None:
    parts = deal(replace(ACCOUNT, state="REQUEUED"), task_at(110.0))
    assert parts is not None
    assert parts["a"].core_seconds == 240.0
    assert deal(replace(ACCOUNT, state="REQUEUED"), task_at(190.0)) is None


def test_a_node_whose_clock_is_wrong_keeps_no_usage_back() -> None:
    parts = deal(ACCOUNT, task_at(1000.0))
    assert parts is not None
    assert parts["a"].core_seconds == 240.0


# --- until it is booked -----------------------------------------------------------------------


def told(state: Path, job: str, *tasks: str) -> Path:
    path = state / "events" / job
    path.parent.mkdir(exist_ok=True)
    words = [w for t in tasks for w in (["started", t, 100.0], ["ended", t, 110.0])]
    path.write_text("".join(json.dumps(w) + "\n" for w in words))
    return path


def test_usage_is_told_until_it_is_booked_and_over_a_restart(tmp_path: Path) -> None:
    first = Accounting(tmp_path, UNASKED, "1000")
    first.keep(told(tmp_path, "7", "a", "b"))
    assert set(first.open()) == {"7"}
    again = Accounting(tmp_path, UNASKED, "1000")
    again.take({"7": replace(ACCOUNT, id="7")}, queued=())
    assert again.open() == set()
    assert set(again.allocations()) == {"a", "b"}
    again.booked({"a"})
    assert set(again.allocations()) == {"b"}
    assert set(Accounting(tmp_path, UNASKED, "1000").open()) == {"7"}, "not all of it is booked"
    again.booked({"b"})
    assert again.allocations() == {}
    assert set(Accounting(tmp_path, UNASKED, "1000").open()) == set()


@pytest.mark.parametrize(
    ("account", "queued"),
    [
        (replace(ACCOUNT, id="7", state="RUNNING", ended=None), ()),
        (replace(ACCOUNT, id="7", state="PREEMPTED"), ("7",)),
        (replace(ACCOUNT, id="7", name="allocation"), ()),
    ],
    ids=["runs", "requeued", "half written"],
)
def test_what_is_not_over_is_not_dealt(
    tmp_path: Path, account: Account, queued: tuple[str, ...]
) -> None:
    books = Accounting(tmp_path, UNASKED, "1000")
    books.keep(told(tmp_path, "7", "a"))
    books.take({"7": account}, queued)
    assert books.allocations() == {}
    assert set(books.open()) == {"7"}


def test_a_pilot_that_found_no_task_is_nobodys_usage(tmp_path: Path) -> None:
    books = Accounting(tmp_path, UNASKED, "1000")
    books.keep(told(tmp_path, "7"))
    books.take({"7": replace(ACCOUNT, id="7")}, queued=())
    assert books.allocations() == {}
    assert set(books.open()) == set()


def test_a_batch_job_that_never_started_told_nothing(tmp_path: Path) -> None:
    books = Accounting(tmp_path, UNASKED, "1000")
    books.keep(tmp_path / "events" / "8")
    assert set(books.open()) == set()


class Changing:
    """An accounting whose word on job 7 may change."""

    def __init__(self) -> None:
        self.account = replace(ACCOUNT, id="7")
        self.asked: list[float] = []

    def accounts(self, user: str, begin: float, end: float) -> list[Account]:
        self.asked.append(begin)
        return list(self.account.runs)

    def sacct(self, ids: Collection[str]) -> dict[str, Account]:
        return {"7": self.account} if "7" in ids else {}


def booked(state: Path, slurm: Changing) -> Accounting:
    books = Accounting(state, cast(Slurm, slurm), "1000")
    books.keep(told(state, "7", "a"))
    books.take(books.ask((), now=0.0), queued=())
    assert books.allocations()["a"].core_seconds == 240.0
    books.booked({"a"})
    return books


def test_what_the_accounting_changes_after_it_was_booked_is_told_anew(tmp_path: Path) -> None:
    slurm = Changing()
    books = booked(tmp_path, slurm)
    books.look_back(now=100.0)
    assert books.open() == set(), "its word is the same"
    assert ACCOUNT.ended is not None
    slurm.account = replace(
        slurm.account, state="NODE_FAIL", ended=ACCOUNT.ended + 60, elapsed=ACCOUNT.elapsed + 60
    )
    books.look_back(now=101.0)
    assert books.open() == set(), "it is not asked that often"
    books.look_back(now=200.0)
    assert set(books.open()) == {"7"}
    books.take(books.ask((), now=200.0), queued=())
    assert books.allocations()["a"].core_seconds == 240.0 + 60 * ACCOUNT.cores
    books.booked({"a"})
    books.look_back(now=300.0)
    assert books.open() == set()


def test_a_new_agent_looks_back_over_the_days_in_which_it_may_have_been_away(
    tmp_path: Path,
) -> None:
    slurm = Changing()
    booked(tmp_path, slurm)
    again = Accounting(tmp_path, cast(Slurm, slurm), "1000")
    again.look_back(now=0.0)
    assert time.time() - slurm.asked[-1] > 86400
    again.take(again.ask((), now=0.0), queued=())
    assert again.allocations()["a"].core_seconds == 240.0, "told once more, which changes nothing"
    again.booked({"a"})
    again.look_back(now=100.0)
    assert time.time() - slurm.asked[-1] < 3600
    assert again.open() == set()


def test_what_was_booked_long_ago_is_not_compared_any_more(tmp_path: Path) -> None:
    slurm = Changing()
    books = booked(tmp_path, slurm)
    long_ago = time.time() - 10 * 86400
    os.utime(tmp_path / "booked" / "7", (long_ago, long_ago))
    books.look_back(now=0.0)
    assert list((tmp_path / "booked").iterdir()) == []
    books.look_back(now=100.0)
    assert len(slurm.asked) == 1, "nothing to compare"
