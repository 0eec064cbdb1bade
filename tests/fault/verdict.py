"""What must hold after a run, asked of the hub's database, its store and the process table.

Runs in the harness's own process with the hub stopped; Django is set up on the stage's state.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fault.punisher import processes, read


@dataclass(frozen=True)
class Evidence:
    """What the harness itself did and expects."""

    expected: dict[int, bytes]  # index → the output that the task must have written
    dead_payloads: set[str]  # attempts
    dead_supervisors: set[str]  # attempts; also of some whose payload had been killed just before
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
    broken += promises(tasks, evidence) + _leftovers(evidence.folder)
    return broken, ends


def promises(tasks, evidence) -> list[str]:  # type: ignore[no-untyped-def]
    """What is broken of what the hub's database must show when every task has ended."""
    checks: tuple[Callable[..., list[str]], ...] = (_attempts, _outputs, _blame)
    return [word for check in checks for word in check(tasks, evidence)]


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
    """Every complete task's output was committed once, by its accepted attempt, whole and right; no other
    task's ever was."""
    from ayni.hub.store.models import File
    from ayni.hub.tasks.life import TaskState

    commits = _commits()

    files = {
        f.path: f
        for f in File.objects.filter(path__startswith="out/").select_related("upload__attempt")
    }
    broken = []
    for task in tasks:
        path = f"out/{task.index}.txt"
        file = files.pop(path, None)
        accepted = [a.id for a in task.attempts.all() if a.state == "complete" and not a.superseded]
        if commits[path] != accepted:
            broken.append(f"task {task.index}: accepted {accepted}, committed {commits[path]}")
        if task.state == TaskState.COMPLETE:
            want = evidence.expected[task.index]
            if file is None:
                broken.append(f"task {task.index} is COMPLETE without its output")
            elif file.upload.sha256 != hashlib.sha256(want).hexdigest() or file.size != len(want):
                broken.append(f"task {task.index}: the output is not what it wrote")
            elif [file.upload.attempt_id] != accepted:
                broken.append(f"task {task.index}: the output is not of its accepted attempt")
        elif file is not None:
            broken.append(f"task {task.index} did not complete, and its output is there")
    return broken + [f"a file that no task owns: {path}" for path in files]


def _commits() -> defaultdict[str, list[int | None]]:
    """Which attempts' uploads a path was ever pointed at. One that was replaced is buried, not removed,
    and nothing else buries an upload within the length of a run."""
    from ayni.hub.store.models import Upload

    found = defaultdict(list)
    for path, attempt, dead, expires in Upload.objects.filter(path__startswith="out/").values_list(
        "path", "attempt", "dead", "expires"
    ):
        if dead or expires is None:
            found[path].append(attempt)
    return found


def _blame(tasks, evidence) -> list[str]:  # type: ignore[no-untyped-def]
    """A killed payload ends its task; a killed supervisor has it tried again; nothing else goes wrong.

    Of an attempt both of whose were killed nobody can know what its payload did: it counts as lost.
    """
    from ayni.hub.tasks import ids
    from ayni.hub.tasks.life import TaskState

    broken = []
    for task in tasks:
        attempts = {ids.show(a.id): a for a in task.attempts.all()}
        lost = attempts.keys() & evidence.dead_supervisors
        failed = (attempts.keys() & evidence.dead_payloads) - lost
        for name, state in [(n, "lost") for n in lost] + [(n, "executor_error") for n in failed]:
            if (found := attempts[name].state) != state:
                broken.append(f"task {task.index}: attempt {name} is {found}, not {state}")
        if failed and max(a.number for a in attempts.values()) > min(
            attempts[name].number for name in failed
        ):
            broken.append(f"task {task.index} was tried again after its payload was killed")
        if (task.state == TaskState.EXECUTOR_ERROR) != bool(failed):
            state = TaskState(task.state).name
            broken.append(f"task {task.index} is {state}; payloads killed: {sorted(failed)}")
        if task.state in (TaskState.SYSTEM_ERROR, TaskState.CANCELED):
            broken.append(f"task {task.index} is {TaskState(task.state).name}: {task.reason}")
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
