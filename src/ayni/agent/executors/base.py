"""The executor interface: made for batches, so that a cycle costs the same for one job or a thousand.

An executor knows nothing of the hub. It is given prepared jobs (inputs staged, a folder of their
own), runs them under limits, and says what became of them. Every call is idempotent by job id: the
agent may repeat a submission after a crash, and only one copy runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ayni.protocol.policy import Window
from ayni.tes.size import Size


@dataclass(frozen=True, slots=True)
class Command:
    """One TES executor of a job. Paths are those the command sees, absolute."""

    argv: tuple[str, ...]
    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    ignore_error: bool = False


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the host that the job sees at `target`; read-only unless said otherwise."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use. `memory`, `disk` and `log` in bytes, `walltime` and `grace` in seconds."""

    cores: int = 1
    memory: int = 1 << 30
    walltime: int = 3600
    processes: int = 4096
    disk: int = 100 << 30  # of all its files, inputs too
    sure_disk: int = 100 << 30  # of that, what it keeps when the disk is nearly full
    grace: float = 10.0
    log: int = 1 << 30  # a log is cut here, and says so; the job goes on
    # Seconds before the walltime ends at which processes that listen for it get SIGUSR1; None: never.
    warning: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A prepared job.

    `folder` belongs to the job alone. `folder/root` is what the job sees as `/` (inputs are staged
    there, outputs found there); `folder/logs/N.stdout` and `N.stderr` are the logs of command N.
    """

    id: str  # the attempt's id: [a-z0-9-]+
    folder: Path
    commands: tuple[Command, ...]
    image: str  # an alias that the site's policy resolved to a runtime
    limits: Limits = Limits()
    binds: tuple[Bind, ...] = ()
    leases: tuple[Path, ...] = ()  # files that name the job for as long as it may run
    network: bool = False
    partition: str = "local"
    gpus: int = 0
    nodes: int = 1
    tasks_per_node: int = 1
    project: str = ""  # whose accounts and local user count, where a site tells projects apart
    owner: str = ""  # for the operator's eyes: project, person and e-mail
    share: str = (
        ""  # jobs of one owner with the same mark may be in one batch job: see `jobs.share`
    )


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"  # the executor cannot say now; ask again
    LOST = "lost"  # it is certain that the job is gone and that nobody saw how it ended


class EndReason(StrEnum):
    """Why a job ended, when its commands did not simply return."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    FENCED = "fenced"  # what it writes to is another's now
    CROWDED = "crowded"  # the disk was nearly full, and the job had more than it was sure of
    CANCELED = "canceled"
    # The sandbox could not be built: the site's fault. (A command that is not there is EXITED with
    # 127, one that cannot be executed with 126, a stdin that is not there with 1, as in a shell.)
    START_FAILED = "start_failed"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How one command ended: exit code as a shell gives it (128 + signal for a killed one)."""

    exit_code: int
    started: float  # Unix seconds
    ended: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job consumed, as measured: seconds and bytes."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_memory: int = 0
    cores: int = 1  # allocated
    gpus: int = 0
    nodes: int = 1
    queue_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the batch system says that a job was given: seconds, times cores, nodes, GPUs or bytes.

    Where several jobs share one of the batch system's own, each has its part.
    """

    job: str  # the batch system's name of it …
    submitted: float | None  # … which, with the time, is never given twice
    core_seconds: float
    node_seconds: float
    gpu_seconds: float
    memory_seconds: float  # byte seconds
    energy: float | None = None  # joules that its nodes took, where they were measured


@dataclass(frozen=True, slots=True)
class JobStatus:
    id: str
    state: JobState
    started: float | None = None
    ended: float | None = None
    results: tuple[CommandResult, ...] = ()
    reason: EndReason | None = None
    message: str = ""  # for a person, in English
    usage: Usage | None = None
    host: str = ""
    gone: bool = False  # lost, and all its processes were seen gone


@dataclass(frozen=True, slots=True)
class ExpectedStart:
    """When the batch system expects one more task of this size to start."""

    size: Size
    at: float  # Unix seconds
    at_least: bool = False  # not sooner, perhaps later


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """A queue of the site and what it has free; memory in bytes, walltime in seconds.

    `foreign_cores` are in use by others than the network's jobs, where there are such others. In
    `windows` it runs nothing: maintenance that the batch system knows of. `starts` are those that it
    foresees, each size once.
    """

    name: str
    nodes: int
    cores_per_node: int
    memory_per_node: int
    gpus_per_node: int
    max_walltime: int
    free_cores: int
    free_memory: int
    free_gpus: int
    pending: int = 0
    foreign_cores: int = 0
    windows: tuple[Window, ...] = ()
    starts: tuple[ExpectedStart, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """What the site's operator has to mend: a name for programs, and words."""

    code: str
    message: str
    remedy: str


class ExecutorUnavailable(Exception):
    """The executor cannot be reached now. Nothing was decided: ask again; what runs goes on.

    Attributes:
        fault: what is ill, as far as it is known.
    """

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault or Fault(
            "executor", message, "see the agent's log and 'ayni site doctor'"
        )


class Executor(Protocol):
    """What the agent needs of a batch system. Any call may raise `ExecutorUnavailable`."""

    def partitions(self) -> Sequence[PartitionInfo]:
        """The queues, their shapes and what is free now."""

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str]:
        """Start or queue the jobs; those already known are left alone.

        Returns:
            What could not be submitted: job id → why, in words for the user.
        """

    def poll(self) -> Sequence[JobStatus]:
        """What changed since the last call. A change may be told again after a restart."""

    def states(self, ids: Collection[str]) -> Mapping[str, JobStatus]:
        """What is known of these jobs, asked afresh: for recovery after a restart.

        A job that is not in the answer was never submitted (or is forgotten): it is safe to submit.
        """

    def cancel(self, ids: Collection[str]) -> None:
        """End the jobs: SIGTERM, the grace of their limits, SIGKILL. Ended ones are left alone."""

    def is_idle(self) -> bool:
        """Whether `poll` has nothing to find out beyond what becomes of the jobs in hand.

        A scheduler's accounting may answer long after the last job has ended.
        """

    def forget(self, ids: Collection[str]) -> None:
        """The agent has noted how these jobs ended: their traces outside `folder` may go."""

    def allocations(self) -> Mapping[str, Allocation]:
        """What the accounting has of jobs that are over, perhaps long since: told until `booked`.

        An executor whose own measurements are the accounts has none.
        """

    def booked(self, ids: Collection[str]) -> None:
        """The agent has noted these allocations."""

    def faults(self) -> Sequence[Fault]:
        """What of the batch system is ill, as it was last seen; never asks for it."""

    def close(self) -> None:
        """Let go of connections; what runs goes on running."""
