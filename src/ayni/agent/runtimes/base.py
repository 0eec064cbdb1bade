"""The interface of a runtime, and the plan that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ayni.agent.executors.base import Bind, Command, Job

HOME = "/work"  # where a command starts, if the task does not say
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What an image's name means at this site."""

    runtime: str = "host"
    image: str | None = None  # a container's unpacked folder, file or name
    prefixes: tuple[Path, ...] = ()  # further folders of the host that its jobs may read
    path: tuple[str, ...] = ()  # goes before PATH
    env: Mapping[str, str] = field(default_factory=dict)


class PlanError(Exception):
    """This job cannot run with this image; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Mount:
    """What of the host is attached in the sandbox."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Namespaces around a command. Without a root they keep the host's files."""

    network: bool
    root: str | None = None
    mounts: tuple[Mount, ...] = ()
    folders: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    shm: int = 0  # bytes that /dev/shm may hold


@dataclass(frozen=True, slots=True)
class Start:
    """How to exec a command: seen from inside the sandbox, if there is one."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    arguments: str | None = None  # a file that the program reads as descriptor 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job is run."""

    starts: tuple[Start, ...]
    sandbox: Sandbox | None = None
    # Generations of processes, from the first, that are not the user's: they get no SIGTERM, or a
    # job would have no grace.
    wrappers: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that works here, or does not, with what to do about it."""

    name: str
    works: bool
    detail: str
    remedy: str = ""


class Runtime(Protocol):
    """One way to start commands."""

    name: str

    def plan(self, image: ImageSpec, job: Job) -> Plan:
        """How to run this job; makes what it needs in the job's folder.

        Raises:
            PlanError: it cannot be run with this image.
        """

    def findings(self) -> Sequence[Finding]:
        """Whether it works on this machine, tried for real."""


def environment(
    image: ImageSpec, job: Job, command: Command, *, root: str = "", home: str = HOME
) -> dict[str, str]:
    """A command's environment: nothing of the agent's own.

    Args:
        image: its `env` and `path` are added.
        job: whose command it is.
        command: its `env` goes before all but the marker of the attempt.
        root: what stands before an absolute path of the task; empty in a sandbox.
        home: the home folder.
    """
    path = ":".join((*image.path, image.env.get("PATH", DEFAULT_PATH)))
    return {
        "HOME": home,
        "LANG": "C.UTF-8",
        "LOGNAME": "ayni",
        "TMPDIR": f"{root}/tmp",  # noqa: S108  (the job's own)
        "USER": "ayni",
        **image.env,
        "PATH": path,
        **command.env,
        "AYNI_ROOT": root,
        "AYNI_ATTEMPT": job.id,
    }


def absolute(path: str, what: str) -> str:
    """A path of a task, checked: absolute, without `..`, normal.

    Raises:
        PlanError: it is not.
    """
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts:
        raise PlanError(f"{what} {path!r} must be an absolute path without '..'")
    return "/" + "/".join(pure.parts[1:])


def place(job: Job, path: str, what: str, *, write: bool) -> tuple[str, str, str]:
    """Where a path that the job sees is on the host.

    Returns:
        A folder that the job cannot replace, the path beneath it, and the path as the job names it.

    Raises:
        PlanError: there is no such place, or the job may not write there.
    """
    path = absolute(path, what)
    bind = _innermost(job.binds, path)
    if bind is None:
        return str(job.folder / "root"), path[1:], path
    if write and not bind.writable:
        raise PlanError(f"{what} {path!r} is in {bind.target!r}, which is read-only")
    rest = path[len(bind.target.rstrip("/")) + 1 :]
    if not rest:  # the bind is the file itself
        return str(bind.source.parent), bind.source.name, path
    return str(bind.source), rest, path


def _innermost(binds: Sequence[Bind], path: str) -> Bind | None:
    inside = [b for b in binds if PurePosixPath(path).is_relative_to(b.target)]
    return max(inside, key=lambda b: len(PurePosixPath(b.target).parts), default=None)


def plan_as_json(job: Job, plan: Plan, submitted: float) -> dict[str, Any]:
    """The job as the supervisor reads it."""
    sandbox = plan.sandbox
    return {
        "id": job.id,
        "folder": str(job.folder),
        "owner": job.owner,
        "submitted": submitted,
        "gpus": job.gpus,
        "wrappers": plan.wrappers,
        "leases": [str(lease) for lease in job.leases],
        "limits": {
            "cores": job.limits.cores,
            "memory": job.limits.memory,
            "walltime": job.limits.walltime,
            "processes": job.limits.processes,
            "disk": job.limits.disk,
            "sure_disk": job.limits.sure_disk,
            "grace": job.limits.grace,
            "log": job.limits.log,
            "warning": job.limits.warning,
        },
        "sandbox": None
        if sandbox is None
        else {
            "root": sandbox.root,
            "network": sandbox.network,
            "mounts": [
                {"source": m.source, "target": m.target, "writable": m.writable}
                for m in sandbox.mounts
            ],
            "folders": list(sandbox.folders),
            "devices": list(sandbox.devices),
            "shm": sandbox.shm,
        },
        "commands": [
            {
                "argv": start.argv,
                "env": dict(start.env),
                "cwd": start.cwd,
                "arguments": start.arguments,
                "stdin": command.stdin and place(job, command.stdin, "stdin", write=False),
                "stdout": command.stdout and place(job, command.stdout, "stdout", write=True),
                "stderr": command.stderr and place(job, command.stderr, "stderr", write=True),
                "ignore_error": command.ignore_error,
            }
            for start, command in zip(plan.starts, job.commands, strict=True)
        ],
    }
