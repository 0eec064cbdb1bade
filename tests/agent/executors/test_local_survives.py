"""kill -9 of the agent, the spawner, supervisors and payloads: nothing lost, doubled or left."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from ayni.agent.executors.base import EndReason, JobState
from ayni.agent.supervisor import files, processes

WORK = 'echo run >> "$AYNI_ROOT/work/runs"; touch "$AYNI_ROOT/work/up"; sleep 60'


def of(job):
    return [pid for pid, marker in processes.marked() if marker == job.id]


def start(site, *jobs):
    site.submit(*jobs)
    for job in jobs:
        site.until((job.folder / "root" / "work" / "up").exists)


def runs(job):
    return (job.folder / "root" / "work" / "runs").read_text().splitlines()


def gone(site, pid):
    site.until(lambda: files.start_ticks(pid) is None)


def test_jobs_go_on_while_there_is_no_agent(any_site):
    job = any_site.job("sh", "-c", "sleep 0.3; echo done")
    any_site.submit(job)
    any_site.executor.close()
    any_site.executor = any_site.open()
    assert any_site.wait(job).results[0].exit_code == 0
    assert any_site.out(job) == "done\n"


def test_waiting_jobs_start_while_there_is_no_agent(new_site):
    site = new_site(cores=1)
    jobs = [site.job("sleep", "0.1") for _ in range(3)]
    site.submit(*jobs)
    site.executor.close()
    site.until(lambda: all((job.folder / files.EXIT).exists() for job in jobs))
    site.executor = site.open()
    states = site.executor.states([job.id for job in jobs])
    assert {status.state for status in states.values()} == {JobState.ENDED}


def test_a_new_executor_hears_of_what_ended_meanwhile(site):
    job = site.job("true")
    site.run(job)
    site.executor.close()
    site.executor = site.open()
    assert [(s.id, s.state) for s in site.executor.poll()] == [(job.id, JobState.ENDED)]


def test_a_job_submitted_twice_runs_once(site):
    job = site.job("sh", "-c", WORK)
    start(site, job)
    site.submit(job)
    site.executor.close()
    site.executor = site.open()
    site.submit(job, job)
    site.executor.cancel([job.id])
    site.wait(job)
    assert runs(job) == ["run"]


def test_a_killed_supervisor_loses_its_job_and_leaves_nothing(any_site):
    job, other = any_site.job("sh", "-c", WORK + " & sleep 60"), any_site.job("sh", "-c", WORK)
    start(any_site, job, other)
    os.kill(any_site.supervisor(job), signal.SIGKILL)
    status = any_site.wait(job)
    assert (status.state, status.reason) == (JobState.LOST, None)
    assert of(job) == []
    assert of(other) != []
    any_site.until(lambda: [s for s in any_site.executor.poll() if s.state is JobState.LOST])


def test_jobs_go_on_when_the_spawner_is_killed(any_site):
    job = any_site.job("sh", "-c", "sleep 0.5; echo done")
    any_site.submit(job)
    any_site.supervisor(job)
    os.kill(any_site.spawner(), signal.SIGKILL)
    any_site.executor.poll()
    assert any_site.wait(job).results[0].exit_code == 0
    assert any_site.out(job) == "done\n"


def test_a_killed_spawner_is_replaced_and_waiting_jobs_start(new_site):
    site = new_site(cores=1)
    first, second = site.job("sh", "-c", WORK), site.job("true")
    site.submit(first, second)
    site.until((first.folder / "root" / "work" / "up").exists)
    os.kill(site.spawner(), signal.SIGKILL)
    site.executor.poll()
    assert site.executor.partitions()[0].pending == 1
    assert site.executor.partitions()[0].free_cores == 0
    site.executor.cancel([first.id])
    assert site.wait(first).reason is EndReason.CANCELED
    assert site.wait(second).results[0].exit_code == 0


def test_a_supervisor_killed_after_its_spawner_loses_its_job_and_leaves_nothing(any_site):
    job = any_site.job("sh", "-c", WORK + " & sleep 60")
    start(any_site, job)
    supervisor = any_site.supervisor(job)
    os.kill(any_site.spawner(), signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    gone(any_site, supervisor)
    assert any_site.executor.states([job.id])[job.id].state is JobState.UNKNOWN
    any_site.executor.poll()
    status = any_site.wait(job)
    assert status.state is JobState.LOST and status.gone
    assert of(job) == []


def test_an_adopted_supervisor_that_is_killed_loses_its_job(any_site):
    job = any_site.job("sh", "-c", WORK)
    start(any_site, job)
    os.kill(any_site.spawner(), signal.SIGKILL)
    any_site.executor.poll()
    os.kill(any_site.supervisor(job), signal.SIGKILL)
    assert any_site.wait(job).state is JobState.LOST
    assert of(job) == []


def test_a_sandboxs_first_process_that_is_killed_is_an_exit_with_137(namespaces):
    job = namespaces.job("sh", "-c", WORK)
    start(namespaces, job)
    init = processes.children(namespaces.supervisor(job))[0]
    os.kill(init, signal.SIGKILL)
    status = namespaces.wait(job)
    assert (status.reason, status.results[0].exit_code) == (EndReason.EXITED, 137)


def test_a_submission_that_never_reached_the_spawner_is_made_good(site):
    job = site.job("true")
    site.executor._files.write(job)
    assert site.executor.states([job.id])[job.id].state is JobState.PENDING
    site.submit(job)
    assert site.wait(job).results[0].exit_code == 0


def test_a_job_whose_folder_vanishes_ends(site):
    job = site.job("true")
    site.executor._files.write(job)
    (job.folder / "root").rename(site.folder / "elsewhere")
    site.submit(job)
    status = site.wait(job)
    assert status.reason is EndReason.START_FAILED


def test_a_state_folder_may_have_a_long_path(tmp_path, new_site):
    site = new_site()
    job = site.job("true")
    site.executor.shutdown()
    site.folder = tmp_path / ("long" * 40)
    site.executor = site.open()
    assert site.run(job).results[0].exit_code == 0


@pytest.mark.parametrize("seed", range(2))
def test_every_job_ends_once_whatever_is_killed(new_site, seed):
    chance = random.Random(seed)
    site = new_site(cores=6)
    text = 'echo run >> "$AYNI_ROOT/work/runs"; sleep 0.1 & sleep 0.1; echo end'
    jobs = [site.job("sh", "-c", text) for _ in range(30)]
    site.submit(*jobs)
    told = {}
    deadline = time.monotonic() + 60
    kills = 12
    while len(told) < len(jobs):
        assert time.monotonic() < deadline, f"{len(told)} of {len(jobs)} ended"
        for status in site.executor.poll():
            if status.state in (JobState.ENDED, JobState.LOST):
                assert status.id not in told
                told[status.id] = status
        if kills:
            kills -= 1
            victims = [site.spawner()] if chance.random() < 0.3 else _any_process(jobs)
            if victims:
                processes.send([chance.choice(victims)], signal.SIGKILL)
        time.sleep(0.02)
    for job in jobs:
        path = job.folder / "root" / "work" / "runs"
        count = len(path.read_text().splitlines()) if path.exists() else 0
        status = told[job.id]
        if status.state is JobState.ENDED:
            assert [result.exit_code for result in status.results] in ([0], [137])
        assert count <= 1
        assert of(job) == []


def _any_process(jobs):
    ids = {job.id for job in jobs}
    claimed = [files.claimed_by(str(job.folder)) for job in jobs]
    supervisors = [process.pid for process in claimed if process and files.is_alive(process)]
    return supervisors + [pid for pid, marker in processes.marked() if marker in ids]
