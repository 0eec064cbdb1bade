"""What must hold after a run, asked of the hub's database, its store and the process table.

Runs in the harness's own process with the hub stopped; Django is set up on the stage's state.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fault.punisher import processes, read


@dataclass(frozen=True)
class Evidence:
    """What the harness itself did and expects."""

    expected: dict[int, bytes]  # index → the output that the task must have written
    dead_payloads: set[str]
    dead_supervisors: set[str]
    folder: Path


def judge(evidence: Evidence) -> tuple[list[str], Counter[str]]:
    """Every broken promise in words (none: all is well), and how the tasks ended."""
    from ayni.hub.tasks.life import FINAL, TaskState
    from ayni.hub.tasks.models import Task

    tasks = list(Task.objects.filter(array__isnull=False).prefetch_related("attempts__usage"))
    ends = Counter(TaskState(t.state).name for t in tasks)
    broken = [f"{len(tasks)} tasks, not {len(evidence.expected)}"] * (
        len(tasks) != len(evidence.expected)
    )
    for task in tasks:
        if task.state not in FINAL:
            broken.append(f"task {task.index} is {TaskState(task.state).name}, not final")
    checks: tuple[Callable[..., list[str]], ...] = (_attempts, _outputs, _blame)
    for check in checks:
        broken += check(tasks, evidence)
    broken += _leftovers(evidence.folder)
    return broken, ends


def _attempts(tasks, evidence) -> list[str]:  # type: ignore[no-untyped-def]
    """At most one accepted attempt, none live, and every attempt that ran booked exactly once."""
    broken = []
    for task in tasks:
        attempts = list(task.attempts.all())
        complete = [a for a in attempts if a.state == "complete" and not a.superseded]
        if len(complete) > 1:
            broken.append(f"task {task.index} has {len(complete)} accepted attempts")
        if live := [a.number for a in attempts if a.live]:
            broken.append(f"task {task.index} has live attempts {live}")
        for a in attempts:
            if a.state in ("complete", "executor_error") and not hasattr(a, "usage"):
                broken.append(f"task {task.index} attempt {a.number} ({a.state}) was never booked")
    return broken


def _outputs(tasks, evidence) -> list[str]:  # type: ignore[no-untyped-def]
    """Every complete task's output is there once, whole and right; no other task has one."""
    from ayni.hub.store.models import File
    from ayni.hub.tasks.life import TaskState

    files = {
        f.path: f
        for f in File.objects.filter(path__startswith="out/").select_related("upload__attempt")
    }
    broken = []
    for task in tasks:
        file = files.pop(f"out/{task.index}.txt", None)
        if task.state == TaskState.COMPLETE:
            want = evidence.expected[task.index]
            if file is None:
                broken.append(f"task {task.index} is COMPLETE without its output")
            elif file.upload.sha256 != hashlib.sha256(want).hexdigest() or file.size != len(want):
                broken.append(f"task {task.index}: the output is not what it wrote")
            elif file.upload.attempt is None or file.upload.attempt.task_id != task.id:
                broken.append(f"task {task.index}: the output was written by another task")
        elif file is not None:
            broken.append(f"task {task.index} did not complete, and its output is there")
    return broken + [f"a file that no task owns: {path}" for path in files]


def _blame(tasks, evidence) -> list[str]:  # type: ignore[no-untyped-def]
    """A task fails only if its payload was killed; a killed supervisor is tried again."""
    from ayni.hub.tasks import ids
    from ayni.hub.tasks.life import TaskState

    broken = []
    for task in tasks:
        attempts = {ids.show(a.id): a for a in task.attempts.all()}
        if task.state == TaskState.EXECUTOR_ERROR and not attempts.keys() & evidence.dead_payloads:
            broken.append(f"task {task.index} is EXECUTOR_ERROR, and nobody killed its payload")
        if task.state in (TaskState.SYSTEM_ERROR, TaskState.CANCELED):
            broken.append(f"task {task.index} is {TaskState(task.state).name}: {task.reason}")
        for name in attempts.keys() & evidence.dead_supervisors:
            if attempts[name].state in ("running", "pending"):
                broken.append(f"task {task.index}: nobody noticed that a supervisor died")
    return broken


def _leftovers(folder: Path) -> list[str]:
    """No process of the stage is left: none names its folder, works in it, or carries its mark."""
    needle = os.fsencode(str(folder))
    broken = []
    for pid in processes():
        if pid == os.getpid():
            continue
        try:
            cwd = os.fsencode(str(Path(f"/proc/{pid}/cwd").readlink()))
        except OSError:
            cwd = b""
        if needle in read(pid, "cmdline") + read(pid, "environ") + cwd:
            broken.append(f"process {pid} was left behind: {read(pid, 'cmdline')[:200]!r}")
    return broken
