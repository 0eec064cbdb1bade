"""Folders that outlive a job, the leases on them, and the warning before the end of a walltime."""

from __future__ import annotations

from dataclasses import replace

from ayni.agent.executors.base import Bind, EndReason
from ayni.agent.supervisor import files
from tests.agent.executors.conftest import SOON

LISTENS = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
    "open(os.environ['AYNI_ROOT'] + '/work/up', 'w').close()\n"
    "time.sleep(60)\n"
)


def volume(site, mode="w"):
    data = site.folder / "volume" / "data"
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o777)  # whoever the job is outside of this sandbox or that
    return Bind(data, "/state", writable=mode == "w")


def lease(site, holder):
    path = site.folder / "volume" / "lease"
    files.write_json(str(path), {"attempt": holder, "after": 0.0})
    return path


def test_what_a_job_writes_there_the_next_one_reads(any_site):
    bind = volume(any_site)
    first = any_site.job("sh", "-c", "mkdir $AYNI_ROOT/state/a; echo hola > $AYNI_ROOT/state/a/b",
                         binds=(bind,))  # fmt: skip
    assert any_site.run(first).results[0].exit_code == 0
    second = any_site.job("sh", "-c", "cat $AYNI_ROOT/state/a/b", binds=(bind,))
    any_site.run(second)
    assert any_site.out(second) == "hola\n"
    assert (bind.source / "a" / "b").read_text() == "hola\n"


def test_in_a_sandbox_one_that_is_read_only_stays_as_it_is(site):
    bind = volume(site, "r")
    job = site.job("sh", "-c", "touch /state/x", binds=(bind,))
    assert site.run(job).results[0].exit_code != 0
    assert list(bind.source.iterdir()) == []


def test_streams_of_a_command_may_lie_there(any_site):
    job = any_site.job("echo", "hola", stdout="/state/log/out", binds=(volume(any_site),))
    assert any_site.run(job).results[0].exit_code == 0
    assert (any_site.folder / "volume/data/log/out").read_text() == "hola\n"


def test_a_job_whose_volume_is_anothers_starts_nothing(site):
    job = site.job("touch", "/state/x", binds=(volume(site),))
    path = lease(site, "another")
    status = site.run(replace(job, leases=(path,)))
    assert (status.reason, status.results) == (EndReason.FENCED, ())
    assert not (site.folder / "volume/data/x").exists()


def test_a_job_that_loses_its_volume_is_ended(site):
    job = site.job("sh", "-c", "touch $AYNI_ROOT/work/up; sleep 60", binds=(volume(site),))
    job = replace(job, leases=(lease(site, job.id),))
    site.submit(job)
    site.until((job.folder / "root" / "work" / "up").exists)
    lease(site, "another")
    assert site.wait(job).reason is EndReason.FENCED


def test_a_lease_that_cannot_be_read_ends_nobody(site):
    job = site.job("true", binds=(volume(site),))
    path = site.folder / "volume" / "lease"
    assert site.run(replace(job, leases=(path,))).reason is EndReason.EXITED
    path.write_text("{")
    again = replace(site.job("true"), leases=(path,))
    assert site.run(again).reason is EndReason.EXITED


def test_who_listens_is_warned_before_the_end(any_site):
    limits = replace(SOON, walltime=40, warning=38)
    job = any_site.job("python3", "-c", LISTENS, limits=limits)
    assert any_site.run(job).results[0].exit_code == 75


def test_who_does_not_listen_goes_on(any_site):
    limits = replace(SOON, walltime=40, warning=39)
    job = any_site.job("sh", "-c", "sleep 3; echo well", limits=limits)
    assert any_site.run(job).results[0].exit_code == 0
    assert any_site.out(job) == "well\n"
