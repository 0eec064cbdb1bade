"""The Slurm executor on three real clusters (`make slurm-up`), as a user who is not root.

What a researcher reads is asserted for every way in which a task can end there.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.executors.base import (
    EndReason,
    ExecutorUnavailable,
    ExpectedStart,
    Job,
    JobState,
    JobStatus,
)
from ayni.agent.executors.slurm.script import Rules, Terms
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.runtimes.base import ImageSpec
from ayni.agent.runtimes.etc import write_etc
from ayni.agent.runtimes.host import HostFiles, NamespaceRuntime
from ayni.agent.supervisor import files, pilot
from ayni.tes.size import Size
from tests.agent.executors.slurm.pooled import until
from tests.agent.executors.slurm.site import Site
from tests.live.conftest import MPI, SLURM

pytestmark = [pytest.mark.live, pytest.mark.needs("slurm")]

USER = "ayni"
PYTHON = "/usr/bin/python3"  # one that the user may run; the tests' own may lie in root's home
SILENT = "santiago-n4"  # the only one of its partition
NewSite = Callable[..., Site]
ENDED, LOST = JobState.ENDED, JobState.LOST


@contextlib.contextmanager
def being(name: str) -> Iterator[None]:
    """Be another user, for good for whatever is started meanwhile."""
    before = os.getresuid()
    user = pwd.getpwnam(name)
    os.setresuid(0, 0, 0)
    os.setgroups(os.getgrouplist(name, user.pw_gid))
    os.setresgid(user.pw_gid, user.pw_gid, 0)
    os.setresuid(user.pw_uid, user.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups([0])
        if before[0] != 0:
            os.setresuid(before[0], before[0], 0)


@pytest.fixture(scope="module")
def clusters() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SLURM.read_text())
    with being(USER):
        assert os.access(pilot.__file__, os.R_OK), f"{USER} cannot read {pilot.__file__}"
    return found


@pytest.fixture(scope="module")
def open_site(clusters: dict[str, Any]) -> Iterator[NewSite]:
    """Make sites, as the user; what they started ends with the module."""
    sites: list[Site] = []

    def make(cluster: str, **rules: Any) -> Site:
        folder = Path(clusters["work"]) / f"live-{uuid.uuid4().hex[:8]}"
        with being(USER):
            folder.mkdir(mode=0o700)
            slurm = Slurm(Path(clusters["clusters"][cluster]["conf"]))
            site = Site(folder, slurm, Rules(python=PYTHON, **{"account": "ayni", **rules}))
        sites.append(site)
        return site

    yield make
    for site in sites:
        ours = [
            row.id for row in site.slurm.squeue(USER) if row.name.startswith(site.executor._prefix)
        ]
        site.slurm.scancel(ours)
        until(lambda site=site: not site.left())
        subprocess.run(["rm", "-rf", site.folder], check=True)


@pytest.fixture
def new_site(open_site: NewSite) -> Iterator[NewSite]:
    """Make sites; the test itself is the user."""
    with being(USER):
        yield open_site


def admin(clusters: dict[str, Any], cluster: str, *words: str) -> str:
    """A command of the cluster's operator."""
    env = {**os.environ, "SLURM_CONF": clusters["clusters"][cluster]["conf"]}
    with being("root"):
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def servers(*words: str) -> None:
    root = Path(__file__).parents[2]
    with being("root"):
        subprocess.run([root / "dev" / "slurm.sh", *words], check=True, capture_output=True)


def ill(site: Site) -> list[str]:
    """What is told to the hub of servers that do not answer, as of now."""
    site.skip(61)
    with contextlib.suppress(ExecutorUnavailable):
        site.executor.partitions()
    return [fault.code for fault in site.executor.faults()]


def said(status: JobStatus, state: JobState, reason: EndReason | None, *words: str) -> None:
    """What the researcher reads."""
    assert (status.state, status.reason) == (state, reason), status
    for text in words:
        assert text in status.message


# --- the ordinary


def test_tasks_run_as_an_array_on_the_nodes_as_the_user(new_site, clusters):
    site = new_site("santiago")
    jobs = [site.waiting() for _ in range(6)]
    site.submit(*jobs)
    site.running(*jobs)
    pilots = {site.pilot_of(job) for job in jobs}
    assert len(pilots) == 6
    assert all("_" in name for name in pilots)  # elements of one array
    assert len({name.partition("_")[0] for name in pilots}) == 1
    for job in jobs:
        site.release(job)
    for status in site.over(*jobs):
        said(status, ENDED, EndReason.EXITED)
        assert status.host in clusters["clusters"]["santiago"]["nodes"]
    assert (jobs[0].folder / "runs").stat().st_uid == pwd.getpwnam(USER).pw_uid


def test_many_short_tasks_are_packed_into_few_batch_jobs(new_site, clusters):
    site = new_site("santiago")
    site.run(site.job("true"))  # now it is known that such tasks are short
    jobs = [site.job("true") for _ in range(60)]
    assert all(status.reason is EndReason.EXITED for status in site.run(*jobs))
    assert len({files.claim_tag(str(job.folder)) for job in jobs}) <= 8


def test_a_task_has_the_declared_gpu_that_it_asked_for(new_site):
    site = new_site("santiago")
    job = site.job("sh", "-c", "echo $CUDA_VISIBLE_DEVICES", partition="large", gpus=1)
    status = site.run(job)
    said(status, ENDED, EndReason.EXITED)
    assert status.host == "santiago-n4"
    assert (job.folder / "logs/0.stdout").read_text() == "0\n"


def test_what_the_accounting_has_is_dealt_to_the_tasks(new_site):
    site = new_site("bogota")
    jobs = [site.job("sleep", "1") for _ in range(3)]
    site.run(*jobs)
    ids = {job.id for job in jobs}
    site.until(lambda: set(site.executor.allocations()) >= ids)
    assert all(site.executor.allocations()[job].core_seconds > 0 for job in ids)
    site.executor.forget(ids)
    site.executor.booked(ids)
    assert site.files() == ["tag.json"]


def test_the_sandbox_holds_in_a_batch_job_too(new_site):
    site = new_site("santiago")
    site.runtime = NamespaceRuntime(HostFiles(write_etc(site.folder / "etc")))
    site.reopen()
    text = (
        f"[ -e {site.folder} ] || echo no state; ls /proc | grep -c '^[0-9]'; env | grep -c SLURM"
    )
    job = site.job("sh", "-c", text)
    assert site.run(job).state is ENDED
    seen = (job.folder / "logs/0.stdout").read_text().splitlines()
    assert seen[0] == "no state"
    assert int(seen[1]) < 10  # its own processes and no other
    assert seen[2] == "0"


# --- foresight


@pytest.fixture(scope="module")
def silent(open_site: NewSite) -> Iterator[tuple[Site, Job]]:
    """A task on a node that falls silent: Slurm gives it up after 45 seconds, while other tests run."""
    site = open_site("santiago")
    with being(USER):
        job = site.waiting(partition="large", walltime=1800)
        site.submit(job)
        site.running(job)
    assert site.told[job.id].host == SILENT
    servers("kill", f"slurmd-{SILENT}")
    yield site, job
    servers("start", f"slurmd-{SILENT}")


def starts(site: Site, size: Size) -> ExpectedStart | None:
    [info] = [info for info in site.executor.partitions() if info.name == "main"]
    return next((one for one in info.starts if one.size == size), None)


@pytest.mark.usefixtures("silent")
def test_a_start_behind_somebody_elses_jobs_is_foreseen_as_the_scheduler_does(new_site, clusters):
    """All of `main` is another user's for a minute: first a bound is told, then the queue's own word."""
    site = new_site("bogota")
    size = Size(cores=2, memory=1, gpus=0, walltime=300)
    words = (
        "--account=fisica --partition=main --cpus-per-task=2 --time=1 --chdir=/ --output=/dev/null"
    )
    theirs = admin(
        clusters, "bogota", "runuser", "-u", "ayni-ana", "--", "sbatch", "--parsable", "--array=0-2",
        *words.split(), "--wrap", "sleep 55",
    )  # fmt: skip
    try:
        site.until(lambda: site.slurm.squeue("ayni-ana"))
        until(lambda: all(row.state == "RUNNING" for row in site.slurm.squeue("ayni-ana")))
        last = max(row.start for row in site.slurm.squeue("ayni-ana"))
        job = site.job("true", cores=2)
        site.submit(job)
        bound = site.until(lambda: starts(site, size))
        told = site.until(lambda: (it := starts(site, size)) and not it.at_least and it)
        [ours] = [row for row in site.slurm.squeue(USER) if row.start is not None]
        assert told.at == ours.start
        assert told.at >= last + 60, "the scheduler counts on the others' time limit"
        assert bound.at <= told.at
    finally:
        admin(clusters, "bogota", "scancel", theirs)
    said(site.over(job), ENDED, EndReason.EXITED)


# --- several nodes


@pytest.fixture
def sandboxed(new_site: NewSite) -> Site:
    site = new_site("santiago")
    site.runtime = NamespaceRuntime(HostFiles(write_etc(site.folder / "etc")))
    site.reopen()
    return site


def over_nodes(site: Site, *argv: str, **changes: Any) -> Job:
    """A task of four ranks on two nodes."""
    return site.job(*argv, cores=2, nodes=2, tasks_per_node=2, network=True, **changes)


def test_every_rank_knows_its_place_and_sees_nothing_of_the_site(sandboxed):
    text = (
        f'echo "$SLURM_PROCID $([ -e {sandboxed.folder} ] && echo leak)"; ls / | grep -c home; true'
    )
    job = over_nodes(sandboxed, "sh", "-c", text)
    assert sandboxed.run(job).state is ENDED
    lines = (job.folder / "logs/0.stdout").read_text().split()
    assert sorted(lines) == ["0", "0", "0", "0", "0", "1", "2", "3"], "ranks, and no home"


@pytest.mark.needs("mpich")
def test_an_mpi_program_computes_over_two_nodes(sandboxed):
    """A real one, of a software tree that an image names: its ranks talk by TCP out of their sandboxes."""
    sandboxed.images["mpich"] = ImageSpec(prefixes=(MPI,), path=(f"{MPI}/bin",))
    sandboxed.reopen()
    jobs = [over_nodes(sandboxed, "pi", image="mpich") for _ in range(3)]
    for job, status in zip(jobs, sandboxed.run(*jobs), strict=True):
        said(status, ENDED, EndReason.EXITED)
        assert [result.exit_code for result in status.results] == [0], sandboxed.described()
        assert (job.folder / "logs/0.stdout").read_text() == "4 ranks: 3.141592654\n"
        assert status.usage.nodes == 2


def test_one_rank_that_fails_ends_the_others_with_its_code(sandboxed):
    job = over_nodes(sandboxed, "sh", "-c", '[ "$SLURM_PROCID" != 3 ] || exit 7; sleep 600')
    status = sandboxed.run(job)
    said(status, ENDED, EndReason.EXITED)
    assert [result.exit_code for result in status.results] == [7]
    assert status.usage.nodes == 2
    given = sandboxed.until(lambda: sandboxed.executor.allocations().get(job.id))
    assert given.node_seconds == pytest.approx(given.core_seconds / 2)


def test_a_task_of_several_nodes_is_canceled_everywhere(sandboxed):
    job = over_nodes(sandboxed, "sh", "-c", "touch /work/$SLURM_PROCID; sleep 600")
    sandboxed.submit(job)
    sandboxed.until(lambda: len(list((job.folder / "root/work").glob("?"))) == 4)
    sandboxed.executor.cancel({job.id})
    said(sandboxed.over(job), ENDED, EndReason.CANCELED)
    until(lambda: not sandboxed.left())


# --- limits


def test_a_task_that_runs_too_long_is_timed_out(new_site):
    site = new_site("mexico")
    said(
        site.run(site.job("sleep", "600", walltime=2)), ENDED, EndReason.TIMEOUT, "walltime of 2 s"
    )


@pytest.mark.parametrize("mebibytes", [300, 3000])
def test_a_task_that_takes_too_much_memory_is_told_so(new_site, mebibytes):
    site = new_site("mexico")
    code = f"import time; x = bytearray({mebibytes} << 20); time.sleep(600)"
    job = site.job(PYTHON, "-c", code, memory=128 << 20)
    said(site.run(job), ENDED, EndReason.MEMORY, "memory")


@pytest.fixture(scope="module")
def over_time(open_site: NewSite, clusters: dict[str, Any]) -> tuple[Site, Job]:
    """A task whose batch job the operator gives no more time: Slurm looks at limits twice a minute."""
    site = open_site("santiago")
    with being(USER):
        job = site.waiting()
        site.submit(job)
        site.running(job)
        name = site.pilot_of(job)
    admin(clusters, "santiago", "scontrol", "update", f"jobid={name}", "endtime=now")
    return site, job


# --- canceled, withdrawn


@pytest.mark.usefixtures("over_time")
def test_a_running_task_is_canceled(new_site):
    site = new_site("santiago")
    job = site.waiting()
    site.submit(job)
    site.running(job)
    site.executor.cancel([job.id])
    said(site.over(job), ENDED, EndReason.CANCELED, "canceled")


def test_a_pending_task_is_canceled_and_its_batch_job_withdrawn(new_site):
    site = new_site("santiago", options=("--hold",))
    job = site.job("true")
    site.submit(job)
    site.until(lambda: any(p.waiting for p in site.executor._books.pilots.values()))
    site.executor.cancel([job.id])
    said(site.over(job), ENDED, EndReason.CANCELED, "canceled before it started")
    site.until(lambda: not site.executor._books.pilots)


def test_pending_work_is_withdrawn_and_what_runs_is_not(new_site, clusters):
    site = new_site("bogota")
    runs = site.waiting(cores=2)
    site.submit(runs)
    site.running(runs)
    jobs = [site.waiting(cores=2) for _ in range(4)]  # of three nodes with two cores each
    site.submit(*jobs)
    site.until(lambda: sum(p.waiting for p in site.executor._books.pilots.values()) >= 2)
    site.executor.cancel([job.id for job in jobs])
    for status in site.over(*jobs):
        said(status, ENDED, EndReason.CANCELED)
    site.until(lambda: len(site.executor._books.pilots) == 1)
    site.release(runs)
    said(site.over(runs), ENDED, EndReason.EXITED)


def test_a_batch_job_that_the_operator_cancels_is_told_as_such(new_site, clusters):
    site = new_site("santiago")
    job = site.waiting()
    site.submit(job)
    site.running(job)
    admin(clusters, "santiago", "scancel", site.pilot_of(job))
    said(site.over(job), LOST, None, "canceled at the site by user 0")


# --- the site takes back what it gave


def test_a_preempted_task_is_lost_and_says_to_whom(new_site, clusters):
    site = new_site("mexico")
    job = site.waiting(partition="spare")
    site.submit(job)
    site.running(job)
    node = site.told[job.id].host
    partition = "main" if node in ("mexico-n1", "mexico-n2") else "large"
    words = ("--uid=ayni-ana", "-A", "fisica", "-p", partition, "-w", node, "--exclusive")
    log = "--output=/dev/null"
    number = admin(
        clusters, "mexico", "sbatch", "--parsable", *words, log, "--chdir=/", "--wrap=sleep 600"
    )
    try:
        said(site.over(job), LOST, None, "work of higher priority (preempted)", "PREEMPTED")
    finally:
        admin(clusters, "mexico", "scancel", number)


def test_a_requeued_task_is_lost_and_the_next_run_takes_another(new_site, clusters):
    site = new_site("santiago", options=("--requeue",))
    job = site.waiting()
    site.submit(job)
    site.running(job)
    name = site.pilot_of(job)
    admin(clusters, "santiago", "scontrol", "requeue", name)
    said(site.over(job), LOST, None, "put its batch job back into the queue")
    said(site.run(site.job("true")), ENDED, EndReason.EXITED)


def test_a_task_whose_node_fails_is_lost_and_others_run(new_site, clusters):
    site = new_site("bogota")
    job = site.waiting()
    site.submit(job)
    site.running(job)
    node = site.told[job.id].host
    admin(clusters, "bogota", "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        said(site.over(job), LOST, None, "the compute node failed", "NODE_FAIL")
        said(site.run(site.job("true")), ENDED, EndReason.EXITED)
    finally:
        admin(clusters, "bogota", "scontrol", "update", f"nodename={node}", "state=resume")


# --- projects and accounts


def test_each_project_s_batch_jobs_are_of_its_account_and_qos(new_site, clusters):
    projects = {"fisica": Terms("fisica", "short"), "lenguas": Terms("lenguas")}
    site = new_site("santiago", qos="normal", projects=projects)
    jobs = [site.job("true", project=name) for name in ("fisica", "lenguas", "otra")]
    for status in site.run(*jobs):
        said(status, ENDED, EndReason.EXITED)
    tags = [files.claim_tag(str(job.folder)).rpartition(".")[0] for job in jobs]
    asked = ("sacct", "-X", "-n", "-P", "-o", "Account,QOS", "-j")
    expected = ["fisica|short", "lenguas|normal", "ayni|normal"]
    until(lambda: [admin(clusters, "santiago", *asked, tag) for tag in tags] == expected)


def test_a_project_with_a_wrong_account_is_told_so_and_others_run(new_site):
    site = new_site("mexico", projects={"maize": Terms("nadie"), "clima": Terms(qos="nada")})
    wrong, none, right = (site.job("true", project=name) for name in ("maize", "clima", "otra"))
    ends = site.run(wrong, none, right)
    said(ends[0], ENDED, EndReason.START_FAILED, "account is not allowed there")
    said(ends[1], ENDED, EndReason.START_FAILED, "quality of service is not allowed")
    said(ends[2], ENDED, EndReason.EXITED)


# --- refused


@pytest.mark.parametrize(
    ("cluster", "rules", "job", "words"),
    [
        ("santiago", {"qos": "nada"}, {}, "quality of service is not allowed"),
        ("santiago", {"account": "nadie"}, {}, "account is not allowed there"),
        ("santiago", {"constraint": "quantum"}, {}, "Invalid feature specification"),
        ("bogota", {"account": "lenguas"}, {"partition": "large"}, "may not use that partition"),
    ],
)
def test_what_slurm_refuses_ends_and_says_why(new_site, cluster, rules, job, words):
    site = new_site(cluster, **rules)
    status = site.run(site.job("true", **job))
    said(status, ENDED, EndReason.START_FAILED, "the site's scheduler refused it: ", words)
    site.until(lambda: not site.executor._books.pilots)


def test_a_qos_that_gives_less_than_a_pilot_would_ask_for_runs_short_tasks(new_site, clusters):
    site = new_site("santiago", qos="short")  # ten minutes
    long = site.job("true", walltime=1200)
    assert site.executor.submit([long]) == {
        long.id: "walltime: 1200 asked for, QOS short of this site gives 480"
    }
    site.run(site.job("true"))  # now it is known that such tasks are short
    job = site.job("true")
    said(site.run(job), ENDED, EndReason.EXITED)
    tag = site.pilot_of(job)
    asked = ("sacct", "-X", "-n", "-P", "-o", "TimelimitRaw,QOS", "-j", tag)
    until(lambda: admin(clusters, "santiago", *asked) == "10|short")


def test_a_limit_on_how_many_jobs_one_has_refuses_nothing(new_site):
    site = new_site("santiago", qos="short")  # eight in the queue
    jobs = [site.job("true") for _ in range(20)]
    assert all(status.reason is EndReason.EXITED for status in site.run(*jobs))


# --- servers and agents that stop


def test_the_controller_stops_and_starts_and_no_task_notices(new_site):
    site = new_site("mexico")
    ends, goes_on = site.waiting(), site.waiting()
    site.submit(ends, goes_on)
    site.running(ends, goes_on)
    servers("stop", "slurmctld-mexico")
    try:
        site.skip(60)
        with pytest.raises(ExecutorUnavailable, match="Unable to contact slurm controller"):
            site.poll()
        assert ill(site) == ["controller"]
        site.release(ends)
        said(site.over(ends), ENDED, EndReason.EXITED)
    finally:
        servers("start", "slurmctld-mexico")
    later = site.job("true")
    site.until(lambda: site.executor.submit([later]) == {})
    site.release(goes_on)
    for status in site.over(goes_on, later):
        said(status, ENDED, EndReason.EXITED)


def test_the_accounting_stops_and_what_only_it_knows_waits_for_it(new_site, clusters):
    site = new_site("mexico")
    job = site.waiting()
    site.submit(job)
    site.running(job)
    servers("stop", "slurmdbd-mexico")
    try:
        admin(clusters, "mexico", "scancel", site.pilot_of(job))
        site.until(lambda: site.executor.states([job.id])[job.id].state is JobState.UNKNOWN)
        said(site.run(site.job("true")), ENDED, EndReason.EXITED)
        assert site.told[job.id].state is JobState.RUNNING
        assert ill(site) == ["accounting"]
    finally:
        servers("start", "slurmdbd-mexico")
    said(site.over(job), LOST, None, "canceled at the site")
    assert ill(site) == []


def test_a_dead_munge_is_no_refusal_and_no_task_notices(new_site):
    site = new_site("mexico")
    ends, goes_on, later = site.waiting(), site.waiting(), site.job("true")
    site.submit(ends, goes_on)
    site.running(ends, goes_on)
    servers("kill", "munge-mexico")
    try:
        site.skip(60)
        for ask in (
            site.poll,
            lambda: site.executor.submit([later]),
            lambda: site.slurm.sbatch("#!/bin/sh\n", []),
        ):
            with pytest.raises(ExecutorUnavailable) as caught:
                ask()
            assert caught.value.fault.code == "munge"
        assert "munge" in ill(site)
        site.release(ends)
        said(site.over(ends), ENDED, EndReason.EXITED)
    finally:
        servers("start", "munge-mexico")
    site.until(lambda: site.executor.submit([later]) == {})
    site.release(goes_on)
    for status in site.over(goes_on, later):
        said(status, ENDED, EndReason.EXITED)
    site.until(lambda: ill(site) == [])


def test_a_node_that_fell_silent_has_lost_its_task_and_is_used_again_when_it_is_back(
    new_site, silent, clusters
):
    site, job = silent
    said(site.over(job), LOST, None, "the compute node failed", "NODE_FAIL")
    others = new_site("santiago")
    said(others.run(others.job("true")), ENDED, EndReason.EXITED)
    servers("start", f"slurmd-{SILENT}")
    state = ("sinfo", "-h", "-N", "-n", SILENT, "-o", "%T")
    until(lambda: set(admin(clusters, "santiago", *state).split()) == {"idle"})
    said(site.run(site.job("true", partition="large")), ENDED, EndReason.EXITED)


def test_a_maintenance_reservation_is_the_partition_s_window_and_what_ends_before_it_runs(
    new_site, clusters
):
    site = new_site("bogota")
    name = f"live{uuid.uuid4().hex[:8]}"
    words = ("users=root", "nodes=bogota-n[1-3]", "flags=maint,ignore_jobs")
    times = ("starttime=now+10minutes", "duration=30")
    admin(clusters, "bogota", "scontrol", "create", f"reservation={name}", *words, *times)
    try:
        windows = {info.name: info.windows for info in site.executor.partitions()}
        assert [window.why for window in windows["main"]] == [f"Slurm reservation {name}"]
        assert windows["large"] == ()
        # Its batch job would by rights have ten minutes more than the task, and would then wait.
        said(site.run(site.job("true", walltime=120)), ENDED, EndReason.EXITED)
    finally:
        admin(clusters, "bogota", "scontrol", "delete", f"reservation={name}")


def test_an_executor_is_killed_and_another_takes_over(new_site):
    site = new_site("santiago")
    jobs = [site.waiting() for _ in range(4)]
    pid = os.fork()
    if pid == 0:
        try:
            uid = os.getuid()
            os.setresuid(uid, uid, uid)
            site.reopen()
            site.submit(*jobs)
            site.until(lambda: False)
        finally:
            os._exit(1)
    try:
        until(lambda: all(map(site.runs, jobs)))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    site.release(jobs[0])
    site.reopen()
    assert set(site.executor.states([job.id for job in jobs])) == {job.id for job in jobs}
    site.executor.cancel([jobs[1].id])
    for job in jobs[2:]:
        site.release(job)
    reasons = [status.reason for status in site.over(*jobs)]
    assert reasons == [EndReason.EXITED, EndReason.CANCELED, EndReason.EXITED, EndReason.EXITED]


def test_a_batch_job_that_reaches_slurm_s_time_limit_loses_its_task(over_time):
    site, job = over_time
    with being(USER):
        said(site.over(job), LOST, None, "time limit of the site", "TIMEOUT")
