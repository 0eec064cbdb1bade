"""One job's life, from its claim to its exit file."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ayni.agent.supervisor import files, launch, namespaces, processes
from ayni.agent.supervisor.cgroup import Group, oom_kills
from ayni.agent.supervisor.disk import Room
from ayni.agent.supervisor.streams import Streams, UserError

if TYPE_CHECKING:
    from ayni.agent.supervisor.worker import Line

_FILL_RATE = 2e9  # bytes of memory that one core fills in a second: how far apart we may look
_WRITE_RATE = 1e9  # bytes that a job writes to a disk in a second, more or less
_SHORTEST_LOOK = 0.05
_LONGEST_LOOK = 1.0
_KILLED = 128 + signal.SIGKILL

EXITED, TIMEOUT, MEMORY, PROCESSES = "exited", "timeout", "memory", "processes"
DISK, CROWDED, CANCELED, START_FAILED = "disk", "crowded", "canceled", "start_failed"
FENCED = "fenced"
_ANOTHERS = "its volume is another attempt's now"
_LEASES = 10.0  # seconds between two looks whether the job's volumes are still its own


class Supervisor:
    """Runs the commands of a job in order, watches them, and says how they ended."""

    def __init__(self, spec: dict[str, Any], line: Line, wakeup: int, group: Group | None) -> None:
        """Prepare.

        Args:
            spec: the job, as `runtimes.plan` writes it.
            line: by which the spawner cancels the job.
            wakeup: a descriptor from which the numbers of signals that came can be read.
            group: the job's cgroup, where the site delegates one.
        """
        self._spec = spec
        self._limits: dict[str, Any] = spec["limits"]
        self._sandbox: dict[str, Any] | None = spec["sandbox"]
        self._line = line
        self._wakeup = wakeup
        self._group = group
        self._oom_kills = oom_kills()
        self._started = time.time()
        self._deadline = time.monotonic() + self._limits["walltime"]
        warning = self._limits.get("warning")
        self._warn_at = None if warning is None else self._deadline - warning
        self._leases: list[str] = spec.get("leases", [])
        self._next_lease = float("-inf")
        self._reason = EXITED
        self._message = ""
        self._kill_at: float | None = None
        self._cpu = 0.0
        self._peak = 0
        self._main = 0
        self._shm: int | None = None
        self._room = Room(spec["folder"], self._limits["disk"], self._limits["sure_disk"])
        self._interval = _SHORTEST_LOOK
        self._next_look = 0.0

    def run(self) -> dict[str, Any]:
        """Run all commands.

        Returns:
            What goes into the exit file.
        """
        results: list[dict[str, Any]] = []
        try:
            self._run_all(results)
        except (OSError, ValueError) as error:
            sys.excepthook(*sys.exc_info())
            self._reason, self._message = START_FAILED, f"the supervisor failed: {error}"
        processes.kill_descendants(self._note)
        return self._status(results)

    def _run_all(self, results: list[dict[str, Any]]) -> None:
        if self._sandbox is not None:
            namespaces.give_away(os.path.join(self._spec["folder"], "root"))
        for index, command in enumerate(self._spec["commands"]):
            if self._reason == EXITED and self._has_lost_a_lease():
                self._reason, self._message = FENCED, _ANOTHERS
            if self._reason != EXITED:
                break
            started = time.time()
            code = self._run(index, command)
            if self._reason != START_FAILED:
                results.append({"exit_code": code, "started": started, "ended": time.time()})
            if code != 0 and not command["ignore_error"]:
                break

    # One command

    def _run(self, index: int, command: dict[str, Any]) -> int:
        with Streams(self._spec, index, command) as streams:
            try:
                streams.open()
            except UserError as error:
                streams.fail(str(error))
                return 1
            self._main, control = launch.start(
                command, self._limits, self._sandbox, streams.descriptors(), self._join
            )
            with control:
                streams.opened_by_command()
                status = self._attend(streams, control)
            self._main = 0
            processes.kill_descendants(self._note)
            streams.drain()
            return launch.exit_code(status)

    def _join(self, pid: int) -> None:
        if self._group is not None:
            self._group.add(pid)

    def _attend(self, streams: Streams, control: socket.socket) -> int:
        """Wait for the command's end, minding its output, the clock and its limits.

        Returns:
            The wait status.
        """
        poller = select.poll()
        handlers: dict[int, Callable[[], bool]] = {
            self._wakeup: lambda: True,
            self._line.fileno(): self._heed,
            control.fileno(): lambda: self._hear(control),
            **streams.handlers(),
        }
        for fd in handlers:
            poller.register(fd, select.POLLIN)
        self._interval = _SHORTEST_LOOK
        self._next_look = time.monotonic() + self._interval
        while True:
            for fd, _ in poller.poll(self._pause()):
                if fd == self._wakeup:
                    if signal.SIGTERM in os.read(fd, 512):
                        self._end(CANCELED, "canceled")
                    status = self._reap()
                    if status is not None:
                        self._hear(control)
                        self._let_go_of_shm()
                        return status
                elif not handlers[fd]():
                    poller.unregister(fd)
            self._mind(time.monotonic())

    def _pause(self) -> float:
        """How long nothing needs to be looked at, in milliseconds."""
        until: float = min(self._next_look, self._warn_at or self._deadline, self._deadline)
        if self._kill_at is not None:
            until = min(until, self._kill_at)
        return max(0.0, (until - time.monotonic()) * 1000) + 1

    def _hear(self, control: socket.socket) -> bool:
        """Take in what the child says of the sandbox; False once it has said all."""
        while (said := launch.heard(control)) is not None:
            error, shm = said
            if error:
                self._reason, self._message = START_FAILED, error
            if shm is not None:
                self._shm = shm
            if not error and shm is None:
                return True
        return False

    def _heed(self) -> bool:
        """Take a message of the spawner; False once it is gone."""
        canceled = self._line.cancels(self._spec["id"])
        if canceled:
            self._end(CANCELED, "canceled")
        return canceled is not None

    def _let_go_of_shm(self) -> None:
        if self._shm is not None:
            os.close(self._shm)
            self._shm = None

    def _reap(self) -> int | None:
        """Bury who died; the command's wait status if it was among them."""
        found = None
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            self._note(used)
            if pid == self._main:
                found = status

    def _note(self, used: resource.struct_rusage) -> None:
        """Count what a process, with those that it buried, has used."""
        self._cpu += used.ru_utime + used.ru_stime
        self._peak = max(self._peak, used.ru_maxrss * 1024)

    # Limits

    def _mind(self, now: float) -> None:
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._kill()
                self._kill_at = now + 1.0
        elif now >= self._deadline:
            limit = self._limits["walltime"]
            self._end(TIMEOUT, f"it ran longer than its walltime of {limit} s")
        elif self._warn_at is not None and now >= self._warn_at:
            heard = processes.send_to_listeners(self._tree().pids, signal.SIGUSR1)
            self._warn_at = None if heard else now + processes.WARN_AGAIN
        if now >= self._next_lease and self._has_lost_a_lease():
            self._end(FENCED, _ANOTHERS, 0)
        if now >= self._next_look:
            self._look(now)

    def _has_lost_a_lease(self) -> bool:
        """Whether another has been given what the job writes to; what cannot be read tells nothing."""
        self._next_lease = time.monotonic() + _LEASES
        for path in self._leases:
            with contextlib.suppress(OSError):
                held = files.read_json(path)
                if isinstance(held, dict) and held.get("attempt") != self._spec["id"]:
                    return True
        return False

    def _look(self, now: float) -> None:
        sample = self._tree()
        limit = self._limits["memory"]
        shm = self._shm_used()
        memory = sample.memory + shm
        if memory > limit:
            memory = processes.fair_memory(sample.pids, shm)
        self._peak = max(self._peak, memory)
        tasks = sample.tasks
        if memory > limit:
            self._end(MEMORY, f"it used {_mib(memory)} of memory; its limit is {_mib(limit)}", 0)
        elif tasks > self._limits["processes"]:
            most = self._limits["processes"]
            self._end(PROCESSES, f"it had {tasks} processes and threads; its limit is {most}", 0)
        self._look_at_disk(sample.pids)
        headroom = max(0, limit - memory) / (_FILL_RATE * self._limits["cores"])
        headroom = min(headroom, self._room.headroom / _WRITE_RATE)
        self._interval = min(max(headroom, _SHORTEST_LOOK), self._interval * 2, _LONGEST_LOOK)
        self._next_look = now + self._interval

    def _look_at_disk(self, pids: tuple[int, ...]) -> None:
        over = self._room.over(pids)
        if over is None:
            return
        taken, limit = over
        if taken > self._limits["disk"]:
            self._end(DISK, f"its files take {_mib(taken)}; the limit is {_mib(limit)}", 0)
        else:
            self._end(
                CROWDED, f"the site's disk is nearly full, and its files take {_mib(taken)}", 0
            )

    def _tree(self) -> processes.Sample:
        return processes.tree(os.getpid(), self._spec["wrappers"])

    def _shm_used(self) -> int:
        if self._shm is None:
            return 0
        found = os.fstatvfs(self._shm)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    # Ends

    def _end(self, reason: str, message: str, grace: float | None = None) -> None:
        """End the job: SIGTERM, a grace, SIGKILL. The first reason stands."""
        if self._kill_at is not None:
            return
        if self._reason == EXITED:
            self._reason, self._message = reason, message
        grace = self._limits["grace"] if grace is None else grace
        self._kill_at = time.monotonic() + grace
        if grace == 0:
            self._kill()
        else:
            processes.send(self._tree().pids, signal.SIGTERM)

    def _kill(self) -> None:
        if self._group is not None:
            self._group.kill()
        if self._sandbox is not None:
            processes.send([self._main], signal.SIGKILL)
        processes.stop_and_kill()

    def _was_killed_for_memory(self, results: list[dict[str, Any]]) -> bool:
        """Whether the batch system, which holds us to what was asked for, was quicker than we."""
        killed = bool(results) and results[-1]["exit_code"] == _KILLED
        return killed and oom_kills() > self._oom_kills

    def _status(self, results: list[dict[str, Any]]) -> dict[str, Any]:
        cpu, peak = self._cpu, self._peak
        if self._group is not None:
            cpu = self._group.cpu_seconds() or cpu
            peak = self._group.peak_memory() or peak
            if self._reason == EXITED and self._group.was_out_of_memory():
                limit = _mib(self._limits["memory"])
                self._reason, self._message = MEMORY, f"it needed more than its {limit} of memory"
            self._group.remove()
        elif self._reason == EXITED and self._was_killed_for_memory(results):
            limit = _mib(self._limits["memory"])
            self._reason, self._message = MEMORY, f"it needed more than its {limit} of memory"
        ended = time.time()
        nodes = (self._spec.get("ranks") or {"nodes": 1})["nodes"]
        return {
            "id": self._spec["id"],
            "state": "ended",
            "reason": self._reason,
            "message": self._message,
            "started": self._started,
            "ended": ended,
            "results": results,
            "usage": {
                "wall": ended - self._started,
                "cpu": cpu,
                "peak_memory": peak,
                "cores": self._limits["cores"] * nodes,
                "nodes": nodes,
                "gpus": self._spec["gpus"],
                "queue_wait": max(0.0, self._started - self._spec["submitted"]),
            },
        }


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
