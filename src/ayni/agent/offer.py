"""What the site offers the network now: partitions, how deep a queue it wants, data, health."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ayni import __version__
from ayni.agent import closures
from ayni.agent.charters import Charters
from ayni.agent.closures import Closures
from ayni.agent.config import Config
from ayni.agent.datasets import Datasets
from ayni.agent.disks import SHARED, STATE, Disks
from ayni.agent.executors.base import (
    Executor,
    ExecutorUnavailable,
    ExpectedStart,
    Fault,
    PartitionInfo,
)
from ayni.agent.runtimes.base import Finding
from ayni.agent.staging.folders import Folders
from ayni.agent.volumes import Volumes
from ayni.errors import UserError
from ayni.protocol.charters import CharterQuestion
from ayni.protocol.messages import (
    MAX_ASSIGNMENTS,
    MAX_STARTS,
    HealthNote,
    PartitionStatus,
    SiteStatus,
    StartStatus,
)
from ayni.protocol.policy import Reason, Window, maintenance, next_window, reaches
from ayni.tes.size import Size

log = logging.getLogger(__name__)

_SLOTS = 64  # of a large machine: long tasks need no long queue
_WINDOW = 2.0  # seconds: depth is about what ends in so long
_GROWTH = 8  # times what did end: how much more is asked for where short tasks seem to want it
_SHORTEST = 0.001  # seconds
_NEAR = 30.0  # seconds by which a foreseen start may be off without being told anew


class Pace:
    """How fast tasks end here, and so how many must be waiting for the machine to stay busy."""

    def __init__(self, window: float = _WINDOW) -> None:
        self._window = window
        self._ends: deque[tuple[float, int, float]] = deque()  # when, how many, seconds they ran
        self._count = 0
        self._ran = 0.0

    def ended(self, now: float, runs: Sequence[float]) -> None:
        """Some have ended.

        Args:
            now: the time.
            runs: for how many seconds each of them ran.
        """
        if runs:
            self._ends.append((now, len(runs), sum(runs)))
            self._count += len(runs)
            self._ran += sum(runs)

    def depth(self, now: float, slots: int) -> int:
        """Tasks wanted waiting: one for each of the first slots, or what ends in two seconds.

        That is told by how long tasks ran, since few end while few are given; but a site of which
        other things than its cores are taken ends fewer, and asks for a few times as many.
        """
        while self._ends and self._ends[0][0] < now - self._window:
            _, count, ran = self._ends.popleft()
            self._count -= count
            self._ran -= ran
        wanted = min(slots, _SLOTS)
        if self._count:
            mean = max(self._ran / self._count, _SHORTEST)
            wanted = max(wanted, min(int(slots * self._window / mean), _GROWTH * self._count))
        return max(1, min(wanted, MAX_ASSIGNMENTS))


def settle(told: int, wanted: int) -> int:
    """The depth to tell: the wanted one, unless it is so near the told one that it is not news."""
    grown = wanted > told * 5 // 4
    shrunk = wanted < told // 2
    return wanted if grown or shrunk or told == 0 else told


def settle_starts(
    told: Sequence[StartStatus], seen: Sequence[ExpectedStart], now: float
) -> list[StartStatus]:
    """The starts to tell: those told stay until they are wrong by a quarter of the time that is left.

    A scheduler looks again every few seconds; a status, which is sent whole, should not go out as often.

    Args:
        told: as last told of this partition.
        seen: by the executor, now.
        now: Unix seconds.
    """
    before = {Size(one.cores, one.memory, one.gpus, one.walltime): one for one in told}
    answer = []
    for one in sorted(seen, key=lambda one: one.size)[:MAX_STARTS]:
        known = before.get(one.size)
        fresh = StartStatus(**one.size._asdict(), at=one.at, at_least=one.at_least)
        same = known is not None and known.at_least == one.at_least
        answer.append(known if known and same and _is_near(known.at, one.at, now) else fresh)
    return answer


def _is_near(told: float, seen: float, now: float) -> bool:
    left = max(0.0, told - now), max(0.0, seen - now)
    return abs(left[0] - left[1]) <= max(_NEAR, left[1] / 4)


def partition_status(config: Config, info: PartitionInfo, depth: int) -> PartitionStatus:
    """A queue as the network sees it, the policy applied.

    Args:
        config: with the policy.
        info: what the executor says.
        depth: tasks wanted waiting.
    """
    local = config.executor.kind == "local"
    longest = config.policy.max_walltime
    return PartitionStatus(
        name=config.partition.name if local else info.name,
        nodes=info.nodes,
        cores_per_node=info.cores_per_node,
        memory_per_node=info.memory_per_node,
        gpus_per_node=info.gpus_per_node,
        max_walltime=min(info.max_walltime, longest or info.max_walltime),
        cores=info.nodes * info.cores_per_node,
        memory=info.nodes * info.memory_per_node,
        gpus=info.nodes * info.gpus_per_node,
        foreign_cores=info.foreign_cores,
        depth=depth,
        windows=list(info.windows),
    )


@dataclass
class Offer:
    """What is offered now, looked at again and again; the hub is told when it is news.

    Attributes:
        partitions: as of the last look.
        silence: why the executor could not be asked the last time, by what it was asked for.
        disks: looked at by a thread of its own.
        pace: fed by the cycle.
    """

    config: Config
    executor: Executor
    datasets: Datasets
    folders: Folders
    sandbox: str
    volumes: Volumes | None = None
    charters: Charters | None = None
    signing_key: str | None = None
    findings: Sequence[Finding] = ()
    partitions: list[PartitionStatus] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    closures: Closures = field(default_factory=Closures)
    silence: dict[str, Fault] = field(default_factory=dict)
    disks: Disks = field(init=False)
    _depth: int = 0
    _slots: int = 0
    _told: SiteStatus | None = None

    def __post_init__(self) -> None:
        folders = {STATE: self.config.state}
        if self.config.shared != self.config.state:
            folders[SHARED] = self.config.shared
        self.disks = Disks(folders)

    def status(self) -> SiteStatus:
        """What to tell the hub; from now on it counts as told."""
        self._told = self._now()
        return self._told

    def wants_more(self, now: float) -> bool:
        """Whether tasks turn out to be so short that the hub should be told at once."""
        fixed = self.config.partition.depth is not None
        return not fixed and settle(self._depth, self.pace.depth(now, self._slots)) > self._depth

    def is_news(self, now: float) -> bool:
        """Look again; whether the hub should be told."""
        self._look_at_closures()
        try:
            infos = self.executor.partitions()
        except ExecutorUnavailable as error:
            self.silence["partitions"] = error.fault
            return self._now() != self._told
        self.silence.pop("partitions", None)
        self._slots = sum(info.nodes * info.cores_per_node for info in infos)
        wanted = self.config.partition.depth
        if wanted is None:
            wanted = settle(self._depth, self.pace.depth(now, self._slots))
        self._depth = wanted
        self.partitions = [self._status_of(info) for info in infos]
        return self._now() != self._told

    def _status_of(self, info: PartitionInfo) -> PartitionStatus:
        bare = partition_status(self.config, info, self._depth)
        told = next((p.starts for p in self.partitions if p.name == bare.name), [])
        starts = settle_starts(told, info.starts, time.time())
        return bare.model_copy(update={"starts": starts})

    def _look_at_closures(self) -> None:
        try:
            self.closures = closures.read(self.config.state)
        except UserError as error:  # what was closed stays so: better than to open by mistake
            log.warning("%s", error)

    def _now(self) -> SiteStatus:
        return SiteStatus(
            agent_version=__version__,
            policy=self.config.network_policy,
            partitions=self.partitions,
            datasets=self.datasets.cards(),
            health=list(self._health()),
            sandbox=self.sandbox,
            draining=self.closures.draining,
            windows=self.closures.windows,
            volumes=None if self.volumes is None else self.volumes.offer(),
            charters=None if self.charters is None else self.charters.told(),
            signing_key=self.signing_key,
        )

    def bring(self, questions: Sequence[CharterQuestion]) -> None:
        """Charters that the hub says wait for an answer here; the next status says which are kept."""
        if questions and self.charters is not None:
            self.charters.bring(questions)

    def against(self, partition: str, walltime: float, now: float) -> Reason | None:
        """Why a task of so many seconds is not taken now: its operator's word, or maintenance."""
        known = (p.windows for p in self.partitions if p.name == partition)
        windows = [window for windows in known for window in windows]
        return self.closures.against(walltime, now) or reaches(windows, walltime, now)

    def faults(self) -> list[Fault]:
        """What the operator has to mend, each thing once: batch system, then disks."""
        known = [*self.executor.faults(), *self.disks.faults()]
        if not any(fault.code != "accounting" for fault in known):
            known += self.silence.values()  # nobody knows better what it is
        if (reason := self.folders.no_room()) is not None:
            remedy = "free some room, or raise limits.work in the agent's configuration"
            known.append(Fault(reason.code, reason.message, remedy))
        return list({fault.code: fault for fault in reversed(known)}.values())[::-1]

    def _health(self) -> Iterator[HealthNote]:
        """What is ill, and what is announced."""
        for fault in self.faults():
            yield HealthNote(code=fault.code, message=fault.message, remedy=fault.remedy)
        yield from self._announced(time.time())

    def _announced(self, now: float) -> Iterator[HealthNote]:
        """The next maintenance of the site, and of partitions: together, where it is the same."""
        places: dict[tuple[float, float, str], list[str]] = {}
        if (window := next_window(self.closures.windows, now)) is not None:
            places[window.begin, window.end, window.why] = []
        for partition in self.partitions:
            if (window := next_window(partition.windows, now)) is not None:
                places.setdefault((window.begin, window.end, window.why), []).append(partition.name)
        for (begin, end, why), names in sorted(places.items()):
            some = 0 < len(names) < len(self.partitions)
            said = maintenance(Window(begin=begin, end=end, why=why), now)
            message = "maintenance from {begin} to {end}".format(**said.parameters)
            message = f"partition {', '.join(names)}: {message}" if some else message
            yield HealthNote(
                code=said.code,
                message=f"{message}: {why}" if why else message,
                parameters={**said.parameters, "partitions": ", ".join(names) if some else ""},
            )
