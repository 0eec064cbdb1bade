"""A job's processes, as /proc shows them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from ayni.agent.supervisor import processes

CHAIN = (
    "import os,sys,time\n"
    "if os.fork() == 0:\n"
    "  x = bytearray(30 << 20)\n"
    "  if os.fork() == 0: print('up', flush=True)\n"
    "time.sleep(60)\n"
)


def run(code: str, **options: object) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    pids = (*processes.tree(child.pid).pids, child.pid)
    processes.send(pids, 9)
    child.communicate()


def test_a_tree_is_all_descendants_and_their_memory():
    child = run(CHAIN)
    sample = processes.tree(child.pid)
    end(child)
    assert len(sample.pids) == sample.tasks == 2
    assert child.pid not in sample.pids
    assert sample.memory > 60 << 20


def test_memory_that_is_shared_after_a_fork_counts_once():
    child = run(CHAIN)
    pids = processes.tree(child.pid).pids
    fair = processes.fair_memory(pids, 0)
    with_shm = processes.fair_memory(pids, 1 << 30)
    end(child)
    assert 30 << 20 < fair < 60 << 20
    assert (1 << 30) + (30 << 20) < with_shm < (1 << 30) + (60 << 20)


def test_wrappers_are_not_counted():
    child = run(CHAIN)
    sample, without = processes.tree(child.pid), processes.tree(child.pid, wrappers=1)
    end(child)
    assert len(without.pids) == len(sample.pids) - 1


def test_children_of_every_thread_are_found():
    code = (
        "import subprocess,threading,time\n"
        "def work():\n  subprocess.Popen(['sleep', '60'], stdout=-3)\n"
        "  print('up', flush=True); time.sleep(60)\n"
        "threading.Thread(target=work, daemon=True).start(); time.sleep(60)"
    )
    child = run(code)
    sample = processes.tree(child.pid)
    end(child)
    assert len(sample.pids) == 1


def test_a_process_that_is_gone_has_no_tree():
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.tree(child.pid).pids == ()
    assert processes.fair_memory([child.pid], 0) == 0
    processes.send([child.pid], 9)


def test_a_signal_reaches_those_that_listen_and_leaves_the_others_alive():
    ready = "print('up', flush=True); time.sleep(60)"
    heard = "signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))"
    kept = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])"
    looks = "print('up', flush=True)\nwhile not signal.sigpending(): time.sleep(0.01)\nos._exit(4)"
    first = "import os, signal, time; "
    listens, ignores, blocks = (
        run(f"{first}{how}; {what}")
        for how, what in ((heard, ready), ("pass", ready), (kept, looks))
    )
    processes.send_to_listeners([p.pid for p in (listens, ignores, blocks)], signal.SIGUSR1)
    assert listens.wait(60) == 3
    assert blocks.wait(60) == 4
    assert ignores.poll() is None
    for child in (listens, ignores, blocks):
        end(child)


def test_marked_processes_are_found_and_killed():
    job = f"test-{os.getpid()}"
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, processes.MARKER: job})
    assert (child.pid, job) in list(processes.marked())
    assert processes.kill_marked([job])
    assert child.wait() == -9
    assert not processes.kill_marked([job])
