"""The pilot: what a batch job runs. It takes the tasks of one pool while there are some and time is left.

`STATE/pools/NAME/` holds an entry for each waiting task. Any number of pilots may look: a task is
claimed by one of them, for ever, so a batch job that was submitted twice does no harm. What the
pilot does is told in `STATE/events/JOB`, a line at a time: the agent reads it, and never has to ask
the scheduler about a task. All this is on the site's shared file system, and nothing else is needed:
a compute node may have no network.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from typing import Any

from ayni.agent.supervisor import files, libc, processes, sharing
from ayni.agent.supervisor.capacity import Capacity, Need, Share
from ayni.agent.supervisor.crew import Crew
from ayni.agent.supervisor.jobs import Waiting

_LOOK = 0.5  # seconds between two looks for tasks and cancels
_RESERVE = 5.0  # seconds of the batch job's time that no task may count on
POOLS, EVENTS, CANCELS, LOGS = "pools", "events", "cancels", "logs"


def job_key(env: dict[str, str]) -> str:
    """The batch job's name in squeue and sacct: `1234`, or `1234_5` in an array."""
    array, index = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else env["SLURM_JOB_ID"]


def job_gpus(env: dict[str, str]) -> list[int]:
    """The node's numbers of the batch job's GPUs, or, where only their count is told, any."""
    told = [int(number) for number in env.get("SLURM_JOB_GPUS", "").split(",") if number.isdigit()]
    return told or list(range(int(env.get("SLURM_GPUS_ON_NODE", "0"))))


class Pilot:
    """The loop of one batch job."""

    def __init__(self, state: str, pool: str, config: dict[str, Any], env: dict[str, str]) -> None:
        """Prepare.

        Args:
            state: the executor's state folder.
            pool: which pool to take tasks from.
            config: `slots`, `seconds` that the batch job may take, `linger` seconds to wait for
                more, and the `need` of one task: cores, memory, GPUs.
            env: what the scheduler says of the job.
        """
        self._state = state
        self._pool = os.path.join(state, POOLS, pool)
        self._key = job_key(env)
        self._restart = int(env.get("SLURM_RESTART_COUNT", "0"))
        self._node = env.get("SLURMD_NODENAME") or socket.gethostname()
        self._ends = time.time() + config["seconds"] - _RESERVE
        self._linger: float = config["linger"]
        self._need = Need(*config["need"])
        gpus = job_gpus(env)
        slots: int = config["slots"]
        total = Need(slots * self._need.cores, slots * self._need.memory, len(gpus))
        self._capacity = Capacity(total, [])
        self._capacity.gpus = gpus
        self._crew = Crew(state, None, lambda: None, lasting=False)
        self._running: dict[int, tuple[Waiting, Share]] = {}
        self._canceled: set[str] = set()
        self._closed = False  # takes no more tasks
        self._signaled = False
        self._freed = False  # a task has ended: look for another at once
        self._took = False  # a pilot that came in vain does not linger: its cores are others'
        self._idle_since = time.monotonic()
        path = os.path.join(state, EVENTS, self._key)
        self._earlier = path if self._restart else None
        self._events = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def run(self) -> None:
        """Take tasks until there are none, time is short, or the scheduler ends the job."""
        self._crew.listen_to_signals()
        self._settle_earlier()
        self._tell("pilot", self._node, self._restart)
        self._crew.freeze()
        looked = float("-inf")
        while True:
            now = time.monotonic()
            if now - looked >= _LOOK or self._freed:
                looked, self._freed = now, False
                self._cancel_some()
                self._take()
            if self._running:
                self._idle_since = time.monotonic()
            elif self._closed or not self._took or self._has_idled():
                break
            self._crew.workers.dismiss_idle()
            for fd, _ in self._crew.poller.poll(_LOOK * 1000 if self._running else 100):
                self._hear(fd)
            self._reap()
        self._tell("over")

    def _has_idled(self) -> bool:
        return time.monotonic() - self._idle_since >= self._linger

    def _hear(self, fd: int) -> None:
        if fd == self._crew.wakeup:
            if signal.SIGTERM in os.read(fd, 4096):
                self._end()
        elif (pid := self._crew.workers.heard(fd)) is not None:
            self._done(pid)

    def _end(self) -> None:
        """The scheduler wants the job to end: its tasks get SIGTERM and their grace."""
        self._closed = True
        if not self._signaled:
            self._signaled = True
            self._tell("signal", time.time())
        for pid, (job, _) in self._running.items():
            self._crew.workers.cancel(pid, job.id)

    # Tasks

    def _close(self) -> None:
        """Take no more, and say so: those that wait need another batch job, while some here run on."""
        self._closed = True
        self._tell("closed")

    def _take(self) -> None:
        """Start what there is room and time for, oldest first."""
        if self._closed:
            return
        for name in sorted(self._names(self._pool)):
            job_id = name.partition(".")[2]
            entry = os.path.join(self._pool, name)
            spec = files.read_json(files.job_file(self._state, job_id))
            if spec is None:
                continue  # given up meanwhile; the agent removes the entry
            limits = spec["limits"]
            if time.time() + limits["walltime"] + limits["grace"] > self._ends:
                self._close()  # those of one pool are alike
                return
            share = self._capacity.take(self._need)
            if share is None:
                return
            job = Waiting(job_id, spec["folder"], self._need)
            try:
                mine = files.claim(job.folder, f"{self._key}.{self._restart}")
            except OSError as error:
                print(f"{job_id} cannot be claimed: {error}", file=sys.stderr, flush=True)
                self._capacity.give_back(share)
                if not os.path.isdir(job.folder):
                    continue  # it alone is to blame
                self._close()  # a full disk, say: another node may do better
                return
            if not (mine and self._start(job, share)):
                self._capacity.give_back(share)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry)

    def _start(self, job: Waiting, share: Share) -> bool:
        self._took = True
        self._tell("started", job.id, time.time())
        try:
            pid = self._crew.workers.start(job, share)
        except OSError as error:
            self._decide(job, "ended", "start_failed", f"no supervisor could be started: {error}")
            return False
        self._running[pid] = (job, share)
        return True

    def _cancel_some(self) -> None:
        if not self._running:
            return
        asked = set(self._names(os.path.join(self._state, CANCELS)))
        for pid, (job, _) in self._running.items():
            if job.id in asked and job.id not in self._canceled:
                self._canceled.add(job.id)
                self._crew.workers.cancel(pid, job.id)

    # Ends

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._crew.workers.gone(pid)
            self._done(pid)

    def _done(self, pid: int) -> None:
        """A supervisor has no job any more: it ended it, or died."""
        found = self._running.pop(pid, None)
        if found is None:
            return
        job, share = found
        if not os.path.exists(os.path.join(job.folder, files.EXIT)):
            self._kill_orphans()
            self._decide(job, "lost", None, "its supervisor died, and nobody saw how it ended")
        else:
            self._tell("ended", job.id, time.time())
        self._canceled.discard(job.id)
        self._capacity.give_back(share)
        self._freed = True

    def _kill_orphans(self) -> None:
        """What a dead supervisor left is now ours: it goes before its task is called lost."""
        ours = self._crew.workers.pids()
        while orphans := [pid for pid in processes.children(os.getpid()) if pid not in ours]:
            for pid in orphans:
                processes.send((pid, *processes.tree(pid).pids), signal.SIGKILL)
            for pid in orphans:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _settle_earlier(self) -> None:
        """After a requeue: what this job's earlier run left unended is lost, and nobody else's."""
        if self._earlier is None:
            return
        with open(self._earlier, "rb") as file:
            events = files.lines(file.read())
        for job_id in {words[1] for words in events if words[0] == "started"}:
            spec = files.read_json(files.job_file(self._state, job_id))
            if spec is None or os.path.exists(os.path.join(spec["folder"], files.EXIT)):
                continue
            job = Waiting(job_id, spec["folder"], self._need)
            self._decide(job, "lost", None, "the scheduler put its batch job back into the queue")

    def _decide(self, job: Waiting, state: str, reason: str | None, message: str) -> None:
        """Write the exit file in the place of a supervisor."""
        try:
            files.write_exit(job.folder, files.decided(job.id, state, reason, message))
        except OSError as error:
            print(f"{job.id}: {message}; and that cannot be noted: {error}", file=sys.stderr)
        self._tell("ended", job.id, time.time())

    # Words

    def _tell(self, *words: object) -> None:
        line = json.dumps(words, separators=(",", ":")) + "\n"
        try:
            os.write(self._events, line.encode())
        except OSError as error:  # a full disk: the exit files and the scheduler still tell
            print(f"no event could be written: {error}", file=sys.stderr, flush=True)

    @staticmethod
    def _names(folder: str) -> list[str]:
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []


def main(state: str, pool: str, config: dict[str, Any]) -> None:
    """Be a batch job's pilot, in the place of its shell."""
    # What belongs to the agent is shared with us by our group, and what we make, with the agent.
    os.umask(0o077 if sharing.is_ours(state) else 0o007)
    libc.become_subreaper()
    os.chdir("/")
    Pilot(state, pool, config, dict(os.environ)).run()
