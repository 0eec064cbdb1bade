"""The Slurm executor over a simulated Slurm: what goes well, and what goes wrong on one side or the other."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from dataclasses import replace

import pytest

from ayni.agent.executors.base import Bind, EndReason, ExecutorUnavailable, JobState
from ayni.agent.executors.slurm import executor as module
from ayni.agent.executors.slurm import fleet, pools
from ayni.agent.executors.slurm.books import AGENT, Books
from ayni.agent.executors.slurm.script import Rules, Terms
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.supervisor import files, pilot, processes

RUNNING, ENDED, LOST = JobState.RUNNING, JobState.ENDED, JobState.LOST


def state_of(site, job):
    return site.executor.states([job.id])[job.id].state


# --- the ordinary


def test_tasks_run_and_their_ends_are_told_with_where_and_how_long(site):
    job = site.job("sh", "-c", "exit 3")
    status = site.run(job)
    assert (status.state, status.reason) == (ENDED, EndReason.EXITED)
    assert [result.exit_code for result in status.results] == [3]
    assert status.host == "n1"
    assert status.usage.wall > 0
    assert site.states[job.id][-1] is ENDED


def test_a_task_is_pending_until_a_batch_job_takes_it(site, slurm):
    slurm.holds = True
    job = site.waiting()
    site.submit(job)
    site.until(lambda: slurm.queue)
    assert state_of(site, job) is JobState.PENDING
    slurm.start()
    site.running(job)
    assert state_of(site, job) is RUNNING
    site.release(job)
    assert site.over(job).state is ENDED


def test_a_task_has_its_volume_and_is_warned_before_the_end_of_its_walltime(site, tmp_path):
    data = tmp_path / "volume" / "data"
    data.mkdir(parents=True)
    script = "echo $$ > $AYNI_ROOT/state/pid; trap 'exit 75' USR1; while :; do sleep 0.1; done"
    job = site.job("sh", "-c", script, binds=(Bind(data, "/state", writable=True),))
    status = site.run(replace(job, limits=replace(job.limits, walltime=60, warning=58)))
    assert [result.exit_code for result in status.results] == [75]
    assert (data / "pid").exists()


def test_a_task_that_listens_late_is_warned_all_the_same(site):
    """A large program takes a while to start, on a busy node longer than it has until the warning."""
    script = "sleep 1.5; trap 'exit 75' USR1; while :; do sleep 0.1; done"
    job = site.job("sh", "-c", script)
    status = site.run(replace(job, limits=replace(job.limits, walltime=60, warning=60)))
    assert [result.exit_code for result in status.results] == [75]


def test_a_task_whose_volume_is_another_s_starts_nothing(site, tmp_path):
    lease = tmp_path / "lease"
    lease.write_text('{"attempt": "another"}')
    status = site.run(replace(site.job("true"), leases=(lease,)))
    assert (status.reason, status.results) == (EndReason.FENCED, ())


def test_many_short_tasks_share_few_batch_jobs(site, slurm):
    site.run(site.job("true"))  # now it is known that such tasks are short
    jobs = [site.job("true") for _ in range(60)]
    statuses = site.run(*jobs)
    assert all(status.reason is EndReason.EXITED for status in statuses)
    assert len(slurm.over) + len(slurm.queue) <= 30  # 10 on a machine that has time


def test_tasks_that_run_long_in_a_pool_of_short_ones_keep_no_other_waiting(site, slurm):
    site.run(site.job("true"))
    long = [site.waiting() for _ in range(3)]
    site.submit(*long)
    site.running(*long)
    short = site.job("true")
    site.submit(short)
    before = len(slurm.submissions)
    for _ in range(3):
        site.poll()
    assert len(slurm.submissions) == before  # the pilots that run will take it …
    site.skip(2 * pools.SHORT)  # … if only they had the time
    assert site.over(short).reason is EndReason.EXITED
    assert len(slurm.submissions) > before
    for job in long:
        site.release(job)
    site.over(*long)


def test_tasks_of_two_owners_share_no_batch_job(site):
    jobs = [site.waiting(), site.waiting(owner="fisica: Luis <luis@x>")]
    site.submit(*jobs)
    site.running(*jobs)
    assert len({site.pilot_of(job) for job in jobs}) == 2
    for job in jobs:
        site.release(job)
    site.over(*jobs)


def test_a_second_submission_of_a_task_is_none(site):
    job = site.waiting()
    site.submit(job)
    site.submit(job)
    site.running(job)
    site.release(job)
    site.over(job)
    assert len(site.executor._books.tasks) == 1


def test_what_the_site_can_never_run_is_refused_by_name(site, slurm):
    job = site.job("true", cores=64)
    assert "cores: 64" in site.executor.submit([job])[job.id]
    assert slurm.submissions == []


def test_the_queue_is_asked_for_the_user_that_this_process_is(site, slurm, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("USER", "somebody-else")
    site.reopen()
    site.run(site.job("true"))
    assert slurm.users == {str(os.getuid())}


def test_another_agent_s_batch_jobs_are_not_ours(site, slurm):
    slurm.holds = True
    slurm.sbatch("#!/bin/sh\n", ["--job-name=ayni-abcdef-0123456789ab", "--cpus-per-task=1"])
    slurm.sbatch("#!/bin/sh\n", ["--job-name=mine", "--cpus-per-task=1"])
    job = site.job("true")
    site.submit(job)
    site.until(lambda: len(slurm.queue) > 2)
    assert len(site.executor._books.pilots) == 1
    assert slurm.withdrawn == []


# --- cancel, withdraw, forget


def test_a_waiting_task_is_canceled_at_once_and_its_batch_job_withdrawn(site, slurm):
    slurm.holds = True
    job = site.job("true")
    site.submit(job)
    site.until(lambda: slurm.queue)
    site.executor.cancel([job.id])
    status = site.over(job)
    assert (status.state, status.reason) == (ENDED, EndReason.CANCELED)
    assert status.message == "canceled before it started"
    site.until(lambda: not slurm.queue)
    assert len(slurm.withdrawn) == 1


def test_a_running_task_is_canceled_and_others_of_its_batch_job_go_on(site):
    doomed, other = site.waiting(), site.waiting()
    site.submit(doomed, other)
    site.running(doomed, other)
    site.executor.cancel([doomed.id])
    status = site.over(doomed)
    assert (status.state, status.reason) == (ENDED, EndReason.CANCELED)
    assert state_of(site, other) is RUNNING
    site.release(other)
    assert site.over(other).reason is EndReason.EXITED


def test_a_canceled_task_whose_batch_job_is_ended_too_is_canceled_not_lost(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    site.executor.cancel([job.id])
    slurm.end(site.pilot_of(job), "CANCELLED by 0")
    assert site.over(job).reason is EndReason.CANCELED


def test_surplus_batch_jobs_are_withdrawn_and_those_that_run_are_not(site, slurm):
    runs = site.waiting()
    site.submit(runs)
    site.running(runs)
    slurm.holds = True
    jobs = [site.job("true") for _ in range(6)]
    site.submit(*jobs)
    site.until(lambda: len(slurm.queue) == 7)
    site.executor.cancel([job.id for job in jobs[:4]])
    site.until(lambda: len(slurm.withdrawn) == 4)
    assert site.pilot_of(runs) in slurm.queue
    slurm.start()
    site.release(runs)
    assert [s.reason for s in site.over(runs, *jobs[4:])] == [EndReason.EXITED] * 3
    assert len(slurm.withdrawn) == 4


def test_forgotten_tasks_leave_no_files(site, slurm):
    slurm.holds = True
    jobs = [site.job("true") for _ in range(3)]
    site.submit(*jobs)
    site.until(lambda: slurm.queue)
    site.executor.cancel([jobs[0].id])
    slurm.holds = False
    slurm.start()
    site.over(*jobs)
    site.executor.forget([job.id for job in jobs])
    site.until(lambda: not slurm.queue and not site.executor._books.pilots)
    site.until(lambda: not site.executor._accounting.open())
    site.executor.booked([job.id for job in jobs])
    assert site.files() == ["tag.json"]
    assert not list((site.folder / "state" / pilot.POOLS).iterdir())
    assert site.executor.states([job.id for job in jobs]) == {}


# --- restarts


def test_another_executor_takes_over_what_waits_runs_and_has_ended(site, slurm):
    ended, runs, doomed = site.job("true", owner="x: y"), site.waiting(), site.waiting()
    site.run(ended)
    site.submit(runs, doomed)
    site.running(runs, doomed)
    slurm.holds = True
    waits = site.job("true")
    site.submit(waits)
    site.until(lambda: any(job.state == "PENDING" for job in slurm.queue.values()))
    before = len(slurm.submissions)
    site.reopen()
    assert [state_of(site, job) for job in (ended, runs, waits)] == [
        ENDED, RUNNING, JobState.PENDING
    ]  # fmt: skip
    site.executor.cancel([doomed.id])
    site.release(runs)
    slurm.start()
    statuses = site.over(runs, waits, doomed)
    assert [s.reason for s in statuses] == [
        EndReason.EXITED, EndReason.EXITED, EndReason.CANCELED
    ]  # fmt: skip
    assert len(slurm.submissions) == before


def test_what_ended_while_no_executor_was_there_is_found(site, slurm):
    well, killed = site.waiting(), site.waiting(owner="fisica: Luis <luis@x>")
    site.submit(well, killed)
    site.running(well, killed)
    pilots = [site.pilot_of(job) for job in (well, killed)]
    site.release(well)
    slurm.queue[pilots[0]].process.wait(60)
    slurm.crash(pilots[1], "NODE_FAIL")
    site.reopen()
    first, second = site.over(well, killed)
    assert first.reason is EndReason.EXITED
    assert second.state is LOST
    assert "the compute node failed" in second.message


def test_a_task_that_the_scheduler_cut_short_while_no_executor_was_there_is_lost(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.end(site.pilot_of(job), "CANCELLED by 0")
    assert files.read_exit(str(job.folder))["reason"] == "canceled"  # as its supervisor saw it
    site.reopen()
    status = site.over(job)
    assert status.state is LOST
    assert "canceled at the site by user 0" in status.message


def test_an_executor_that_stopped_between_a_claim_and_its_reason_is_taken_up(site, slurm):
    slurm.holds = True
    canceled, refused = site.job("true"), site.job("true")
    site.submit(canceled, refused)
    site.executor._books.cancel_mark(canceled.id).touch()
    for job in (canceled, refused):
        assert files.claim(str(job.folder), AGENT)
    site.reopen()
    first, second = site.over(canceled, refused)
    assert first.reason is EndReason.CANCELED
    assert second.state is LOST


def test_a_claim_that_was_never_heard_of_is_found(site, slurm):
    job = site.waiting()
    slurm.holds = True
    site.submit(job)
    site.until(lambda: slurm.queue)
    [name] = slurm.queue
    events = site.folder / "state" / pilot.EVENTS / name
    events.symlink_to("/dev/null")  # its pilot's words go nowhere
    slurm.start()
    site.until(lambda: site.runs(job))
    events.unlink()
    site.until(lambda: state_of(site, job) is RUNNING)
    site.release(job)
    assert site.over(job).reason is EndReason.EXITED


def test_a_job_that_a_killed_controller_takes_for_running_is_not_waited_for(site, slurm):
    slurm.holds = True
    job = site.job("true")
    site.submit(job)
    [ghost] = site.until(lambda: list(slurm.queue.values()))
    ghost.state, slurm.holds = "RUNNING", False
    site.poll()
    site.skip(30)
    site.poll()
    assert len(slurm.submissions) == 1, "it may be about to take the task"
    site.skip(31)
    assert site.over(job).reason is EndReason.EXITED


# --- commands that fail


@pytest.mark.parametrize("count", [1, 4])
def test_a_submission_whose_answer_was_late_is_not_made_again(site, slurm, count):
    slurm.down.add("sbatch answers")
    slurm.holds = True
    jobs = [site.waiting() for _ in range(count)]
    site.submit(*jobs)
    with pytest.raises(ExecutorUnavailable):
        site.poll()
    site.until(lambda: len(site.executor._books.pilots) == count)
    slurm.down.clear()
    slurm.start()
    site.running(*jobs)
    assert len(slurm.submissions) == 1
    for job in jobs:
        site.release(job)
    site.over(*jobs)


def test_a_doubled_submission_runs_no_task_twice(site, slurm):
    slurm.holds = True
    jobs = [site.job("sh", "-c", f"echo x >>{site.folder}/ran") for _ in range(5)]
    site.submit(*jobs)
    site.until(lambda: slurm.queue)
    script = next(iter(slurm.queue.values())).script
    slurm.sbatch(script, slurm.submissions[0])
    slurm.start()
    assert all(status.reason is EndReason.EXITED for status in site.over(*jobs))
    site.until(lambda: not slurm.queue)
    assert (site.folder / "ran").read_text() == "x\n" * 5


def test_a_queue_that_cannot_be_asked_says_nothing_about_tasks(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.down |= {"squeue", "sacct", "scontrol", "sbatch"}
    site.skip(100_000)
    for _ in range(5):
        site.skip(60)
        with pytest.raises(ExecutorUnavailable):
            site.poll()
    assert state_of(site, job) is RUNNING
    slurm.down.clear()
    site.release(job)
    assert site.over(job).reason is EndReason.EXITED


def test_what_pilots_tell_is_told_though_slurm_does_not_answer(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.down |= {"squeue", "sacct", "scontrol", "sbatch"}
    site.release(job)
    assert site.over(job).reason is EndReason.EXITED


def test_nothing_is_submitted_while_the_queue_is_not_known(site, slurm):
    slurm.down.add("squeue")
    site.submit(site.job("true"))
    for _ in range(3):
        site.skip(60)
        with pytest.raises(ExecutorUnavailable):
            site.poll()
    assert slurm.submissions == []


def test_a_task_is_unknown_while_the_accounting_is_and_lost_after_its_patience(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.forgets = True
    slurm.crash(site.pilot_of(job), "NODE_FAIL")
    site.skip(20)
    site.until(lambda: state_of(site, job) is JobState.UNKNOWN)
    site.skip(job.limits.walltime + module._PATIENCE - 60)
    site.poll()
    assert state_of(site, job) is JobState.UNKNOWN
    site.skip(60)
    status = site.over(job)
    assert status.state is LOST
    assert "no longer knows its batch job" in status.message


def test_usage_of_forgotten_tasks_is_still_asked_for_and_by_the_next_executor_too(site, slurm):
    assert site.executor.is_idle()
    slurm.forgets = True
    job = site.job("true")
    site.run(job)
    site.executor.forget([job.id])
    site.until(lambda: site.executor._accounting.open())
    site.reopen()
    assert not site.executor.is_idle(), "poll has something to find out, without a task in hand"
    slurm.forgets = False
    site.until(lambda: site.executor.allocations())
    site.executor.booked(site.executor.allocations())
    assert site.executor.is_idle()


def test_an_accounting_that_is_down_keeps_no_other_task_waiting(site, slurm):
    lost = site.waiting()
    site.submit(lost)
    site.running(lost)
    slurm.down.add("sacct")
    slurm.crash(site.pilot_of(lost), "NODE_FAIL")
    assert site.run(site.job("true")).reason is EndReason.EXITED
    [fault] = site.until(site.executor.faults)
    assert fault.code == "accounting"
    assert lost.id not in {i for i, s in site.told.items() if s.state is LOST}
    slurm.down.clear()
    site.skip(10)
    assert "the compute node failed" in site.over(lost).message


def test_an_accounting_that_is_down_is_seen_though_nothing_runs(site, slurm):
    site.executor.partitions()
    assert site.executor.faults() == []
    slurm.down.add("sacctmgr")
    site.skip(61)
    site.executor.partitions()
    assert [fault.code for fault in site.executor.faults()] == ["accounting"]
    slurm.down.clear()
    site.skip(11)
    site.executor.partitions()
    assert site.executor.faults() == []


def test_a_dead_munge_refuses_no_task_and_what_runs_goes_on(site, slurm):
    runs, later = site.waiting(), site.job("true")
    site.submit(runs)
    site.running(runs)
    slurm.munge_down = True
    site.submit(later)
    site.skip(20)
    with pytest.raises(ExecutorUnavailable) as caught:
        site.poll()
    assert caught.value.fault.code == "munge"
    assert "munge" in {fault.code for fault in site.executor.faults()}
    site.release(runs)
    assert site.over(runs).reason is EndReason.EXITED
    slurm.munge_down = False
    assert site.over(later).reason is EndReason.EXITED


# --- what Slurm decides


@pytest.fixture
def two_projects(site):
    """A site where each of two projects has an account of its own."""
    projects = {"fisica": Terms("a-fis", "long"), "lenguas": Terms("a-len")}
    site.rules = Rules(account="ayni", qos="normal", projects=projects)
    site.reopen()
    return site


def test_each_project_s_batch_jobs_are_of_its_account_and_never_shared(two_projects, slurm):
    site = two_projects
    jobs = [site.job("true", project=name) for name in ("fisica", "lenguas", "otra") * 4]
    site.submit(*jobs[:6])
    site.reopen()  # what waits is of its project for whoever takes over, too
    site.submit(*jobs[6:])
    site.over(*jobs)
    terms = {}
    for given in slurm.submissions:
        name = next(word for word in given if word.startswith("--job-name="))
        terms[name] = [word for word in given if word.startswith(("--account=", "--qos="))]
    assert sorted(terms.values()) == [
        ["--account=a-fis", "--qos=long"],
        ["--account=a-len", "--qos=normal"],
        ["--account=ayni", "--qos=normal"],
    ]
    used = {(job.project, files.claim_tag(str(job.folder))) for job in jobs}
    assert len({tag for _, tag in used}) == len(used), "a batch job had tasks of two projects"


@pytest.fixture
def limited(site, slurm):
    """Batch jobs of a QOS that gives ten minutes."""
    slurm.walls = {"short": 600}
    site.rules = Rules(qos="short")
    site.reopen()
    return site


def test_batch_jobs_of_short_tasks_ask_for_no_more_than_the_qos_gives(limited, slurm):
    limited.run(limited.job("true"))  # now it is known that such tasks are short
    jobs = [limited.job("true") for _ in range(10)]
    assert {status.reason for status in limited.run(*jobs)} == {EndReason.EXITED}
    times = {word for given in slurm.submissions for word in given if word.startswith("--time=")}
    assert "--time=10" in times


def test_a_task_that_is_longer_than_the_qos_gives_is_refused_by_name(limited, slurm):
    fits, long = limited.job("true", walltime=480), limited.job("true", walltime=481)
    assert limited.executor.submit([fits, long]) == {
        long.id: "walltime: 481 asked for, QOS short of this site gives 480"
    }
    assert limited.over(fits).reason is EndReason.EXITED


def test_an_accounting_that_is_down_hides_limits_and_then_slurm_refuses(limited, slurm):
    slurm.down.add("sacctmgr")
    long = limited.job("true", walltime=1200)
    assert "more than the site's limits allow one job" in limited.run(long).message
    slurm.down.clear()
    limited.executor.partitions()
    assert list(limited.executor.submit([limited.job("true", walltime=1200)]).values()) == [
        "walltime: 1200 asked for, QOS short of this site gives 480"
    ]


def test_a_project_that_slurm_refuses_keeps_no_other_from_running(two_projects, slurm):
    site = two_projects
    slurm.refuses_options = {"--account=a-fis": "Invalid account"}
    refused, runs = site.job("true", project="fisica"), site.job("true", project="lenguas")
    first, second = site.run(refused, runs)
    assert (first.reason, second.reason) == (EndReason.START_FAILED, EndReason.EXITED)
    assert "the site's account is not allowed there" in first.message


def test_a_refusal_ends_the_waiting_tasks_with_words(site, slurm):
    slurm.refuses = "Invalid account or account/partition combination specified"
    jobs = [site.job("true") for _ in range(3)]
    for status in site.run(*jobs):
        assert (status.state, status.reason) == (ENDED, EndReason.START_FAILED)
        assert "the site's account is not allowed there" in status.message
        assert slurm.refuses in status.message
    assert len(slurm.submissions) == 1


def test_a_batch_job_that_can_never_start_ends_its_tasks_and_is_withdrawn(site, slurm):
    slurm.holds = True
    job = site.job("true")
    site.submit(job)
    site.until(lambda: slurm.queue)
    for waiting in slurm.queue.values():
        waiting.reason = "PartitionTimeLimit"
    status = site.over(job)
    assert status.reason is EndReason.START_FAILED
    assert "more time than the partition gives" in status.message
    site.until(lambda: not slurm.queue)


def test_a_limit_on_the_number_of_jobs_makes_arrays_smaller(site, slurm):
    slurm.most_jobs = 3
    jobs = [site.job("true") for _ in range(12)]
    assert all(status.reason is EndReason.EXITED for status in site.run(*jobs))
    assert len(slurm.queue) <= 3


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("NODE_FAIL", "the compute node failed"),
        ("PREEMPTED", "work of higher priority"),
        ("TIMEOUT", "time limit of the site"),
        ("FAILED", "was killed"),
        ("OUT_OF_MEMORY", "more memory than it asked for"),
    ],
)
def test_a_batch_job_that_is_gone_at_once_tells_by_its_accounting(site, slurm, state, words):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.crash(site.pilot_of(job), state)
    status = site.over(job)
    assert status.state is (ENDED if state == "OUT_OF_MEMORY" else LOST)
    assert words in status.message


def test_a_task_of_a_batch_job_that_is_put_back_is_lost_and_its_next_run_takes_others(site, slurm):
    job, later = site.waiting(), site.waiting()
    site.submit(job)
    site.running(job)
    name = site.pilot_of(job)
    slurm.holds = True
    site.submit(later)
    site.until(lambda: len(slurm.queue) == 2)
    slurm.requeue(name)
    status = site.over(job)
    assert status.state is LOST
    assert "back into the queue" in status.message
    site.until(lambda: slurm.withdrawn)  # one of two is enough
    assert slurm.withdrawn != [name]
    slurm.start()
    site.running(later)
    assert site.pilot_of(later) == name
    # It dies of a signal; that of the earlier run has no part in it.
    marked = [pid for pid, of in processes.marked() if of == later.id]
    processes.send(marked, signal.SIGTERM)
    assert site.over(later).reason is EndReason.EXITED


def test_a_requeue_that_nobody_saw_is_told_by_the_next_run(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    slurm.requeue(site.pilot_of(job))
    site.reopen()
    slurm.start()  # before anybody looked
    status = site.over(job)
    assert status.state is LOST
    assert "back into the queue" in status.message


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/true"])
def test_batch_jobs_that_end_without_a_task_are_not_asked_for_for_ever(site, slurm, python):
    site.rules = Rules(python=python)
    site.reopen()
    job = site.job("true")
    site.submit(job)

    def over():
        site.skip(5)
        return job.id in site.told

    site.until(over)
    status = site.told[job.id]
    assert status.reason is EndReason.START_FAILED
    assert "end before they can run a task" in status.message
    assert len(slurm.submissions) == fleet.BARREN


def test_a_task_with_words_cut_off_by_a_full_disk_is_told_all_the_same(site, slurm):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    with (site.folder / "state" / pilot.EVENTS / site.pilot_of(job)).open("a") as file:
        file.write('["ended","a\n[]\n7\n')
    site.release(job)
    assert site.over(job).reason is EndReason.EXITED


def test_the_controller_is_asked_the_same_for_one_task_as_for_many(site, slurm):
    jobs = [site.waiting() for _ in range(20)]
    site.submit(*jobs)
    site.until(lambda: sum(map(site.runs, jobs)) == 20)
    site.poll()
    before = slurm.calls
    site.skip(11)
    site.poll()
    assert (
        slurm.calls - before <= 5
    )  # squeue, three times scontrol, and a start that is asked about
    for job in jobs:
        site.release(job)
    site.over(*jobs)


def test_a_shared_disk_that_is_away_makes_the_site_unavailable_and_decides_nothing(site):
    job = site.waiting()
    site.submit(job)
    site.running(job)
    state = site.folder / "state"
    state.rename(site.folder / "away")
    for ask in (
        lambda: site.executor.poll(),
        lambda: site.executor.submit([site.job("true", owner="x: y")]),
        lambda: site.executor.cancel([job.id]),
        lambda: site.executor.states([job.id]),
    ):
        with pytest.raises(ExecutorUnavailable, match="shared disk"):
            ask()
    (site.folder / "away").rename(state)
    site.release(job)
    assert site.over(job).reason is EndReason.EXITED


def test_a_shared_disk_that_is_away_refuses_no_task_of_a_pool_that_is_known(site):
    first, second = site.job("true"), site.job("true")
    site.run(first)
    state = site.folder / "state"
    state.rename(site.folder / "away")
    with pytest.raises(ExecutorUnavailable, match="shared disk"):
        site.executor.submit([second])
    (site.folder / "away").rename(state)
    assert site.run(second).reason is EndReason.EXITED


def full(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["files.write_json", "Books._enter", "BareRuntime.plan"])
def test_a_full_disk_refuses_no_task_and_it_runs_when_there_is_room(site, monkeypatch, what):
    first, job = site.job("true"), site.job("true")
    site.run(first)
    owner, name = what.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(
            {"files": files, "Books": Books, "BareRuntime": BareRuntime}[owner], name, full
        )
        with pytest.raises(ExecutorUnavailable) as caught:
            site.executor.submit([job])
        assert caught.value.fault.code == "disk"
    assert site.run(job).reason is EndReason.EXITED


def test_a_pool_whose_file_was_lost_is_known_by_its_tasks(site, slurm):
    slurm.holds = True
    job = site.job("true")
    site.submit(job)
    for path in (site.folder / "state" / "pools").glob("*.json"):
        path.unlink()
    site.reopen()
    assert site.executor.states([job.id])[job.id].state is JobState.PENDING
    slurm.holds = False
    slurm.start()
    assert site.over(job).reason is EndReason.EXITED
    assert [path.suffix for path in (site.folder / "state" / "pools").iterdir()].count(".json") == 1


def test_a_task_whose_folder_is_gone_can_be_canceled(site, slurm):
    slurm.holds = True
    job = site.job("true")
    site.submit(job)
    shutil.rmtree(job.folder)
    site.executor.cancel([job.id])
    assert site.over(job).reason is EndReason.CANCELED
