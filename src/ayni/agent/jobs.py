"""From an assignment and its prepared folder to a job for the executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ayni.agent.config import Config
from ayni.agent.executors.base import Bind, Command, Job, Limits
from ayni.protocol import release
from ayni.protocol.messages import Assignment
from ayni.protocol.policy import Who
from ayni.tes.shape import Shape

SURE_DISK = (
    1 << 30
)  # bytes that a task keeps on a disk that is nearly full, if it asked for no more


def owner(who: Who) -> str:
    """The human behind a process, in one line for the site's operator."""
    return f"{who.project}: {who.name} <{who.email}>, {who.institution} ({who.member})"


def share(assignment: Assignment) -> str:
    """What tasks must have in common to share a batch job: project, volumes and data that they may read."""
    data = sorted(
        f"{use.name}:{use.release}:{use.release_limit}:{use.channel_limit}:{','.join(use.channels)}"
        f":{use.inner_network}"
        for use in assignment.datasets
    )
    volumes = sorted(f"volume:{mount['name']}" for mount in assignment.shape.get("volumes", ()))
    return " ".join((assignment.who.project, *data, *volumes))


def ignored_errors(assignment: Assignment) -> list[bool]:
    """For each command, whether its exit code counts for nothing (TES `ignore_error`)."""
    return [bool(executor.get("ignore_error")) for executor in assignment.task["executors"]]


def job_of(
    config: Config,
    assignment: Assignment,
    folder: Path,
    binds: Sequence[Bind] = (),
    rule: release.Rule = release.FREE,
    leases: Sequence[Path] = (),
) -> Job:
    """The job of an attempt that the site's policy has let in.

    Args:
        rule: what may leave it. Where that is bounded, its image gives it no network either.
        leases: of the volumes that it writes to.
    """
    task, shape = assignment.task, assignment.shape
    warned = not shape.keys().isdisjoint(("chain", "warning"))
    name = task["executors"][0]["image"]
    return Job(
        id=assignment.attempt,
        folder=folder,
        commands=tuple(_command(executor) for executor in task["executors"]),
        image=config.image_name(name),
        limits=Limits(
            cores=shape["cores"],
            memory=shape["memory"],
            walltime=shape["walltime"],
            processes=config.limits.processes,
            # Inputs may take what was asked for, and outputs again.
            disk=max(2 * shape["disk"], config.limits.work),
            sure_disk=max(2 * shape["disk"], SURE_DISK),
            grace=config.limits.grace,
            log=config.limits.log,
            warning=Shape.from_json(shape).warned if warned else None,
        ),
        binds=tuple(binds),
        leases=tuple(leases),
        network=shape["network"] or (rule.free and _networked(config, name)),
        partition=assignment.partition,
        gpus=shape["gpus"],
        nodes=shape["nodes"],
        tasks_per_node=shape["tasks_per_node"],
        project=assignment.who.project,
        owner=owner(assignment.who),
        share=share(assignment),
    )


def _networked(config: Config, name: str) -> bool:
    """Whether the operator gives an image's tasks the network: some TES clients cannot ask for it."""
    image = config.image(name)
    return config.policy.network and image is not None and image.network


def _command(executor: Mapping[str, Any]) -> Command:
    return Command(
        argv=tuple(executor["command"]),
        workdir=executor.get("workdir"),
        env=executor.get("env") or {},
        stdin=executor.get("stdin"),
        stdout=executor.get("stdout"),
        stderr=executor.get("stderr"),
        ignore_error=bool(executor.get("ignore_error")),
    )
