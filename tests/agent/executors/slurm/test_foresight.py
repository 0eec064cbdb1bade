"""When one more task would start: by what squeue said, and by asking where it says nothing."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.base import ExpectedStart
from ayni.agent.executors.slurm.books import Pilot, Pool
from ayni.agent.executors.slurm.foresight import next_start, of_queue, size_of
from ayni.agent.executors.slurm.pools import Key
from ayni.tes.size import Size

GIB = 1 << 30
KEY = Key("ana", "", "main", cores=2, memory=GIB, walltime=3600, grace=10.0, gpus=0)
SIZE = Size(2, 1, 0, 3600)
USUAL = Size(1, 1, 0, 3600)  # 1 core, 1 GiB, 1 hour: what a task asks if it does not say


NOW = 50.0


def pilot(number: int, pool: Key = KEY, **more: object) -> Pilot:
    return Pilot(str(number), pool.name, 1, 0.0, **more)  # type: ignore[arg-type]


def starts(site):
    [info] = site.executor.partitions()
    return {one.size: one for one in info.starts}


def polls(site, seconds):
    """Polls, and looks at the partitions, every second for so long."""
    for _ in range(seconds):
        site.skip(1.0)
        site.poll()
        starts(site)


# --- what squeue said


def test_one_more_task_starts_when_the_last_of_those_that_wait_does():
    long = Pool(KEY, waiting={"a", "b"})
    found = of_queue([long], [pilot(1, start=100.0), pilot(2, start=300.0)], NOW)
    assert found == {("main", SIZE): ExpectedStart(SIZE, 300.0)}


def test_where_the_scheduler_has_not_come_to_all_it_is_a_bound():
    found = of_queue([Pool(KEY)], [pilot(1, start=100.0), pilot(2)], NOW)
    assert found == {("main", SIZE): ExpectedStart(SIZE, 100.0, at_least=True)}


def test_batch_jobs_that_run_are_withdrawn_or_gone_tell_nothing():
    others = [
        pilot(1, start=100.0, waiting=False),
        pilot(2, start=100.0, withdrawn=True),
        pilot(3, start=100.0, gone=1.0),
        pilot(4),
    ]
    assert of_queue([Pool(KEY)], others, NOW) == {}


def test_of_two_pools_of_one_size_the_later_start_counts():
    other = replace(KEY, owner="luis")
    pilots = [pilot(1, start=100.0), pilot(2, other, start=300.0)]
    found = of_queue([Pool(KEY), Pool(other)], pilots, NOW)
    assert found[("main", SIZE)].at == 300.0


def test_short_tasks_are_taken_by_the_first_batch_job_that_runs():
    short = Pool(KEY, waiting={"a", "b", "c"}, seen=1.0)
    waiting = [pilot(1, start=100.0), pilot(2, start=300.0)]
    assert of_queue([short], waiting, NOW)["main", SIZE].at == 103.0
    running = pilot(3, waiting=False, took=True)
    assert of_queue([short], [running, *waiting], NOW)["main", SIZE].at == NOW + 3.0
    running.closed = True
    assert of_queue([short], [running, *waiting], NOW)["main", SIZE].at == 103.0


def test_short_tasks_that_only_running_batch_jobs_take_start_when_their_turn_comes():
    short = Pool(KEY, waiting={"a", "b", "c"}, seen=1.0)
    running = pilot(1, waiting=False, took=True)
    assert of_queue([short], [running], NOW) == {("main", SIZE): ExpectedStart(SIZE, NOW + 3.0)}


def test_what_should_have_started_is_expected_now():
    short = Pool(KEY, waiting={"a"}, seen=1.0)
    waiting = [pilot(1, start=10.0), pilot(2, start=300.0)]
    assert of_queue([short], waiting, NOW)["main", SIZE].at == NOW + 1.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(0, 60), st.floats(0, 1e4))
def test_tasks_start_one_after_another_as_slots_come_free(slots, ahead, each):
    starts = [next_start(slots, n, each, 1e6) for n in range(ahead + 1)]
    assert starts == sorted(starts)
    assert starts[0] == min(slots)
    assert starts[-1] <= min(1e6, min(slots) + ahead * each + 1e-3)


def test_a_size_is_what_a_task_asks_in_all():
    assert size_of(replace(KEY, nodes=3)) == Size(8, 4, 0, 3600)


# --- over a simulated Slurm


def test_the_schedulers_starts_are_told_with_the_partition(site, slurm):
    slurm.holds = True
    site.submit(site.waiting())
    site.until(lambda: slurm.queue)
    at = int(time.time()) + 1800
    for job in slurm.queue.values():
        job.expected = at
    site.skip(20.0)
    site.until(lambda: any(not one.at_least for one in starts(site).values()))
    [told] = [one for one in starts(site).values() if not one.at_least]
    assert told.at == at
    slurm.start()
    site.until(lambda: all(one.at_least for one in starts(site).values()))


def test_a_size_of_which_nothing_waits_is_asked_about_and_its_answer_is_a_bound(site, slurm):
    slurm.used_cores = 4
    slurm.test_starts = 900.0
    site.poll()
    told = starts(site)[USUAL]
    assert told.at_least
    assert told.at == pytest.approx(time.time() + 900, abs=30)
    [options] = slurm.tests
    assert {"--partition=main", "--cpus-per-task=1", "--nodes=1"} <= set(options)


def test_an_answer_given_while_all_was_full_is_told_no_more_when_there_is_room(site, slurm):
    slurm.test_starts, slurm.used_cores = 900.0, 4
    site.poll()
    assert USUAL in starts(site)
    slurm.used_cores = 0
    site.skip(20.0)
    assert starts(site) == {}


def test_at_most_one_size_is_asked_about_in_ten_seconds_and_each_once_in_two_minutes(site, slurm):
    slurm.used_cores = 4
    slurm.holds = True
    site.submit(*(site.waiting(cores=cores, walltime=60) for cores in (1, 2, 4)))
    site.until(lambda: len(slurm.queue) == 3)
    polls(site, 9)
    assert len(slurm.tests) == 1
    polls(site, 100)
    assert len(slurm.tests) == 4  # three sizes that wait without a start, and the usual one
    polls(site, 120)
    assert len(slurm.tests) == 8


def test_a_size_is_asked_about_for_an_hour_after_its_last_task(site, slurm):
    job = site.job("true", cores=4)
    site.run(job)
    starts(site)
    site.executor.forget([job.id])
    slurm.used_cores = 4
    polls(site, 30)
    asked = {next(o for o in options if o.startswith("--cpus")) for options in slurm.tests}
    assert asked == {"--cpus-per-task=1", "--cpus-per-task=4"}

    def is_forgotten() -> bool:
        site.skip(100.0)
        return {size.cores for size in starts(site)} == {1}

    site.until(is_forgotten)


def test_what_slurm_would_refuse_has_no_start_and_ends_nothing(site, slurm):
    slurm.used_cores = 4
    slurm.refuses = "Invalid account or account/partition combination specified"
    assert starts(site) == {}
    assert slurm.tests


def test_a_question_that_is_not_answered_disturbs_nothing(site, slurm, caplog):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.down, slurm.used_cores = {"sbatch"}, 4
    site.skip(400.0)
    starts(site)
    assert "no start can be foreseen" in caplog.text
    slurm.down = set()
    site.release(job)
    site.over(job)
