"""A job that wants too much is ended, and told why; one that prints too much goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ayni.agent.executors.base import EndReason, Limits
from tests.agent.executors.conftest import SOON

FORKS = "import os,time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.1)"


def test_a_job_over_its_walltime_is_ended(any_site):
    status = any_site.run(any_site.job("sleep", "60", limits=replace(SOON, walltime=1)))
    assert status.reason is EndReason.TIMEOUT
    assert "walltime of 1 s" in status.message
    assert [result.exit_code for result in status.results] == [143]


def test_a_job_may_tidy_up_when_its_time_is_over(any_site):
    text = "trap 'echo saved; exit 0' TERM; while :; do sleep 0.05; done"
    job = any_site.job("sh", "-c", text, limits=replace(SOON, walltime=1, grace=20))
    assert any_site.run(job).reason is EndReason.TIMEOUT
    assert any_site.out(job) == "saved\n"


def test_a_job_over_its_memory_is_ended(any_site):
    code = "import time; x = bytearray(200 << 20); time.sleep(60)"
    limits = replace(SOON, memory=64 << 20)
    status = any_site.run(any_site.job("python3", "-c", code, limits=limits))
    assert status.reason is EndReason.MEMORY
    assert "limit is 64 MiB" in status.message
    assert status.usage.peak_memory > 64 << 20


def test_the_memory_of_all_its_processes_counts(any_site):
    code = "import os,time\nos.fork(); os.fork()\nx = bytearray(50 << 20); time.sleep(60)"
    limits = replace(SOON, memory=128 << 20)
    status = any_site.run(any_site.job("python3", "-c", code, limits=limits))
    assert status.reason is EndReason.MEMORY


@pytest.mark.parametrize(
    "text",
    [
        "head -c 100M /dev/zero > big; sleep 60",
        "for i in $(seq 50); do head -c 2M /dev/zero > part$i; done; sleep 60",
        "exec 3> hidden; rm hidden; head -c 100M /dev/zero >&3; sleep 60",
    ],
    ids=["one file", "many files", "a file without a name"],
)
def test_a_job_that_takes_too_much_of_the_disk_is_ended(any_site, text):
    limits = replace(SOON, disk=32 << 20)
    status = any_site.run(any_site.job("sh", "-c", text, limits=limits))
    assert status.reason is EndReason.DISK
    assert "limit is 32 MiB" in status.message


def test_memory_that_processes_share_counts_once(any_site):
    code = (
        "import os,time\nx = bytearray(60 << 20)\n"
        "for _ in range(5):\n  if os.fork() == 0: time.sleep(0.5); os._exit(0)\n"
        "time.sleep(0.6)"
    )
    limits = replace(SOON, memory=128 << 20)
    status = any_site.run(any_site.job("python3", "-c", code, limits=limits))
    assert status.reason is EndReason.EXITED


def test_memory_in_dev_shm_counts(namespaces):
    text = "head -c 60m /dev/zero > /dev/shm/x; sleep 60"
    limits = replace(SOON, memory=128 << 20)
    job = namespaces.job("sh", "-c", text + " & " + "sleep 60", limits=replace(limits))
    big = replace(job, limits=replace(limits, memory=120 << 20))
    code = "import time; x = bytearray(80 << 20); time.sleep(60)"
    both = namespaces.job("sh", "-c", f"({text}) & python3 -c '{code}'", limits=big.limits)
    assert namespaces.run(both).reason is EndReason.MEMORY


def test_dev_shm_holds_no_more_than_half_of_the_memory(namespaces):
    job = namespaces.job("sh", "-c", "head -c 200m /dev/zero > /dev/shm/x")
    assert namespaces.run(job).results[0].exit_code != 0
    assert "No space" in namespaces.err(job)


def test_a_fork_bomb_is_ended(namespaces):
    status = namespaces.run(namespaces.job("python3", "-c", FORKS))
    assert status.reason is EndReason.PROCESSES
    assert "limit is 64" in status.message


def test_the_kernel_holds_a_fork_bomb_while_nobody_looks(namespaces):
    code = (
        "import os,time\nn = 0\ntry:\n"
        "  while True:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n"
        "except OSError: print(n, flush=True); os.kill(-1, 9)"
    )
    job = namespaces.job("python3", "-c", code)
    namespaces.run(job)
    printed = namespaces.out(job).split()
    assert not printed or int(printed[0]) < 64 + 16 + 2


def test_threads_count_as_processes(any_site):
    code = (
        "import threading,time\n"
        "for _ in range(70): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "time.sleep(60)"
    )
    assert any_site.run(any_site.job("python3", "-c", code)).reason is EndReason.PROCESSES


def test_a_log_is_cut_at_its_limit_and_the_job_goes_on(any_site):
    text = "head -c 50m /dev/zero; echo done > $AYNI_ROOT/work/flag"
    job = any_site.job("sh", "-c", text, limits=replace(SOON, log=1000))
    status = any_site.run(job)
    assert [result.exit_code for result in status.results] == [0]
    assert (job.folder / "root" / "work" / "flag").read_text() == "done\n"
    log = (job.folder / "logs" / "0.stdout").read_bytes()
    assert log[:1000] == bytes(1000)
    assert b"the log is cut here" in log[1000:]
    assert len(log) < 1200


@pytest.mark.parametrize("size", [999, 1000])
def test_a_log_within_its_limit_is_whole(site, size):
    job = site.job("head", "-c", str(size), "/dev/zero", limits=replace(SOON, log=1000))
    site.run(job)
    assert (job.folder / "logs" / "0.stdout").read_bytes() == bytes(size)


def test_a_file_that_the_task_asked_for_is_whole_and_its_log_an_excerpt(any_site):
    job = any_site.job(
        "head", "-c", "100000", "/dev/zero", stdout="/out/x", limits=replace(SOON, log=1000)
    )
    any_site.run(job)
    assert (job.folder / "root" / "out" / "x").stat().st_size == 100000
    log = (job.folder / "logs" / "0.stdout").read_bytes()
    assert log[:1000] == bytes(1000)
    assert b"the whole is in /out/x" in log[1000:]


def test_the_log_can_be_read_while_the_job_runs(any_site):
    job = any_site.job("sh", "-c", "echo first; sleep 60")
    any_site.submit(job)
    log = job.folder / "logs" / "0.stdout"
    any_site.until(lambda: log.exists() and log.read_text() == "first\n")
    any_site.executor.cancel([job.id])
    any_site.wait(job)


def test_writing_to_dev_stdout_by_name_neither_fails_nor_truncates(any_site):
    job = any_site.job("sh", "-c", "echo a; echo b > /dev/stdout; echo c >> /dev/stdout")
    assert any_site.run(job).results[0].exit_code == 0
    assert any_site.out(job) == "a\nb\nc\n"


def test_the_default_limits_are_those_of_a_task(site):
    job = site.job("true", limits=Limits())
    assert (job.limits.cores, job.limits.memory, job.limits.walltime) == (1, 1 << 30, 3600)
    assert site.run(job).results[0].exit_code == 0


def test_a_pinned_job_sees_as_many_cores_as_it_asked_for(new_site):
    site = new_site(pin=True)
    job = site.job("nproc")
    site.run(job)
    assert site.out(job) == "1\n"
