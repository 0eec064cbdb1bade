"""What of a cluster one user's batch jobs may have: where a QOS or an association limits their time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from ayni.agent.executors.base import ExecutorUnavailable, Job
from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.cluster import RESERVE, Cluster
from ayni.agent.executors.slurm.pools import Key, Room
from ayni.agent.executors.slurm.script import Rules, Terms
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.runtimes.base import PlanError

log = logging.getLogger(__name__)

_EVERY = 600.0  # seconds between two questions


@dataclass(frozen=True, slots=True)
class Wall:
    """The longest that a batch job may ask for, and who says so."""

    whose: str
    seconds: int


def wall(
    terms: Terms,
    partition: str,
    partition_qos: str,
    qos: Mapping[str, parse.Qos],
    associations: Collection[parse.Association],
) -> Wall | None:
    """The MaxWall of a batch job, of which Slurm takes the first that is set.

    That of the partition's QOS, of its own (which with OverPartQOS goes before), of its association.
    Source: Slurm, "Resource Limits", hierarchy.

    Args:
        terms: the batch job's account and QOS, as far as they are named.
        partition: its partition.
        partition_qos: of which the limits are the partition's; nothing for none.
        qos: all, by name.
        associations: its user's.
    """
    association = _association(terms.account, partition, associations)
    own = (terms.qos or _default_qos(association)).lower()  # as sacctmgr keeps names
    names = [partition_qos, own]
    if own in qos and "OverPartQOS" in qos[own].flags:
        names.reverse()
    for name in names:
        if name in qos and (most := qos[name].max_wall) is not None:
            return Wall(f"QOS {name}", most)
    if association is not None and association.max_wall is not None:
        return Wall(f"account {association.account}", association.max_wall)
    return None


def _association(
    account: str | None, partition: str, all_: Collection[parse.Association]
) -> parse.Association | None:
    """The one that holds for an account, or the user's default one: that of the partition before others."""
    fitting = [
        a for a in all_ if (a.is_default if account is None else a.account == account.lower())
    ]
    found = [a for name in (partition, "") for a in fitting if a.partition == name]
    return found[0] if found else None


def _default_qos(association: parse.Association | None) -> str:
    """That of batch jobs that name none: the default one, or the only one."""
    if association is None:
        return ""
    if association.default_qos or len(association.qos) != 1:
        return association.default_qos
    return next(iter(association.qos))


class Allowance:
    """A cluster as one user's batch jobs may use it.

    Attributes:
        cluster: that all users share.
    """

    def __init__(
        self, slurm: Slurm, rules: Rules, cluster: Cluster, user: str, clock: Callable[[], float]
    ) -> None:
        """Say whose.

        Args:
            slurm: the cluster's commands.
            rules: on what terms each project's batch jobs run.
            cluster: the partitions.
            user: whose batch jobs they are, by name.
            clock: monotonic time.
        """
        self.cluster = cluster
        self._slurm = slurm
        self._rules = rules
        self._user = user
        self._clock = clock
        self._next = float("-inf")
        self._qos: Mapping[str, parse.Qos] = {}
        self._associations: Collection[parse.Association] = ()

    def room(self, key: Key) -> Room | None:
        """A pool's partition as its batch jobs see it; None if none of them can run there now."""
        room = self.cluster.room(key)
        found = self._wall(key.project, key.partition)
        if room is None or found is None:
            return room
        return replace(room, max_walltime=min(room.max_walltime, found.seconds))

    def check(self, job: Job) -> None:
        """Refuse what can never run here.

        Raises:
            PlanError: naming what is too much.
        """
        self.cluster.check(job)
        found = self._wall(job.project, job.partition)
        if found is None:
            return
        most = max(0, found.seconds - RESERVE)
        if job.limits.walltime > most:
            raise PlanError(
                f"walltime: {job.limits.walltime} asked for, {found.whose} of this site gives {most}"
            )

    def _wall(self, project: str, partition: str) -> Wall | None:
        partition_qos = self.cluster.qos_of(partition)
        if not self.cluster.is_limited:
            return None
        self._look()
        terms = self._rules.terms(project)
        return wall(terms, partition, partition_qos, self._qos, self._associations)

    def _look(self) -> None:
        """Ask the accounting, if it answers as far as is known: nothing waits for it."""
        now = self._clock()
        if now < self._next or self._slurm.health.is_ill("sacctmgr"):
            return
        try:
            qos = self._slurm.qos()
            associations = self._slurm.associations(self._user, self.cluster.name)
        except ExecutorUnavailable as error:
            log.warning("limits of QOS and accounts cannot be asked for: %s", error)
            return
        self._qos, self._associations, self._next = qos, associations, now + _EVERY
