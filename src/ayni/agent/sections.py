"""Sections of the agent's TOML: what all have in common, and Slurm's. See `config`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ayni.agent.executors.slurm.script import Rules, Terms
from ayni.agent.units import Duration, Size
from ayni.protocol.messages import VolumesOffer
from ayni.protocol.policy import quota_of

LocalName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]


class Section(BaseModel):
    """Unknown keys are refused: a misspelt limit must not be no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSection(Section):
    """On what terms one project's batch jobs run; what is not given is as for every project."""

    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    user: LocalName | None = None  # the site's own user who runs them


class SlurmSection(Section):
    """How the agent uses Slurm; everything that it adds to a batch job is the operator's."""

    # Beneath it are the work folders, the cache and the executor's files: on the file system that
    # login and compute nodes share.
    shared: Path
    conf: Path | None = None  # slurm.conf, where it is not the machine's own
    bin: Path | None = None  # the folder of sbatch and the others, where PATH does not find them
    python: Path | None = None  # of the compute nodes, where it is not the agent's own
    mpi: str | None = None  # srun's --mpi for tasks of several ranks, where the default is wrong
    partitions: list[str] | None = None  # that the network may use; by default all
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    user: LocalName | None = None  # the site's own user who runs them; None: the agent's
    projects: dict[str, ProjectSection] = {}  # by name or pattern
    helper: Path = Path("/opt/ayni/bin/ayni-helper")  # that sudo starts as those users
    constraint: str | None = None
    options: list[str] = []

    @property
    def rules(self) -> Rules:
        """What goes into each batch job."""
        return Rules(
            account=self.account,
            qos=self.qos,
            reservation=self.reservation,
            user=self.user,
            projects={name: Terms(**terms.model_dump()) for name, terms in self.projects.items()},
            constraint=self.constraint,
            options=tuple(self.options),
            python=None if self.python is None else str(self.python),
            mpi=self.mpi,
        )

    @field_validator("options")
    @classmethod
    def _options(cls, options: list[str]) -> list[str]:
        for option in options:
            name = option.partition("=")[0]
            if not re.fullmatch(r"--[a-z][a-z-]*", name):
                raise ValueError(f"{option[:80]!r} is no option of sbatch; write --name=value")
            if name in _OURS:
                raise ValueError(f"{name} is the agent's own to set")
        return options


class VolumesSection(Section):
    """Room of projects that outlives their tasks. It lies beside the work folders."""

    quota: Size = 20 << 30  # bytes of one project; 0: none is given
    projects: dict[str, Size] = {}  # the same of particular ones, by name or pattern
    retention: Duration = 90 * 86400  # seconds after its last use until a volume goes
    over: Literal["tell", "end"] = "tell"  # what tasks that write get once their project holds more

    def quota_of(self, project: str) -> int:
        """What a project may hold."""
        return quota_of(self.quota, self.projects, project)

    def offer(self, **held: Any) -> VolumesOffer:
        """What the hub is told of it, with what is held."""
        return VolumesOffer(
            quota=self.quota, projects=dict(self.projects), retention=self.retention, **held
        )


#: sbatch's options that follow from the task and the agent's way of working.
_OURS = frozenset(
    f"--{name}"
    for name in (
        "array", "chdir", "comment", "cpus-per-task", "export", "gres", "job-name", "mem", "nodes",
        "ntasks", "open-mode", "output", "parsable", "partition", "requeue", "no-requeue", "time",
        "uid", "gid", "wrap", "account", "qos", "reservation", "constraint",
    )
)  # fmt: skip
