"""The spawner's jobs: which wait, which run under which supervisor, which have ended.

The files are the truth (see `files`); this is what a living spawner remembers of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, Protocol

from ayni.agent.supervisor import files, processes
from ayni.agent.supervisor.capacity import Capacity, Need, Share


class Waiting(NamedTuple):
    id: str
    folder: str
    need: Need


class Running(NamedTuple):
    job: Waiting
    process: files.Process
    share: Share
    started: float
    ours: bool  # a child of this spawner, not adopted from an earlier one


class Workers(Protocol):
    """The processes that supervise."""

    def start(self, job: Waiting, share: Share) -> int:
        """Let a process take a job: its process id.

        Raises:
            OSError: none could be forked just now.
        """

    def cancel(self, pid: int, job_id: str) -> None:
        """Let a process end its job."""

    def gone(self, pid: int) -> None:
        """A process has died; it may not have been one of them."""

    def pids(self) -> Collection[int]:
        """All of them."""


class Jobs:
    """Admits, starts, ends. Knows no socket."""

    def __init__(self, state: str, capacity: Capacity, workers: Workers) -> None:
        self._state = state
        self._capacity = capacity
        self._workers = workers
        self.waiting: deque[Waiting] = deque()
        self.running: dict[str, Running] = {}
        self.by_pid: dict[int, str] = {}
        self.ended: dict[str, dict[str, Any] | None] = {}  # None: the exit file says how
        self.losing: dict[str, Waiting] = {}  # the supervisor is dead; its orphans may not be yet
        self._changed: dict[str, None] = {}

    # What comes in

    def recover(self) -> None:
        """Take up what an earlier spawner left."""
        found = [self._load(name[:-5]) for name in os.listdir(os.path.join(self._state, "jobs"))]
        for _, job in sorted((item for item in found if item), key=lambda item: item[0]):
            self.add([job])

    def _load(self, job_id: str) -> tuple[float, Waiting] | None:
        spec = files.read_json(files.job_file(self._state, job_id))
        if spec is None or spec["id"] != job_id:
            return None
        limits = spec["limits"]
        need = Need(limits["cores"], limits["memory"], spec["gpus"])
        return spec["submitted"], Waiting(job_id, spec["folder"], need)

    def knows(self, job_id: str) -> bool:
        return job_id in self.running or job_id in self.ended or job_id in self.losing

    def add(self, jobs: Iterable[Waiting]) -> None:
        """Queue jobs; those that are known are left alone."""
        queued = {job.id for job in self.waiting}
        for job in jobs:
            if not self.knows(job.id) and job.id not in queued and not self._settle(job):
                self.waiting.append(job)
                queued.add(job.id)

    def _settle(self, job: Waiting) -> bool:
        """Take in what the files say of a job that has been claimed; False if it has not been."""
        if os.path.exists(os.path.join(job.folder, files.EXIT)):
            self._note_end(job.id, None)
            return True
        process = files.claimed_by(job.folder)
        if process is None:
            return False
        if files.is_alive(process):
            self._adopt(job, process)
        else:
            self.losing[job.id] = job
        return True

    def _adopt(self, job: Waiting, process: files.Process) -> None:
        share = self._capacity.hold(job.need, files.read_json(_gpu_file(job)) or [])
        self.running[job.id] = Running(job, process, share, time.time(), ours=False)
        self._changed[job.id] = None

    def start_waiting(self) -> None:
        """Start what there is room for, in order."""
        while self.waiting:
            job = self.waiting[0]
            share = self._capacity.take(job.need)
            if share is None:
                return
            self.waiting.popleft()
            if share.gpus:
                files.write_json(_gpu_file(job), share.gpus)
            try:
                pid = self._workers.start(job, share)
            except OSError:
                self._capacity.give_back(share)
                self.waiting.appendleft(job)
                raise
            process = files.Process(pid, 0, "")
            self.running[job.id] = Running(job, process, share, time.time(), ours=True)
            self.by_pid[pid] = job.id
            self._changed[job.id] = None

    # Ends

    def reap(self) -> None:
        """Bury dead children: supervisors that end, and orphans of those that died."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._workers.gone(pid)
            self.done(pid, killed=os.WIFSIGNALED(status))

    def done(self, pid: int, *, killed: bool = False) -> None:
        """A supervisor has no job any more: it ended it, or died."""
        job_id = self.by_pid.pop(pid, None)
        if job_id is not None:
            self._supervisor_gone(self.running.pop(job_id), killed)

    def look_at_adopted(self) -> None:
        for running in [item for item in self.running.values() if not item.ours]:
            if not files.is_alive(running.process):
                self._supervisor_gone(self.running.pop(running.job.id), killed=False)

    def _supervisor_gone(self, running: Running, killed: bool) -> None:
        self._capacity.give_back(running.share)
        if self._settle(running.job):
            return
        if killed:  # before it claimed the job: nothing was started
            self.waiting.appendleft(running.job)
        else:
            text = "the supervisor could not use the job's folder; see spawner.log"
            self._decide(running.job, "ended", "start_failed", text)

    def lose(self) -> None:
        """For jobs without a supervisor: kill what it left, and only then call them lost."""
        if not self.losing:
            return
        ours = self._workers.pids()
        orphans = [pid for pid in processes.children(os.getpid()) if pid not in ours]
        for pid in orphans:
            processes.send((pid, *processes.tree(pid).pids), signal.SIGKILL)
        if orphans or processes.kill_marked(self.losing):
            return
        for job in list(self.losing.values()):
            del self.losing[job.id]
            self._decide(job, "lost", None, "its supervisor died, and nobody saw how it ended")

    def cancel(self, ids: Collection[str]) -> None:
        for job_id in ids:
            running = self.running.get(job_id)
            if running is not None and running.ours:
                self._workers.cancel(running.process.pid, job_id)
            elif running is not None and files.is_alive(running.process):
                processes.send([running.process.pid], signal.SIGTERM)
            elif not self.knows(job_id) and (found := self._load(job_id)) is not None:
                self.add([found[1]])
        for job in [job for job in self.waiting if job.id in ids]:
            self.waiting.remove(job)
            self._decide(job, "ended", "canceled", "canceled before it started")

    def _decide(self, job: Waiting, state: str, reason: str | None, message: str) -> None:
        """Write the exit file in the place of a supervisor."""
        status = files.decided(job.id, state, reason, message)
        with contextlib.suppress(OSError):  # no folder, no room: then this memory must do
            files.write_exit(job.folder, status)
        self._note_end(job.id, status)

    def _note_end(self, job_id: str, status: dict[str, Any] | None) -> None:
        self.ended[job_id] = status
        self._changed[job_id] = None

    # What goes out

    def changes(self) -> dict[str, Any]:
        """What changed since this was last asked."""
        changed, self._changed = self._changed, {}
        return {
            "running": {
                job_id: self.running[job_id].started for job_id in changed if job_id in self.running
            },
            "ended": {job_id: self.ended[job_id] for job_id in changed if job_id in self.ended},
        }

    def forget(self, ids: Iterable[str]) -> None:
        for job_id in ids:
            if job_id in self.ended:
                del self.ended[job_id]
                self._changed.pop(job_id, None)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(files.job_file(self._state, job_id))

    def count(self) -> dict[str, Any]:
        return {
            "free_cores": max(0, self._capacity.cores),
            "free_memory": max(0, self._capacity.memory),
            "free_gpus": len(self._capacity.gpus),
            "waiting": len(self.waiting),
            "running": len(self.running) + len(self.losing),
        }


def _gpu_file(job: Waiting) -> str:
    return os.path.join(job.folder, "gpus.json")
