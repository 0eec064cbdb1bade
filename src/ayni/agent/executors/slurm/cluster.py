"""A cluster's partitions and nodes, looked at every now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ayni.agent.executors.base import ExecutorUnavailable, Job, PartitionInfo
from ayni.agent.executors.jobfiles import excess
from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.pools import OVERHEAD, Key, Room
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.runtimes.base import PlanError
from ayni.protocol.policy import Window

_EVERY = 10.0  # seconds between two looks
RESERVE = 120  # seconds that a pilot's start and end take of a time limit, or before a window
_WINDOWS = 20  # of one partition, at most
_LIMITED = frozenset({"all", "limits", "safe"})  # of AccountingStorageEnforce


class Cluster:
    """What the site has."""

    def __init__(
        self,
        slurm: Slurm,
        allowed: Collection[str] | None,
        clock: Callable[[], float],
        reservation: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Say of which.

        Args:
            slurm: its commands.
            allowed: the partitions that may be used; None for all.
            clock: monotonic time.
            reservation: the one that our batch jobs run in: its nodes are open to them.
            wall: Unix time.
        """
        self._slurm = slurm
        self._reservation = reservation
        self._wall = wall
        self._maintenance: list[parse.Reservation] = []
        self._allowed = allowed
        self._clock = clock
        self._looked = float("-inf")
        self._partitions: dict[str, parse.Partition] = {}
        self._nodes: list[parse.Node] = []
        # Read from the configuration:
        self.name = ""
        self.most_elements = 1000  # of one array
        self.is_limited = False  # whether limits of QOS and associations hold

    def infos(self, ours: Mapping[str, int]) -> Sequence[PartitionInfo]:
        """The partitions, as the agent tells of them.

        Args:
            ours: cores that our own batch jobs hold, by partition.
        """
        self._look()
        found = []
        for partition in self._partitions.values():
            nodes = self._nodes_of(partition.name)
            if not nodes:
                continue
            total = sum(node.cores for node in nodes)
            used = sum(node.used_cores for node in nodes)
            up = self._open(nodes) if partition.up else []
            held = ours.get(partition.name, 0)
            lost = total - sum(node.cores for node in up)
            found.append(
                PartitionInfo(
                    name=partition.name,
                    nodes=len(nodes),
                    cores_per_node=max(node.cores for node in nodes),
                    memory_per_node=max(node.memory for node in nodes) - OVERHEAD,
                    gpus_per_node=max(node.gpus for node in nodes),
                    max_walltime=partition.max_walltime - RESERVE,
                    free_cores=sum(max(0, node.cores - node.used_cores) for node in up),
                    free_memory=sum(max(0, node.memory - node.used_memory) for node in up),
                    free_gpus=sum(max(0, node.gpus - node.used_gpus) for node in up),
                    foreign_cores=min(total, max(0, used - held) + lost),
                    windows=tuple(self._windows(nodes)),
                )
            )
        return found

    def room(self, key: Key) -> Room | None:
        """A pool's partition as its tasks see it; None if it is down, or every node that fits one."""
        self._look()
        partition = self._partitions.get(key.partition)
        nodes = [n for n in self._open(self._nodes_of(key.partition)) if _fits(key, n)]
        if partition is None or not partition.up or len(nodes) < key.nodes:
            return None
        freest = max(nodes, key=lambda node: node.cores - node.used_cores)
        largest = max(nodes, key=lambda node: node.cores)
        return Room(
            cores=largest.cores,
            memory=largest.memory,
            gpus=largest.gpus,
            free_cores=max(0, freest.cores - freest.used_cores),
            free_memory=max(0, freest.memory - freest.used_memory),
            free_gpus=max(0, freest.gpus - freest.used_gpus),
            nodes=len(nodes),
            max_walltime=min([partition.max_walltime, *self._until_closed(nodes)]),
        )

    def qos_of(self, partition: str) -> str:
        """The QOS whose limits a partition has; nothing for none."""
        self._look()
        found = self._partitions.get(partition)
        return "" if found is None else found.qos

    def check(self, job: Job) -> None:
        """Refuse what can never run here.

        Raises:
            PlanError: naming what is too much.
        """
        info = next((info for info in self.infos({}) if info.name == job.partition), None)
        if info is None:
            raise PlanError(f"the site has no partition {job.partition}")
        most = {
            "cores": info.cores_per_node,
            "memory": info.memory_per_node,
            "gpus": info.gpus_per_node,
            "walltime": info.max_walltime,
            "nodes": info.nodes,
        }
        if (why := next(excess(job, most), None)) is not None:
            raise PlanError(f"partition {job.partition}: {why}")
        if job.tasks_per_node > job.limits.cores:
            raise PlanError(
                f"tasks_per_node: {job.tasks_per_node} asked for, with {job.limits.cores} cores a "
                "node; ask for a core to each at least"
            )
        if job.nodes * job.tasks_per_node > 1 and not job.network:
            raise PlanError(
                "ranks talk to each other over the network: ask for it (network: true); the site's "
                "policy must give it, too"
            )

    def _open(self, nodes: Collection[parse.Node]) -> list[parse.Node]:
        """Those that can be given work, now or when what runs there ends."""
        now = self._wall()
        closed = {name for r in self._maintenance if r.begin <= now < r.end for name in r.nodes}
        return [node for node in nodes if node.usable and node.name not in closed]

    def _closing(self, nodes: Collection[parse.Node]) -> list[parse.Reservation]:
        """Maintenance after which, until it is over, none of the nodes is left."""
        names = {node.name for node in nodes if node.usable} or {node.name for node in nodes}
        return [r for r in self._maintenance if names <= r.nodes]

    def _windows(self, nodes: Collection[parse.Node]) -> Iterator[Window]:
        """When a partition of these nodes runs nothing; a batch job must have ended by then."""
        for found in self._closing(nodes)[:_WINDOWS]:
            why = f"Slurm reservation {found.name}"
            yield Window(begin=max(0.0, found.begin - RESERVE), end=found.end, why=why)

    def _until_closed(self, nodes: Collection[parse.Node]) -> Iterator[int]:
        """Seconds until each, or Slurm lets a longer batch job wait until it is over."""
        now = self._wall()
        return (max(0, int(found.begin - now)) for found in self._closing(nodes))

    def _nodes_of(self, partition: str) -> list[parse.Node]:
        return [node for node in self._nodes if partition in node.partitions]

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < _EVERY:
            return
        partitions, nodes = self._slurm.partitions(), self._slurm.nodes()
        if self._looked == float("-inf"):
            self._learn(self._slurm.config())
        maintenance = self._announced()
        self._looked = now
        self._maintenance = maintenance
        self._nodes = nodes
        self._partitions = {
            p.name: p for p in partitions if self._allowed is None or p.name in self._allowed
        }
        if not self._partitions:
            raise ExecutorUnavailable("the cluster has none of the partitions that may be used")

    def _learn(self, config: Mapping[str, str]) -> None:
        self.name = config.get("ClusterName", "")
        self.most_elements = _most_elements(config)
        self.is_limited = bool(
            _LIMITED & set(config.get("AccountingStorageEnforce", "").lower().split(","))
        )

    def _announced(self) -> list[parse.Reservation]:
        """What is not over, in the order in which it begins."""
        now = self._wall()
        found = [
            r
            for r in self._slurm.reservations()
            if "MAINT" in r.flags and r.end > now and r.name != self._reservation
        ]
        return sorted(found, key=lambda r: r.begin)


def _fits(key: Key, node: parse.Node) -> bool:
    memory = node.memory - OVERHEAD
    return key.cores <= node.cores and key.memory <= memory and key.gpus <= node.gpus


def _most_elements(config: Mapping[str, str]) -> int:
    """How many elements an array may have: below MaxArraySize, and a part of MaxJobCount."""
    size = int(config.get("MaxArraySize", "1001")) - 1
    return max(1, min(size, int(config.get("MaxJobCount", "10000")) // 4))
