"""A job's processes, as /proc shows them: what they use, and their end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

PAGE = os.sysconf("SC_PAGE_SIZE")
WARN_AGAIN = (
    0.5  # seconds, while nobody listens to a warning: a large program may still be starting
)
MARKER = "AYNI_ATTEMPT"  # in the environment of every process of a job
_GONE = (FileNotFoundError, ProcessLookupError)


class Sample(NamedTuple):
    """What a tree of processes uses now. Memory in bytes; `tasks` counts threads."""

    pids: tuple[int, ...]
    tasks: int
    memory: int


def children(pid: int, threads: int | None = None) -> list[int]:
    """The children of a process, of all of its threads; quicker if it is known to have but one."""
    base = f"/proc/{pid}/task"
    try:
        tasks = [str(pid)] if threads == 1 else os.listdir(base)
    except _GONE:
        return []
    found: list[int] = []
    for task in tasks:
        with contextlib.suppress(*_GONE), open(f"{base}/{task}/children", "rb") as file:
            found += map(int, file.read().split())
    return found


def tree(root: int, wrappers: int = 0) -> Sample:
    """The descendants of a process, without itself.

    Args:
        root: the process.
        wrappers: how many generations beneath it are a sandbox's own processes, not to be counted.
    """
    pids: list[int] = []
    tasks = memory = 0
    waiting = [(pid, 0) for pid in children(root)]
    while waiting:
        pid, depth = waiting.pop()
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except _GONE:
            continue
        threads = int(fields[17])
        waiting += [(child, depth + 1) for child in children(pid, threads)]
        if depth >= wrappers:
            pids.append(pid)
            tasks += threads
            memory += int(fields[21]) * PAGE
    return Sample(tuple(pids), tasks, memory)


def fair_memory(pids: Collection[int], shm: int) -> int:
    """The memory of some processes, each shared page counted once (the kernel's PSS), in bytes.

    It walks page tables, so it is asked only when the sum of resident memory is over the limit.

    Args:
        pids: the processes.
        shm: what their /dev/shm holds, mapped by them or not.
    """
    private = shared = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                lines = [line.split() for line in file.read().splitlines()[1:]]
        except (*_GONE, PermissionError):  # gone, or just starting
            continue
        sizes = {fields[0]: int(fields[1]) * 1024 for fields in lines}
        ours = sizes.get(b"Pss_Shmem:", 0)
        shared += ours
        private += sizes.get(b"Pss:", 0) - ours
    return private + max(shared, shm)


def send(pids: Collection[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def send_to_listeners(pids: Collection[int], number: int) -> int:
    """Signal those that listen for it: to the others, most signals are deadly. How many there were."""
    found = [pid for pid in pids if _listens(pid, number)]
    send(found, number)
    return len(found)


def _listens(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, or keeps it blocked to look for it.

    One whose main thread sits in sigwait is not seen: meanwhile the kernel shows nothing as blocked.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = (line.split(b":", 1) for line in file)
            masks = {name: value for name, value in lines if name in (b"SigCgt", b"SigBlk")}
    except _GONE:
        return False
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())


def stop_and_kill() -> bool:
    """Kill all descendants of this process, a subreaper; False if there were none.

    They are stopped first, so that nothing forks away while the rest is killed.
    """
    me = os.getpid()
    seen: set[int] = set()
    while new := set(tree(me).pids) - seen:
        send(new, signal.SIGSTOP)
        seen |= new
    send(seen, signal.SIGKILL)
    return bool(seen)


def kill_descendants(note: Callable[[resource.struct_rusage], None]) -> None:
    """Kill and bury all descendants of this process, a subreaper.

    Args:
        note: told what each child has used.
    """
    while stop_and_kill():
        _bury(1.0, note)
    _bury(0.0, note)


def _bury(seconds: float, note: Callable[[resource.struct_rusage], None]) -> None:
    """Wait for children as they end, until there are none or the time is over."""
    until = time.monotonic() + seconds
    pause = 0.0005
    while True:
        try:
            pid, _, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid != 0:
            note(used)
        else:
            if time.monotonic() >= until:
                return
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def marked() -> Iterator[tuple[int, str]]:
    """All processes of this machine that carry a job's marker, with the job's id."""
    key = f"{MARKER}=".encode()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except (*_GONE, PermissionError):
            continue
        for variable in variables:
            if variable.startswith(key):
                yield int(name), os.fsdecode(variable[len(key) :])


def kill_marked(ids: Collection[str]) -> bool:
    """Kill what carries the marker of these jobs; True if something was found."""
    found = [pid for pid, job in marked() if job in ids]
    send(found, signal.SIGKILL)
    return bool(found)
