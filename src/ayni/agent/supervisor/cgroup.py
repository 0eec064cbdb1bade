"""Limits by cgroup v2, where the site delegates a subtree to the agent (systemd: `Delegate=yes`).

Plain functions over paths, so that they are tested on a copy of the tree. Interface: the kernel's
Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

_NEEDED = frozenset({"memory", "pids"})
_WANTED = ("memory", "pids", "cpu")
_LEAF = "ayni-agent"
_PERIOD = 100_000  # microseconds


def own_path(cgroup_file: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> str | None:
    """The folder of the cgroup that the agent was given; None where version 2 is not in use.

    The agent itself may be in the leaf that `prepare`, or systemd's `DelegateSubgroup`, made for it.
    """
    if not os.path.exists(os.path.join(mount, "cgroup.controllers")):
        return None
    with open(cgroup_file) as file:
        for line in file:
            if line.startswith("0::"):
                path = os.path.normpath(mount + "/" + line[3:].strip())
                return os.path.dirname(path) if os.path.basename(path) == _LEAF else path
    return None


def oom_kills(cgroup_file: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> int:
    """How many processes of our own cgroup, a batch job's say, the kernel has killed for memory."""
    found = 0
    with open(cgroup_file) as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):  # version 1
                return _count(f"{mount}/memory{path}", "memory.oom_control", "oom_kill")
            if not controllers:
                found = _count(mount + path, "memory.events", "oom_kill")
    return found


def missing(path: str | None) -> str:
    """Why the subtree cannot hold the jobs' limits; empty if it can."""
    if path is None:
        return "cgroup v2 is not in use"
    if not os.access(os.path.join(path, "cgroup.procs"), os.W_OK):
        return "the agent's cgroup is not delegated to it"
    lacking = _NEEDED - set(_read(path, "cgroup.controllers").split())
    return f"not delegated: {', '.join(sorted(lacking))}" if lacking else ""


def holds_cores(path: str | None) -> bool:
    """Whether the subtree can hold jobs to their cores; systemd does not always delegate that."""
    return not missing(path) and "cpu" in _read(path or "", "cgroup.controllers").split()


def prepare(path: str) -> None:
    """Make the subtree able to hold jobs: processes may only be in its leaves."""
    leaf = os.path.join(path, _LEAF)
    os.makedirs(leaf, exist_ok=True)
    for pid in _read(path, "cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            _write(leaf, "cgroup.procs", pid)
    available = set(_read(path, "cgroup.controllers").split())
    enable = " ".join(f"+{name}" for name in _WANTED if name in available)
    _write(path, "cgroup.subtree_control", enable)


class Group:
    """The cgroup of one job."""

    def __init__(self, parent: str, job_id: str) -> None:
        self.path = os.path.join(parent, f"ayni-{job_id}")

    def create(self, limits: dict[str, Any]) -> None:
        os.makedirs(self.path, exist_ok=True)
        _write(self.path, "memory.max", str(limits["memory"]))
        _write(self.path, "pids.max", str(limits["processes"]))
        for name, value in (
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("cpu.max", f"{limits['cores'] * _PERIOD} {_PERIOD}"),
        ):
            if os.path.exists(os.path.join(self.path, name)):
                _write(self.path, name, value)

    def add(self, pid: int) -> None:
        _write(self.path, "cgroup.procs", str(pid))

    def kill(self) -> None:
        """End all that is in it, at once (Linux 5.14)."""
        with contextlib.suppress(FileNotFoundError):
            _write(self.path, "cgroup.kill", "1")

    def peak_memory(self) -> int:
        return int(_read(self.path, "memory.peak") or 0)

    def cpu_seconds(self) -> float:
        return _count(self.path, "cpu.stat", "usage_usec") / 1e6

    def was_out_of_memory(self) -> bool:
        return _count(self.path, "memory.events", "oom_kill") > 0

    def was_out_of_processes(self) -> bool:
        return _count(self.path, "pids.events", "max") > 0

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


def _count(path: str, file: str, key: str) -> int:
    for line in _read(path, file).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _read(path: str, name: str) -> str:
    try:
        with open(os.path.join(path, name)) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write(path: str, name: str, value: str) -> None:
    with open(os.path.join(path, name), "w") as file:
        file.write(value)
