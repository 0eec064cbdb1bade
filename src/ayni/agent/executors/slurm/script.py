"""The text and the options of a batch job. Pure. Nothing that a user wrote stands in either."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ayni.agent.executors.slurm.pools import Batch, Key
from ayni.agent.supervisor import boot


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a project's batch jobs run; what is not given is as for every project."""

    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    user: str | None = None  # the site's own user who runs them; None: the agent's


@dataclass(frozen=True, slots=True)
class Rules:
    """What the site's operator adds to every batch job."""

    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    user: str | None = None
    projects: Mapping[str, Terms] = field(default_factory=dict)  # by name or pattern
    constraint: str | None = None
    options: tuple[str, ...] = ()
    python: str | None = None  # of the compute nodes; None: the agent's own
    mpi: str | None = None  # how srun tells ranks of each other; None: the cluster's default
    partition_options: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def terms(self, project: str) -> Terms:
        """A project's: those of its name, else of the first pattern that fits, else everybody's."""
        own = self.projects.get(project) or next(
            (terms for name, terms in self.projects.items() if fnmatchcase(project, name)), Terms()
        )
        return Terms(
            own.account or self.account,
            own.qos or self.qos,
            own.reservation or self.reservation,
            own.user or self.user,
        )

    @property
    def users(self) -> set[str]:
        """All of the site's own users for whom batch jobs run; none: they are the agent's."""
        named = {self.user, *(terms.user for terms in self.projects.values())}
        return {name for name in named if name is not None}


def text(state: str, pool: str, batch: Batch, key: Key, python: str | None = None) -> str:
    """The script: it becomes a pilot."""
    config = {
        "slots": batch.slots,
        "seconds": batch.walltime,
        "linger": batch.linger,
        "need": [key.cores, key.memory, key.gpus],
    }
    words = boot.command("pilot", state, pool, config)
    if python is not None:
        words[0] = python
    return f"#!/bin/sh\nexec {shlex.join(words)}\n"


def options(name: str, batch: Batch, key: Key, rules: Rules, log: str) -> list[str]:
    """sbatch's options.

    Args:
        name: the job's, by which it is found again.
        batch: its size.
        key: of its pool.
        rules: the operator's.
        log: where the pilot's own words go.
    """
    minutes = -(-batch.walltime // 60)
    mebibytes = -(-batch.memory // (1 << 20))
    found = [
        f"--job-name={name}",
        f"--partition={key.partition}",
        f"--nodes={key.nodes}",
        f"--ntasks-per-node={key.tasks_per_node}",
        f"--cpus-per-task={batch.cores // key.tasks_per_node}",
        f"--mem={mebibytes}M",
        f"--time={minutes}",
        "--no-requeue",
        # Of the few variables with which sbatch is run, not of the user's: with NONE the node runs a login
        # shell to find those, which takes longer than most of the start.
        "--export=ALL",
        "--chdir=/",
        f"--output={log}",
        "--open-mode=append",
        f"--comment={comment(key.owner)}",
    ]
    if batch.count > 1:
        found.append(f"--array=0-{batch.count - 1}")
    if batch.gpus:
        found.append(f"--gres=gpu:{batch.gpus}")
    terms = rules.terms(key.project)
    for option, value in (
        ("account", terms.account),
        ("qos", terms.qos),
        ("reservation", terms.reservation),
        ("constraint", rules.constraint),
    ):
        if value is not None:
            found.append(f"--{option}={value}")
    return [*found, *rules.options, *rules.partition_options.get(key.partition, ())]


def comment(owner: str) -> str:
    """The human behind a job, for squeue and sacct: printable, without what their tables split at."""
    return "".join(c if c.isprintable() and c not in "|'\"\\`" else " " for c in owner)[:200]
