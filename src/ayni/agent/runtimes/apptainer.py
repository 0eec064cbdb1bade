"""Containers by Apptainer, which most centres have.

Options: https://apptainer.org/docs/user/main/cli/apptainer_exec.html. What the job has at the top
of its folder is bound into the container; `--containall` keeps the rest of the host out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ayni.agent.executors.base import Job
from ayni.agent.runtimes import probe
from ayni.agent.runtimes.base import (
    HOME,
    Finding,
    ImageSpec,
    Plan,
    PlanError,
    Start,
    absolute,
    environment,
)
from ayni.agent.staging.beneath import Root


class ApptainerRuntime:
    """`apptainer exec`."""

    name = "apptainer"

    def __init__(self, program: str = "apptainer") -> None:
        self._program = program

    def plan(self, image: ImageSpec, job: Job) -> Plan:
        if not image.image:
            raise PlanError("this site's configuration names no image file for it")
        root = job.folder / "root"
        folders = [
            HOME if command.workdir is None else absolute(command.workdir, "workdir")
            for command in job.commands
        ]
        with Root(root) as beneath:
            for path in ("tmp", HOME, *folders):
                beneath.make_folders(path)
        starts = []
        for command, cwd in zip(job.commands, folders, strict=True):
            env = environment(image, job, command)
            if not image.path and "PATH" not in image.env and "PATH" not in command.env:
                del env["PATH"]  # the container's own
            # The prefix keeps apptainer itself, which runs outside, from taking them for its own.
            inside = {f"APPTAINERENV_{name}": value for name, value in env.items()}
            outside = {"PATH": os.defpath, "HOME": str(root / HOME[1:]), "AYNI_ATTEMPT": job.id}
            options = [*self._options(job), *self._binds(job, root), "--pwd", cwd]
            argv = (self._program, "--quiet", "exec", *options, image.image, *command.argv)
            starts.append(Start(argv, {**inside, **outside}, str(root)))
        return Plan(tuple(starts), wrappers=1)

    def _options(self, job: Job) -> Iterator[str]:
        yield from ("--containall", "--cleanenv", "--no-privs", "--no-init", "--writable-tmpfs")
        yield from ("--home", f"{job.folder / 'root' / HOME[1:]}:{HOME}")
        if not job.network:
            yield from ("--net", "--network", "none")
        if job.gpus:
            yield "--nv"

    def _binds(self, job: Job, root: Path) -> Iterator[str]:
        for entry in sorted(root.iterdir()):
            if entry.is_symlink() or entry.name == HOME[1:]:
                continue
            yield from ("--mount", _mount(entry, "/" + entry.name, writable=True))
        for bind in sorted(job.binds, key=lambda bind: bind.target):
            if not bind.source.exists():
                raise PlanError(f"{bind.target!r} is not there at this site")
            target = absolute(bind.target, "bind")
            yield from ("--mount", _mount(bind.source, target, writable=bind.writable))

    def findings(self) -> Sequence[Finding]:
        return [probe.program(self._program, "apptainer", ("--version",))]


def _mount(source: Path, target: str, *, writable: bool) -> str:
    """One bind, as `--mount` reads it: comma-separated.

    Raises:
        PlanError: a path has a character that would end the field.
    """
    for path in (str(source), target):
        if any(mark in path for mark in ',"\n'):
            raise PlanError(f"path {path!r} has a comma, a quote or a line break")
    return f"type=bind,source={source},destination={target}" + ("" if writable else ",ro")
