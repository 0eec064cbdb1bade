"""A Slurm of our own: its queue is kept here, its batch jobs are processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.executors.slurm import health, parse
from ayni.agent.executors.slurm.tool import Full, Refused
from ayni.agent.supervisor import processes

GIB = 1 << 30


@dataclass
class BatchJob:
    id: str
    name: str
    script: str
    cores: int
    state: str = "PENDING"
    expected: int | None = None  # its start, while it waits
    reason: str = "None"
    restarts: int = 0
    submitted: int = field(default_factory=lambda: int(time.time()))
    process: subprocess.Popen[bytes] | None = None


class SimulatedSlurm:
    """The methods of `tool.Slurm`.

    Attributes:
        down: commands that do not answer.
        munge_down: whether no command can authenticate.
        refuses: what sbatch says to every submission; nothing for taking it.
        refuses_options: what it says to those with an option.
        most_jobs: how many may be in the queue.
        holds: whether jobs wait until they are started by hand.
        used_cores: on each node, by others.
        forgets: whether the accounting has never heard of anything.
        walls: MaxWall of each QOS, in seconds; None for no limit.
        associations_of: by user, what the accounting has of it.
        test_starts: what is said of a job that is not submitted: seconds from now; None for nothing.
        submissions, withdrawn, tests: for tests that count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.queue: dict[str, BatchJob] = {}
        self.over: dict[str, str] = {}  # lines of sacct, all runs of a job
        self.down: set[str] = set()
        self.munge_down = False
        self.reserved: list[parse.Reservation] = []
        self.refuses = ""
        self.refuses_options: dict[str, str] = {}
        self.most_jobs = 1000
        self.holds = False
        self.forgets = False
        self.used_cores = 0
        self.submissions: list[list[str]] = []
        self.withdrawn: list[str] = []
        self.test_starts: float | None = 0.0
        self.tests: list[list[str]] = []
        self.users: set[str] = set()
        self.walls: dict[str, int | None] = {}
        self.associations_of: dict[str, list[parse.Association]] = {}
        self.calls = 0
        self._next = 1000
        self.health = health.Health()

    # --- the commands

    def sbatch(self, script: str, options: Sequence[str]) -> str:
        self._call("sbatch")
        given = dict(option.lstrip("-").split("=", 1) for option in options if "=" in option)
        count = int(given["array"].partition("-")[2]) + 1 if "array" in given else 1
        self.submissions.append(list(options))
        said = [self.refuses, *(self.refuses_options.get(option, "") for option in options)]
        if any(said):
            raise Refused("; ".join(filter(None, said)))
        most = self.walls.get(given.get("qos", ""))
        if most is not None and 60 * int(given["time"]) > most:
            raise Refused("QOSMaxWallDurationPerJobLimit")
        if len(self.queue) + count > self.most_jobs:
            raise Full("QOSMaxSubmitJobPerUserLimit")
        self._next += 1
        number = str(self._next)
        for job in [f"{number}_{n}" for n in range(count)] if count > 1 else [number]:
            self.queue[job] = BatchJob(job, given["job-name"], script, int(given["cpus-per-task"]))
        if not self.holds:
            self.start()
        if "sbatch answers" in self.down:  # too late for who asked
            raise ExecutorUnavailable("sbatch: Socket timed out on send/recv operation")
        return number

    def test_only(self, options: Sequence[str]) -> float | None:
        self._call("sbatch")
        self.tests.append(list(options))
        if self.refuses:
            raise Refused(self.refuses)
        return None if self.test_starts is None else time.time() + self.test_starts

    def squeue(self, user: str) -> list[parse.Queued]:
        self._call("squeue")
        self.users.add(user)
        self.bury()
        lines = (
            f"{j.id}|{j.state}|{j.reason}|{j.name}|main|{j.cores}|n1|{j.expected or 'N/A'}|{j.submitted}"
            for j in self.queue.values()
        )
        return parse.squeue("\n".join(lines))

    def sacct(self, ids: Collection[str]) -> dict[str, parse.Account]:
        self._call("sacct")
        found = parse.sacct("".join(self.over.values()))
        return {} if self.forgets else {job: found[job] for job in ids if job in found}

    def accounts(self, user: str, begin: float, end: float) -> list[parse.Account]:
        self._call("sacct")
        found = parse.sacct("".join(self.over.values()))
        return [] if self.forgets else [run for job in found.values() for run in job.runs]

    def scancel(self, ids: Collection[str], *, waiting_only: bool = False) -> None:
        self._call("scancel")
        for job in ids:
            if job in self.queue and self.queue[job].state == "PENDING":
                self.withdrawn.append(job)
                self._end(job, "CANCELLED by 1000")
            elif not waiting_only:
                self.end(job, "CANCELLED by 1000")

    def ask_accounting(self) -> None:
        self._call("sacctmgr")

    def qos(self) -> dict[str, parse.Qos]:
        self._call("sacctmgr")
        return {name: parse.Qos(frozenset(), wall) for name, wall in self.walls.items()}

    def associations(self, user: str, cluster: str | None = None) -> list[parse.Association]:
        self._call("sacctmgr")
        assert cluster in (None, "simulated")
        return self.associations_of.get(user, [])

    def nodes(self) -> list[parse.Node]:
        self._call("scontrol")
        idle = frozenset({"IDLE"})
        return [
            parse.Node(f"n{n}", ("main",), idle, 4, 8 * GIB, 0, self.used_cores, 0, 0)
            for n in range(1, 4)
        ]

    def partitions(self) -> list[parse.Partition]:
        self._call("scontrol")
        return [parse.Partition("main", up=True, max_walltime=7200, default=True)]

    def reservations(self) -> list[parse.Reservation]:
        self._call("scontrol")
        return self.reserved

    def config(self) -> dict[str, str]:
        self._call("scontrol")
        return {
            "ClusterName": "simulated",
            "AccountingStorageEnforce": "associations,limits,qos",
            "MaxArraySize": "101",
            "MaxJobCount": "10000",
        }

    def _call(self, name: str) -> None:
        self.calls += 1
        said = "Munge encode failed" if self.munge_down else health.DEAF
        found = health.fault(name, said) if self.munge_down or name in self.down else None
        self.health.told(name, found)
        if found is not None:
            raise ExecutorUnavailable(f"{name}: {said}", found)

    # --- what happens at the site

    def start(self) -> None:
        """All jobs that wait start."""
        for job in [job for job in self.queue.values() if job.state == "PENDING"]:
            path = self._folder / f"{job.id}.sh"
            path.write_text(job.script)
            array, _, index = job.id.partition("_")
            env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": job.id.replace("_", "0")}
            env |= {"SLURMD_NODENAME": "n1"}
            env |= {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index} if index else {}
            env |= {"SLURM_RESTART_COUNT": str(job.restarts)} if job.restarts else {}
            log = (self._folder / f"{job.id}.log").open("ab")
            with log:
                job.process = subprocess.Popen(
                    ["sh", path], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            job.state, job.reason = "RUNNING", "None"

    def bury(self) -> None:
        """Jobs whose process has ended leave the queue."""
        for job in list(self.queue.values()):
            if job.process is not None and (code := job.process.poll()) is not None:
                self._end(job.id, "COMPLETED" if code == 0 else "FAILED", code)

    def end(self, job: str, state: str) -> None:
        """The scheduler ends a job: SIGTERM; what is left after that is killed."""
        process = self.queue[job].process
        if process is not None:
            process.terminate()
            try:
                process.wait(60)
            finally:
                self._kill(process)
        self._end(job, state)

    def crash(self, job: str, state: str) -> None:
        """All of a job is gone at once."""
        process = self.queue[job].process
        assert process is not None
        self._kill(process)
        self._end(job, state)

    def requeue(self, job: str) -> None:
        """A job is ended and waits for its next run."""
        found = self.queue[job]
        self.end(job, "REQUEUED")
        self.queue[job] = found
        found.state, found.reason, found.process = "PENDING", "BeginTime", None
        found.restarts += 1
        found.submitted += 1

    def close(self) -> None:
        for job in self.queue.values():
            if job.process is not None:
                self._kill(job.process)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        pids = processes.tree(process.pid).pids
        processes.send([process.pid, *pids], signal.SIGKILL)
        process.wait()

    def _end(self, job: str, state: str, code: int = 0) -> None:
        found = self.queue.pop(job)
        now = int(time.time())
        row = {
            "JobID": job,
            "JobName": found.name,
            "State": state,
            "ExitCode": f"{max(0, code)}:0",
            "Submit": str(found.submitted),
            "Start": str(found.submitted),
            "End": str(now),
            "ElapsedRaw": str(now - found.submitted),
            "AllocCPUS": str(found.cores),
            "AllocNodes": "1",
            "AllocTRES": f"cpu={found.cores},mem=1G,node=1",
        }
        line = "|".join(row.get(name, "") for name in parse.SACCT)
        self.over[job] = self.over.get(job, "") + line + "\n"
