"""No sandbox: for machines that forbid it, if the operator accepts that.

A command runs as the agent's own user and sees the host. The paths of the task that the agent
handles (workdir, stdin, stdout, stderr) are beneath the job's folder; those in its arguments are
not changed, so that a task that is to run anywhere says "$AYNI_ROOT/data/x".
"""

from __future__ import annotations

from collections.abc import Sequence

from ayni.agent.executors.base import Job
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


class BareRuntime:
    """Plain processes."""

    name = "host"

    def plan(self, image: ImageSpec, job: Job) -> Plan:
        root = str(job.folder / "root")
        with Root(job.folder / "root") as inside:
            for folder in ("tmp", HOME):
                inside.make_folders(folder)
            self._link_binds(job, inside)
        starts = tuple(
            Start(
                command.argv,
                environment(image, job, command, root=root, home=root + HOME),
                root + (HOME if command.workdir is None else absolute(command.workdir, "workdir")),
            )
            for command in job.commands
        )
        return Plan(starts)

    def _link_binds(self, job: Job, inside: Root) -> None:
        """What a sandbox would mount is a link here."""
        for bind in job.binds:
            if not bind.source.exists():
                raise PlanError(f"{bind.target!r} is not there at this site")
            inside.link(absolute(bind.target, "bind"), str(bind.source))

    def findings(self) -> Sequence[Finding]:
        return [
            Finding(
                "sandbox",
                works=False,
                detail="jobs run as the agent's user, see the host's files and have its network",
                remedy="allow user namespaces or install bubblewrap, and remove allow_unsandboxed",
            )
        ]
