"""What a batch job was given is dealt to its tasks, whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.slurm.accounting import Accounting
from ayni.agent.executors.slurm.parse import Account
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.executors.slurm.usage import Span, deal, deal_run, runs

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
    parts = deal_run(replace(ACCOUNT, elapsed=elapsed, cores=cores), tasks).values()
    assert sum(part.core_seconds for part in parts) == pytest.approx(elapsed * cores)
    assert sum(part.gpu_seconds for part in parts) == pytest.approx(elapsed)
    assert sum(part.memory_seconds for part in parts) == pytest.approx(elapsed * (1 << 30))
    assert all(part.core_seconds >= 0 for part in parts)


def test_a_task_that_took_three_times_as_long_bears_three_times_as_much() -> None:
    parts = deal_run(ACCOUNT, [Span("a", 100, 110), Span("b", 110, 140)])
    assert parts["b"].core_seconds == pytest.approx(3 * parts["a"].core_seconds)
    assert (parts["a"].job, parts["a"].submitted) == ("1000001_3", 90.0)


def test_a_task_of_whose_end_nobody_told_lasted_as_long_as_its_job() -> None:
    events = [
        ["pilot", "n1", 0],
        ["started", "a", 100.0],
        ["started", "b", 101.0],
        ["ended", "a", 130.0],
    ]
    assert runs(events, [160.0]) == [[Span("a", 100.0, 130.0), Span("b", 101.0, 160.0)]]


def test_each_run_of_a_requeued_job_is_dealt_to_its_own_tasks() -> None:
    first = replace(ACCOUNT, state="REQUEUED", submitted=10.0, ended=40.0, elapsed=30)
    whole = replace(ACCOUNT, earlier=(first,))
    events = [
        ["pilot", "n1", 0], ["started", "a", 10.0], ["started", "b", 10.0], ["ended", "a", 20.0],
        ["pilot", "n2", 1], ["ended", "b", 101.0], ["started", "c", 101.0], ["ended", "c", 150.0],
    ]  # fmt: skip
    parts = deal(whole, events)
    assert {t: (p.submitted, p.core_seconds) for t, p in parts.items()} == {
        "a": (10.0, pytest.approx(30 * 4 * 10 / 40)),
        "b": (10.0, pytest.approx(30 * 4 * 30 / 40)),
        "c": (90.0, pytest.approx(60 * 4)),
    }


# --- until it is booked -----------------------------------------------------------------------


def told(state: Path, job: str, *tasks: str) -> Path:
    path = state / "events" / job
    path.parent.mkdir(exist_ok=True)
    words = [w for t in tasks for w in (["started", t, 100.0], ["ended", t, 110.0])]
    path.write_text("".join(json.dumps(w) + "\n" for w in words))
    return path


def test_usage_is_told_until_it_is_booked_and_over_a_restart(tmp_path: Path) -> None:
    first = Accounting(tmp_path, UNASKED)
    first.keep(told(tmp_path, "7", "a", "b"))
    assert set(first.open()) == {"7"}
    again = Accounting(tmp_path, UNASKED)
    again.take({"7": replace(ACCOUNT, id="7")}, queued=())
    assert again.open() == set()
    assert set(again.allocations()) == {"a", "b"}
    again.booked({"a"})
    assert set(again.allocations()) == {"b"}
    assert set(Accounting(tmp_path, UNASKED).open()) == {"7"}, "not all of it is booked"
    again.booked({"b"})
    assert again.allocations() == {}
    assert set(Accounting(tmp_path, UNASKED).open()) == set()


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
    books = Accounting(tmp_path, UNASKED)
    books.keep(told(tmp_path, "7", "a"))
    books.take({"7": account}, queued)
    assert books.allocations() == {}
    assert set(books.open()) == {"7"}


def test_a_pilot_that_found_no_task_is_nobodys_usage(tmp_path: Path) -> None:
    books = Accounting(tmp_path, UNASKED)
    books.keep(told(tmp_path, "7"))
    books.take({"7": replace(ACCOUNT, id="7")}, queued=())
    assert books.allocations() == {}
    assert set(books.open()) == set()


def test_a_batch_job_that_never_started_told_nothing(tmp_path: Path) -> None:
    books = Accounting(tmp_path, UNASKED)
    books.keep(tmp_path / "events" / "8")
    assert set(books.open()) == set()
