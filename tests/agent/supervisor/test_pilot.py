"""A batch job's pilot as a process, without a scheduler: the environment says that it is in a batch job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ayni.agent.executors.base import Command, Job
from ayni.agent.executors.slurm.books import Task
from ayni.agent.executors.slurm.pools import Key
from ayni.agent.supervisor import boot, files, pilot, processes
from tests.agent.executors.slurm.pooled import PATIENCE, Pooled, until

HEAVY = {"pydantic", "httpx", "asyncio", "subprocess", "dataclasses", "inspect", "pathlib"}


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[Pooled]:
    found = Pooled(tmp_path)
    yield found
    found.close()
    until(lambda: not found.left())


def test_a_pilot_imports_little():
    path = f"import sys; sys.path.insert(0, {boot._SOURCE!r}); "
    code = f"{path} from ayni.agent.supervisor import pilot; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & HEAVY


def test_it_runs_the_tasks_of_its_pool_in_their_order_and_tells(pooled):
    jobs = [pooled.job("sh", "-c", f"echo {n}") for n in range(3)]
    told = pooled.fly(pooled.add(*jobs))
    assert told[0] == ["pilot", "node-1000", 0]
    assert pooled.started() == [job.id for job in jobs]
    assert [words[1] for words in told if words[0] == "ended"] == [job.id for job in jobs]
    assert told[-1] == ["over"]
    assert [(job.folder / "logs/0.stdout").read_text() for job in jobs] == ["0\n", "1\n", "2\n"]
    assert not any(pooled.waits(job) for job in jobs)
    assert files.claim_tag(str(jobs[0].folder)) == "1000.0"


def test_it_takes_nothing_from_another_pool(pooled):
    mine, other = pooled.job("true"), pooled.job("true", owner="fisica: Luis <luis@x>")
    pool = pooled.add(mine)
    pooled.add(other)
    pooled.fly(pool)
    assert pooled.exit(mine)["reason"] == "exited"
    assert pooled.exit(other) is None
    assert pooled.waits(other)


def test_an_element_of_an_array_goes_by_its_name_in_the_queue(pooled):
    job = pooled.job("true")
    pooled.fly(pooled.add(job), "1007", SLURM_ARRAY_JOB_ID="1000", SLURM_ARRAY_TASK_ID="7")
    assert files.claim_tag(str(job.folder)) == "1000_7.0"


def test_tasks_run_side_by_side_up_to_its_slots(pooled):
    jobs = [pooled.waiting() for _ in range(3)]
    pool = pooled.add(*jobs)
    process = pooled.pilot(pool, slots=2)
    until(lambda: pooled.runs(jobs[0]) and pooled.runs(jobs[1]))
    assert pooled.waits(jobs[2])
    assert not pooled.runs(jobs[2])
    pooled.release(jobs[0])
    until(lambda: pooled.runs(jobs[2]))
    for job in jobs:
        pooled.release(job)
    assert process.wait(PATIENCE) == 0
    assert [pooled.exit(job)["reason"] for job in jobs] == ["exited"] * 3


def test_pilots_at_one_pool_never_run_a_task_twice(pooled):
    ran = pooled.folder / "ran"
    jobs = [pooled.job("sh", "-c", f"echo {n} >>{ran}") for n in range(40)]
    pool = pooled.add(*jobs)
    pilots = [pooled.pilot(pool, str(1000 + n), slots=2) for n in range(3)]
    for process in pilots:
        assert process.wait(PATIENCE) == 0
    assert sorted(map(int, ran.read_text().split())) == list(range(40))
    started = [task for n in range(3) for task in pooled.started(str(1000 + n))]
    assert sorted(started) == sorted(job.id for job in jobs)


def test_a_batch_job_that_finds_nothing_ends_at_once(pooled):
    job = pooled.job("true")
    pool = pooled.add(job)
    pooled.fly(pool)
    assert [words[0] for words in pooled.fly(pool, "1001", linger=PATIENCE)] == ["pilot", "over"]


def test_it_lingers_for_tasks_that_come_later(pooled):
    first, later = pooled.job("true"), pooled.job("true")
    pool = pooled.add(first)
    process = pooled.pilot(pool, linger=PATIENCE)
    until(lambda: pooled.exit(first))
    pooled.add(later)
    until(lambda: pooled.exit(later))
    assert process.poll() is None
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_it_takes_no_task_that_could_outlast_the_batch_job_and_says_so(pooled):
    job = pooled.job("true", walltime=600)
    told = pooled.fly(pooled.add(job), seconds=600, linger=PATIENCE)
    assert [words[0] for words in told] == ["pilot", "closed", "over"]
    assert pooled.exit(job) is None
    assert pooled.waits(job)


def test_what_runs_when_time_gets_short_runs_on(pooled):
    long, next_one = pooled.waiting(walltime=60), pooled.job("true", walltime=60)
    process = pooled.pilot(pooled.add(long, next_one), seconds=75)
    until(lambda: pooled.runs(long))
    began = next(words[2] for words in pooled.events() if words[0] == "started")
    until(lambda: time.time() > began + 10)  # what is left is too little for the next one
    pooled.release(long)
    assert process.wait(PATIENCE) == 0
    assert pooled.exit(long)["reason"] == "exited"
    assert pooled.waits(next_one)


def test_a_task_is_canceled_by_its_mark_and_no_other(pooled):
    doomed, other = pooled.waiting(), pooled.waiting()
    process = pooled.pilot(pooled.add(doomed, other), slots=2)
    until(lambda: pooled.runs(doomed) and pooled.runs(other))
    pooled.books.cancel_mark(doomed.id).touch()
    until(lambda: pooled.exit(doomed))
    assert pooled.exit(doomed)["reason"] == "canceled"
    pooled.release(other)
    assert process.wait(PATIENCE) == 0
    assert pooled.exit(other)["reason"] == "exited"


def test_the_scheduler_s_signal_ends_tasks_and_is_told_before_them(pooled):
    jobs = [pooled.waiting() for _ in range(3)]
    process = pooled.pilot(pooled.add(*jobs), slots=2)
    until(lambda: pooled.runs(jobs[0]) and pooled.runs(jobs[1]))
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert [pooled.exit(job)["reason"] for job in jobs[:2]] == ["canceled"] * 2
    assert pooled.waits(jobs[2])
    words = [words[0] for words in pooled.events()]
    assert words[3:] == ["signal", "ended", "ended", "over"]


def test_a_task_whose_supervisor_is_killed_is_lost_with_all_its_processes(pooled):
    doomed, other = pooled.waiting(), pooled.waiting()
    process = pooled.pilot(pooled.add(doomed, other), slots=2)
    until(lambda: pooled.runs(doomed) and pooled.runs(other))
    os.kill(_supervisor(process.pid, doomed.id), signal.SIGKILL)
    until(lambda: pooled.exit(doomed))
    assert pooled.exit(doomed)["state"] == "lost"
    assert "supervisor died" in pooled.exit(doomed)["message"]
    assert doomed.id not in [job for _, job in processes.marked()]
    assert process.poll() is None
    pooled.release(other)
    assert process.wait(PATIENCE) == 0
    assert pooled.exit(other)["reason"] == "exited"


def _supervisor(pilot_pid: int, job_id: str) -> int:
    """The pilot's child whose descendant runs the job."""
    marked = {pid for pid, job in processes.marked() if job == job_id}
    children = processes.children(pilot_pid)
    return next(pid for pid in children if marked & set(processes.tree(pid).pids))


def test_what_a_killed_pilot_claimed_is_taken_by_no_other(pooled):
    doomed, free = pooled.waiting(), pooled.job("true")
    pool = pooled.add(doomed, free)
    process = pooled.pilot(pool)
    until(lambda: pooled.runs(doomed))
    process.kill()
    process.wait(PATIENCE)
    pooled.end()  # as the scheduler ends all of a batch job
    assert pooled.exit(free) is None
    pooled.fly(pool, "1001")
    assert pooled.started("1001") == [free.id]
    assert files.claim_tag(str(doomed.folder)) == "1000.0"


def _break_off(pooled: Pooled, doomed: Job) -> None:
    """A pilot, and all that it runs, is gone in the middle of a task."""
    process = pooled.pilot(pooled.add(doomed))
    until(lambda: pooled.runs(doomed))
    supervisor = _supervisor(process.pid, doomed.id)
    process.kill()
    process.wait(PATIENCE)
    os.kill(supervisor, signal.SIGKILL)
    pooled.end()
    until(lambda: files.start_ticks(supervisor) is None)


def test_a_batch_job_that_starts_again_settles_what_its_earlier_run_left(pooled):
    doomed, free = pooled.waiting(), pooled.job("true")
    _break_off(pooled, doomed)
    told = pooled.fly(pooled.add(free), restart=1)
    assert pooled.exit(doomed)["state"] == "lost"
    assert "back into the queue" in pooled.exit(doomed)["message"]
    assert ["pilot", "node-1000", 1] in told
    assert files.claim_tag(str(free.folder)) == "1000.1"


def test_it_does_not_settle_what_its_earlier_run_ended_nor_others_tasks(pooled):
    done, doomed, theirs = pooled.job("true"), pooled.waiting(), pooled.waiting()
    pool = pooled.add(done)
    pooled.fly(pool)
    before = pooled.exit(done)
    _break_off(pooled, doomed)
    pooled.add(theirs)
    other = pooled.pilot(pool, "1001")
    until(lambda: pooled.runs(theirs))
    pooled.fly(pool, restart=1)
    assert pooled.exit(done) == before
    assert pooled.exit(doomed)["state"] == "lost"
    assert pooled.exit(theirs) is None
    pooled.release(theirs)
    assert other.wait(PATIENCE) == 0


def test_words_that_a_full_disk_cut_off_do_not_keep_a_batch_job_from_starting_again(pooled):
    doomed = pooled.waiting()
    _break_off(pooled, doomed)
    with (pooled.state / pilot.EVENTS / "1000").open("a") as file:
        file.write('["ended","a-b\n["star')
    process = pooled.pilot(pooled.add(pooled.job("true")), restart=1)
    assert process.wait(PATIENCE) == 0
    assert pooled.exit(doomed)["state"] == "lost"


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"SLURM_JOB_GPUS": "2,3"}, ["2", "3"]),
        ({"SLURM_GPUS_ON_NODE": "2"}, ["0", "1"]),  # all that some sites tell
        # Devices are confined: the job sees its own two, by other numbers.
        ({"SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "0,1"}, ["0", "1"]),
    ],
)
def test_each_task_gets_gpus_of_its_own(pooled, env, names):
    jobs = []
    for _ in range(2):
        job = pooled.waiting(gpus=1)
        text = f"echo $CUDA_VISIBLE_DEVICES; {job.commands[0].argv[2]}"
        jobs.append(replace(job, commands=(Command(("sh", "-c", text)),)))
    need = [1, 256 << 20, 1]
    process = pooled.pilot(pooled.add(*jobs), slots=2, need=need, **env)
    until(lambda: all(map(pooled.runs, jobs)))
    for job in jobs:
        pooled.release(job)
    assert process.wait(PATIENCE) == 0
    told = sorted((job.folder / "logs/0.stdout").read_text().strip() for job in jobs)
    assert told == names


def test_a_task_that_was_given_up_meanwhile_is_passed_over(pooled):
    given_up, other = pooled.job("true"), pooled.job("true")
    pool = pooled.add(given_up, other)
    pooled.files.path(given_up.id).unlink()
    pooled.fly(pool)
    assert pooled.started() == [other.id]


def test_a_task_whose_folder_is_gone_keeps_no_other_from_running(pooled):
    gone, other = pooled.job("true"), pooled.job("true")
    pool = pooled.add(gone, other)
    shutil.rmtree(gone.folder)
    process = pooled.pilot(pool)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert f"{gone.id} cannot be claimed" in errors
    assert pooled.exit(other)["reason"] == "exited"


def test_the_signal_is_told_also_by_a_pilot_that_takes_no_more(pooled):
    running, next_one = pooled.waiting(walltime=60), pooled.job("true", walltime=600)
    process = pooled.pilot(pooled.add(running), seconds=70, slots=2)
    until(lambda: pooled.runs(running))
    entry = pooled.books.entry(next_one.id)
    assert pooled.files.write(next_one, pool=Key.of(running).name, entry=entry)
    pooled.books.add(Task(next_one.id, str(next_one.folder), Key.of(running).name, entry))
    until(lambda: ["closed"] in pooled.events())
    process.terminate()
    assert process.wait(PATIENCE) == 0
    words = [words[0] for words in pooled.events()]
    assert words == ["pilot", "started", "closed", "signal", "ended", "over"]
