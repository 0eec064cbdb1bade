"""What the broker is given and what it answers. Times are Unix seconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from ayni.broker.foresight import Foresight, Start
from ayni.tes.shape import Shape
from ayni.tes.size import Size


class Objection(Protocol):
    """Why a site would refuse: `protocol.policy.Reason` fits."""

    code: str
    message: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Partition:
    """What a partition offers the network, and what the network already has there."""

    name: str
    nodes: int
    cores_per_node: int
    memory_per_node: int
    gpus_per_node: int
    max_walltime: int
    cores: int  # for the network, in all
    memory: int
    gpus: int
    depth: int  # tasks of a size wanted waiting there beyond those that fit
    foreign_cores: int = 0
    used_cores: int = 0  # by live attempts of the network, waiting ones included
    used_memory: int = 0
    used_gpus: int = 0
    live: int = 0  # live attempts
    waiting_of: Mapping[Size, int] = field(default_factory=dict)  # of these, not yet running
    maintenance: Objection | None = None  # of this partition, as a site's
    until: float = float("inf")

    @property
    def waiting(self) -> int:
        """Live attempts that are not yet running."""
        return sum(self.waiting_of.values())


@dataclass(frozen=True, slots=True)
class Site:
    name: str
    member: str
    partitions: Sequence[Partition]
    silent_for: float = 0.0  # seconds since the agent was last heard
    draining: bool = False
    banned: bool = False
    closed: Objection | None = None  # takes nothing at this hour
    maintenance: Objection | None = None  # what it says to tasks that might not end before …
    until: float = float("inf")  # … so many seconds from now
    max_tasks: int | None = None
    ill: tuple[str, ...] = ()  # health notes that keep work away
    bandwidth: float = 12.5e6  # bytes a second from the hub, for inputs that must move
    waited: Mapping[str, float] = field(default_factory=dict)  # seconds, lately, by partition
    foresight: Mapping[str, Foresight] = field(default_factory=dict)  # by partition


@dataclass(frozen=True, slots=True)
class Group:
    """Queued tasks of one project, one shape, one place of inputs."""

    id: int
    project: str
    member: str
    shape: Shape
    queued: int
    oldest: float  # since when tasks of it wait for a site
    service: float | None = None  # seconds that such a task runs, as seen so far
    sites: frozenset[str] | None = None  # where residency lets it run; None: anywhere
    data: Mapping[str, int] = field(default_factory=dict)  # bytes to read by site; "" is the hub
    objections: Mapping[str, Objection] = field(
        default_factory=dict
    )  # policy and refusals, by site
    failed: Mapping[str, int] = field(
        default_factory=dict
    )  # of those queued, whom a site failed last
    awaiting: Mapping[str, str] = field(
        default_factory=dict
    )  # sites whose operators have yet to accept a charter, each with its channel


@dataclass(frozen=True, slots=True)
class Project:
    """A project's place in the order: its decayed usage (core seconds) against its weight."""

    name: str
    usage: float = 0.0
    weight: float = 1.0


class Verdict(StrEnum):
    CHOSEN = "chosen"
    POSSIBLE = "possible"  # could have it, another was better
    FULL = "full"  # could have it, no room now
    HELD = "held"  # could have it now, but a better one is expected to be free in time
    INELIGIBLE = "ineligible"


@dataclass(frozen=True, slots=True)
class SiteReason:
    """What the broker thinks of one site for one group."""

    site: str
    verdict: Verdict
    code: str
    message: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """`count` tasks of the group go to `site`; site None: they wait. Reasons for every site."""

    group: int
    site: str | None
    partition: str | None
    count: int
    reasons: tuple[SiteReason, ...]
    hopeless: bool = False  # no site of the network would ever take it
    start: Start | None = None  # there, of the mean of these tasks, …
    move: float = 0.0  # … and the seconds that its inputs take to come there


@dataclass(frozen=True, slots=True)
class Waiting:
    """Attempts of a group that a site has and has not started."""

    group: Group
    site: str
    partition: str
    count: int
    since: float  # when the first of them was assigned


@dataclass(frozen=True, slots=True)
class Recall:
    """`count` waiting attempts of the group are asked back, since `better` could start them now."""

    group: int
    site: str
    partition: str
    count: int
    better: str | None  # None: the site takes no part any more


@dataclass(frozen=True, slots=True)
class Settings:
    """The broker's few knobs, all with a stated unit."""

    silent_after: float = 90.0  # seconds without a word that make a site unhealthy
    hold_at_most: float = 120.0  # seconds that a task may be held for a better site
    hold_gain: float = 2.0  # a better site must start it this many times sooner to be waited for
    least_gain: float = 30.0  # … and at least so many seconds sooner
    same_cost: float = 5.0  # seconds of expected start within which sites count as equally good
    recall_after: float = (
        30.0  # seconds that an attempt waits at its site before it may be recalled
    )
    most_tasks: int = 2000  # placed in one cycle
    usage_half_life: float = 7 * 86400.0
