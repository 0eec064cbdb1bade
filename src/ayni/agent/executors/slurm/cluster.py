"""A cluster's partitions and nodes, looked at every now and then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from ayni.agent.executors.base import ExecutorUnavailable, Job, PartitionInfo
from ayni.agent.executors.jobfiles import excess
from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.pools import OVERHEAD, Key, Room
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.runtimes.base import PlanError

_EVERY = 10.0  # seconds between two looks
_RESERVE = 120  # seconds of a partition's time limit that its pilot's start and end take


class Cluster:
    """What the site has."""

    def __init__(
        self, slurm: Slurm, allowed: Collection[str] | None, clock: Callable[[], float]
    ) -> None:
        self._slurm = slurm
        self._allowed = allowed
        self._clock = clock
        self._looked = float("-inf")
        self._partitions: dict[str, parse.Partition] = {}
        self._nodes: list[parse.Node] = []
        self.most_elements = 1000  # of one array; read from the configuration

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
            up = [node for node in nodes if node.usable] if partition.up else []
            held = ours.get(partition.name, 0)
            lost = total - sum(node.cores for node in up)
            found.append(
                PartitionInfo(
                    name=partition.name,
                    nodes=len(nodes),
                    cores_per_node=max(node.cores for node in nodes),
                    memory_per_node=max(node.memory for node in nodes) - OVERHEAD,
                    gpus_per_node=max(node.gpus for node in nodes),
                    max_walltime=partition.max_walltime - _RESERVE,
                    free_cores=sum(max(0, node.cores - node.used_cores) for node in up),
                    free_memory=sum(max(0, node.memory - node.used_memory) for node in up),
                    free_gpus=sum(max(0, node.gpus - node.used_gpus) for node in up),
                    foreign_cores=min(total, max(0, used - held) + lost),
                )
            )
        return found

    def room(self, key: Key) -> Room | None:
        """A pool's partition as its tasks see it; None if it is down, or every node that fits one."""
        self._look()
        partition = self._partitions.get(key.partition)
        nodes = [n for n in self._nodes_of(key.partition) if n.usable and _fits(key, n)]
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
            max_walltime=partition.max_walltime,
        )

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

    def _nodes_of(self, partition: str) -> list[parse.Node]:
        return [node for node in self._nodes if partition in node.partitions]

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < _EVERY:
            return
        partitions, nodes = self._slurm.partitions(), self._slurm.nodes()
        if self._looked == float("-inf"):
            self.most_elements = _most_elements(self._slurm.config())
        self._looked = now
        self._nodes = nodes
        self._partitions = {
            p.name: p for p in partitions if self._allowed is None or p.name in self._allowed
        }
        if not self._partitions:
            raise ExecutorUnavailable("the cluster has none of the partitions that may be used")


def _fits(key: Key, node: parse.Node) -> bool:
    memory = node.memory - OVERHEAD
    return key.cores <= node.cores and key.memory <= memory and key.gpus <= node.gpus


def _most_elements(config: Mapping[str, str]) -> int:
    """How many elements an array may have: below MaxArraySize, and a part of MaxJobCount."""
    size = int(config.get("MaxArraySize", "1001")) - 1
    return max(1, min(size, int(config.get("MaxJobCount", "10000")) // 4))
