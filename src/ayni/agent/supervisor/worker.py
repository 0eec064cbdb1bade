"""The forked process: a supervisor for one job, and, while jobs wait, for the next one after it.

Taking another job spares a fork and its copied pages, a fifth of what a short job costs. There is
never more than one job to a process, and a process whose job did not end well takes no other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import Any

from ayni.agent.supervisor import files, helper, ranks, sharing
from ayni.agent.supervisor.cgroup import Group
from ayni.agent.supervisor.supervise import EXITED, Supervisor

_MOST_JOBS = 32  # then a fresh process, whatever this one has gathered
_MESSAGE = 1 << 16
_DOUBT = 0.3  # seconds
SIGNALS = (signal.SIGTERM, signal.SIGCHLD)


class Line:
    """The worker's end of its line to the spawner, which may be gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def next_job(self) -> dict[str, Any] | None:
        """Say that a job has ended, and wait for another; None if there is none."""
        with contextlib.suppress(OSError):
            self._connection.send(b"done")
            while data := self._connection.recv(_MESSAGE):
                message: dict[str, Any] = json.loads(data)
                if "run" in message:  # else it cancels the job that just ended
                    return message
        return None

    def cancels(self, job_id: str) -> bool | None:
        """Read a message that is there: whether it cancels this job; None if there will be none."""
        try:
            data = self._connection.recv(_MESSAGE)
        except OSError:
            return None
        return json.loads(data).get("cancel") == job_id if data else None


def order(job_id: str, cpus: list[int], gpus: list[int]) -> dict[str, Any]:
    """What a worker is told: to run a job on these cores (none: any) and GPUs."""
    return {"run": job_id, "cpus": cpus, "gpus": gpus}


def work(
    state: str, first: dict[str, Any], line: Line, cgroup: str | None, *, lasting: bool = True
) -> None:
    """Run a job, and others while there are some.

    Args:
        state: the executor's state folder.
        first: the first order.
        line: by which the next ones come.
        cgroup: in which the jobs' own groups are made; None for none.
        lasting: whether the jobs must be claimed (a job that somebody else has is passed over), and
            this process outlives whoever forked it.

    Raises:
        OSError: a job's folder cannot be used; nothing of it was started.
    """
    wakeup = _listen_to_signals()
    all_cpus = os.sched_getaffinity(0)
    message: dict[str, Any] | None = first
    done = 0
    while message is not None:
        with contextlib.suppress(OSError):  # a core that went offline: run anywhere
            os.sched_setaffinity(0, message["cpus"] or all_cpus)
        _supervise(state, message, line, wakeup, cgroup, lasting=lasting)
        done += 1
        message = line.next_job() if done < _MOST_JOBS else None


def _supervise(
    state: str,
    message: dict[str, Any],
    line: Line,
    wakeup: int,
    cgroup: str | None,
    *,
    lasting: bool,
) -> None:
    job_id = message["run"]
    spec = files.read_json(files.job_file(state, job_id))
    if spec is None:
        raise OSError(f"no such job in {state}: {job_id}")
    if lasting and not files.claim(spec["folder"]):
        return
    _give_gpus(spec, message["gpus"])
    spec = ranks.spread(state, spec, os.environ)
    group = None
    if cgroup is not None:
        group = Group(cgroup, job_id)
        group.create(spec["limits"])
    status = Supervisor(spec, line, wakeup, group).run()
    ranks.blame(spec, status)
    if not sharing.is_ours(spec["folder"]):
        helper.open_up(spec["folder"])
        for lease in spec.get("leases", ()):  # and the volumes that it wrote to: they are measured
            helper.open_up(os.path.dirname(lease))
    if not lasting and _was_killed(status):
        time.sleep(_DOUBT)  # whoever kills a whole batch job is about to kill this process, too
    files.write_exit(spec["folder"], status)


def _was_killed(status: dict[str, Any]) -> bool:
    codes = [result["exit_code"] for result in status["results"]]
    return status["reason"] == EXITED and codes[-1:] == [128 + signal.SIGKILL]


def _listen_to_signals() -> int:
    """Let signals come as bytes on a descriptor."""
    source, target = os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(target, False)
    signal.set_wakeup_fd(target, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return source


def _give_gpus(spec: dict[str, Any], gpus: list[int]) -> None:
    if not gpus:
        return
    sandbox = spec["sandbox"]
    if sandbox is not None and sandbox["root"] is not None:
        shared = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
        names = [*(f"nvidia{number}" for number in gpus), *shared]
        sandbox["devices"] += [f"/dev/{name}" for name in names if os.path.exists(f"/dev/{name}")]
        return
    for command in spec["commands"]:
        command["env"]["CUDA_VISIBLE_DEVICES"] = ",".join(map(_visible, gpus))


def _visible(gpu: int) -> str:
    """A GPU's name to CUDA: within a batch job whose devices are confined, not its number on the node."""
    numbers = os.environ.get("SLURM_JOB_GPUS", "").split(",")
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    known = dict(zip(numbers, names, strict=False)) if len(numbers) == len(names) else {}
    return known.get(str(gpu)) or str(gpu)
