"""Canceling ends every process of a job, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ayni.agent.executors.base import EndReason, JobState
from ayni.agent.supervisor import processes
from tests.agent.executors.conftest import SOON

DAEMON = (
    "import os,sys,time\n"
    "if os.fork(): time.sleep({parent}); sys.exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "open(os.environ['AYNI_ROOT'] + '/work/up', 'w').close()\n"
    "os.close(1); os.close(2); time.sleep(600)\n"
)


def of(job):
    return [pid for pid, marker in processes.marked() if marker == job.id]


def started(site, job):
    site.until((job.folder / "root" / "work" / "up").exists)


def test_a_running_job_is_canceled(any_site):
    job = any_site.job("sh", "-c", "touch $AYNI_ROOT/work/up; sleep 60")
    any_site.submit(job)
    started(any_site, job)
    any_site.executor.cancel([job.id])
    status = any_site.wait(job)
    assert (status.state, status.reason) == (JobState.ENDED, EndReason.CANCELED)
    assert [result.exit_code for result in status.results] == [143]


def test_a_job_that_ignores_sigterm_is_killed_after_its_grace(any_site):
    job = any_site.job("sh", "-c", "trap '' TERM; touch $AYNI_ROOT/work/up; sleep 60; sleep 60")
    any_site.submit(job)
    started(any_site, job)
    any_site.executor.cancel([job.id])
    status = any_site.wait(job)
    assert status.reason is EndReason.CANCELED
    assert [result.exit_code for result in status.results] == [137]
    assert of(job) == []


def test_a_daemon_dies_when_its_job_is_canceled(any_site):
    job = any_site.job("python3", "-c", DAEMON.format(parent=600))
    any_site.submit(job)
    started(any_site, job)
    any_site.executor.cancel([job.id])
    assert any_site.wait(job).reason is EndReason.CANCELED
    assert of(job) == []


def test_a_daemon_dies_when_its_job_ends(any_site):
    job = any_site.job("python3", "-c", DAEMON.format(parent=0.5))
    status = any_site.run(job)
    assert [result.exit_code for result in status.results] == [0]
    assert (job.folder / "root" / "work" / "up").exists()
    assert of(job) == []


def test_no_command_follows_a_canceled_one(site):
    job = site.job("sh", "-c", "touch $AYNI_ROOT/work/up; sleep 60", ignore_error=True)
    job = replace(job, commands=job.commands * 2)
    site.submit(job)
    started(site, job)
    site.executor.cancel([job.id])
    assert len(site.wait(job).results) == 1


def test_a_waiting_job_that_is_canceled_never_starts(new_site):
    site = new_site(cores=1)
    first, second = site.job("sleep", "60"), site.job("touch", "/work/ran")
    site.submit(first, second)
    site.executor.cancel([second.id])
    status = site.wait(second)
    assert (status.reason, status.results, status.started) == (EndReason.CANCELED, (), None)
    site.executor.cancel([first.id])
    site.wait(first)
    assert not (second.folder / "claim").is_symlink()


def test_canceling_an_ended_or_unknown_job_changes_nothing(site):
    job = site.job("true")
    before = site.run(job)
    site.executor.cancel([job.id, "nobody-knows-it"])
    assert site.executor.states([job.id])[job.id] == before
    assert "nobody-knows-it" not in site.executor.states(["nobody-knows-it"])


def test_canceling_one_job_leaves_the_others(site):
    other = site.job("sh", "-c", "touch $AYNI_ROOT/work/up; sleep 60")
    job = site.job("sleep", "60")
    site.submit(job, other)
    started(site, other)
    site.executor.cancel([job.id])
    site.wait(job)
    assert site.executor.states([other.id])[other.id].state is JobState.RUNNING
    assert of(other) != []


@pytest.mark.parametrize("times", [1, 3])
def test_canceling_again_is_harmless(site, times):
    job = site.job("sh", "-c", "trap '' TERM; touch $AYNI_ROOT/work/up; while :; do sleep 1; done")
    job = replace(job, limits=replace(SOON, grace=0.5))
    site.submit(job)
    started(site, job)
    for _ in range(times):
        site.executor.cancel([job.id])
    assert site.wait(job).reason is EndReason.CANCELED
