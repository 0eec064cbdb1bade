"""What a site has, and who holds which part of it now. First come, first served."""

from __future__ import annotations

from typing import NamedTuple


class Need(NamedTuple):
    """What one job takes: cores, bytes of memory, GPUs."""

    cores: int
    memory: int
    gpus: int


class Share(NamedTuple):
    """What a job was given: which GPUs and, where jobs are pinned, which cores."""

    need: Need
    gpus: list[int]
    cpus: list[int]


class Capacity:
    """Free cores, memory and GPUs."""

    def __init__(self, total: Need, cpus: list[int]) -> None:
        """Start with all free.

        Args:
            total: what the site offers.
            cpus: the cores to pin jobs to, in order of preference; none to leave them unpinned.
        """
        self.total = total
        self.cores, self.memory = total.cores, total.memory
        self.gpus = list(range(total.gpus))
        self._load = dict.fromkeys(cpus, 0)

    def take(self, need: Need) -> Share | None:
        """Take what a job needs; None if that is not free."""
        if need.cores > self.cores or need.memory > self.memory or need.gpus > len(self.gpus):
            return None
        gpus, self.gpus = self.gpus[: need.gpus], self.gpus[need.gpus :]
        return self._hold(need, gpus)

    def hold(self, need: Need, gpus: list[int]) -> Share:
        """Count what a job that already runs has, even if it is more than there is."""
        self.gpus = [gpu for gpu in self.gpus if gpu not in gpus]
        return self._hold(need, gpus)

    def _hold(self, need: Need, gpus: list[int]) -> Share:
        self.cores -= need.cores
        self.memory -= need.memory
        cpus: list[int] = []
        if need.cores <= len(self._load):
            cpus = sorted(self._load, key=self._load.__getitem__)[: need.cores]
        for cpu in cpus:
            self._load[cpu] += 1
        return Share(need, gpus, cpus)

    def give_back(self, share: Share) -> None:
        self.cores += share.need.cores
        self.memory += share.need.memory
        self.gpus = sorted(self.gpus + share.gpus)
        for cpu in share.cpus:
            self._load[cpu] -= 1
