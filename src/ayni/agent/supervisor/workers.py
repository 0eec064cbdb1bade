"""The spawner's end of its workers: which there are, which is free, and what they are told."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Callable, Collection
from typing import Any

from ayni.agent.supervisor import worker
from ayni.agent.supervisor.capacity import Share
from ayni.agent.supervisor.jobs import Waiting

Fork = Callable[[Waiting, Share], tuple[int, socket.socket]]


class Workers:
    """Forks a worker for a job, or gives the job to one that has just ended another."""

    def __init__(self, fork: Fork, poller: select.poll) -> None:
        self._fork = fork
        self._poller = poller
        self._lines: dict[int, socket.socket] = {}  # by process id
        self._pids: dict[int, int] = {}  # by descriptor
        self._idle: list[int] = []
        self._living: set[int] = set()  # those that were dismissed too, until they are buried

    def start(self, job: Waiting, share: Share) -> int:
        order = worker.order(job.id, share.cpus, share.gpus)
        while self._idle:
            pid = self._idle.pop()
            if self._tell(pid, order):
                return pid
            self._hang_up(pid)
        pid, line = self._fork(job, share)
        line.setblocking(False)
        self._lines[pid] = line
        self._pids[line.fileno()] = pid
        self._living.add(pid)
        self._poller.register(line.fileno(), select.POLLIN)
        return pid

    def cancel(self, pid: int, job_id: str) -> None:
        self._tell(pid, {"cancel": job_id})

    def heard(self, fd: int) -> int | None:
        """A worker's line can be read: its process id, if it says that its job has ended."""
        pid = self._pids.get(fd)
        if pid is None:
            return None
        with contextlib.suppress(OSError):
            if self._lines[pid].recv(16):
                self._idle.append(pid)
                return pid
        self._hang_up(pid)
        return None

    def dismiss_idle(self) -> None:
        """There is no more to do: let those go that have no job."""
        while self._idle:
            self._hang_up(self._idle.pop())

    def gone(self, pid: int) -> None:
        self._hang_up(pid)
        self._living.discard(pid)
        if pid in self._idle:
            self._idle.remove(pid)

    def pids(self) -> Collection[int]:
        return self._living

    def close(self) -> None:
        """In a new worker: the others' lines are not its own."""
        for line in self._lines.values():
            line.close()

    def _tell(self, pid: int, message: dict[str, Any]) -> bool:
        try:
            self._lines[pid].send(json.dumps(message).encode())
        except (OSError, KeyError):
            return False
        return True

    def _hang_up(self, pid: int) -> None:
        line = self._lines.pop(pid, None)
        if line is not None:
            del self._pids[line.fileno()]
            self._poller.unregister(line.fileno())
            line.close()
