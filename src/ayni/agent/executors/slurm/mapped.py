"""Batch jobs of the site's own users: an executor to each of them, behind one.

Each has a state folder of its own, shared with its user alone, and submits and cancels as that user,
by the helper (`supervisor/helper.py`). The partitions are looked at once for all, and so is the queue.
"""

from __future__ import annotations

import logging
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ayni.agent.executors.base import (
    Allocation,
    ExecutorUnavailable,
    Fault,
    Job,
    JobState,
    JobStatus,
    PartitionInfo,
)
from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.cluster import Cluster
from ayni.agent.executors.slurm.executor import SlurmExecutor
from ayni.agent.executors.slurm.foresight import with_starts
from ayni.agent.executors.slurm.script import Rules
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.localusers import LocalUser
from ayni.agent.runtimes.base import Finding
from ayni.agent.userhelper import AttemptMaker, Helper, HelperError, Stage

log = logging.getLogger(__name__)
T = TypeVar("T")
#: What reading nonsense raises. Where a site does without the sandbox, tasks may write it, and harm
#: nobody but those who run as the same local user.
_DISORDER = (AttributeError, LookupError, TypeError, ValueError)

_REMEDY = "see docs/operators/slurm.md, Local users; 'ayni site doctor' tries it for each user"
_BY_HELPER = {"sbatch", "scancel"}


class Queue:
    """What squeue shows of all users, asked once in a round, whoever asks first."""

    def __init__(self, slurm: Slurm, users: Collection[LocalUser]) -> None:
        self._slurm = slurm
        self._users = ",".join(str(user.uid) for user in users)
        self._rows: list[parse.Queued] | ExecutorUnavailable | None = None

    def begin_round(self) -> None:
        self._rows = None

    def rows(self) -> list[parse.Queued]:
        if self._rows is None:
            try:
                self._rows = self._slurm.squeue(self._users)
            except ExecutorUnavailable as error:
                self._rows = error
        if isinstance(self._rows, ExecutorUnavailable):
            raise self._rows
        return self._rows

    def faults(self) -> Sequence[Fault]:
        return self._slurm.health.faults()


class SlurmAs(Slurm):
    """One cluster, its batch jobs those of a local user."""

    def __init__(
        self,
        user: LocalUser,
        helper: Helper,
        queue: Queue,
        conf: Path | None = None,
        bin_folder: Path | None = None,
    ) -> None:
        super().__init__(conf, bin_folder)
        self._local = user.name
        self._helper = helper
        self._queue = queue

    def squeue(self, user: str) -> list[parse.Queued]:
        """All users' jobs: each executor knows its own by their names."""
        del user
        return self._queue.rows()

    def _run(
        self, name: str, arguments: Sequence[str], script: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        if name not in _BY_HELPER:
            return super()._run(name, arguments, script)
        self.calls += 1
        try:
            answer = self._helper.ask(self._local, _request(name, arguments, script))
        except HelperError as error:
            fault = Fault(
                "local_user", f"nothing can be done as user {self._local}: {error}", _REMEDY
            )
            raise self._unavailable(name, str(error), fault) from error
        return subprocess.CompletedProcess(
            [name, *arguments],
            int(str(answer["code"])),
            str(answer["stdout"]),
            str(answer["stderr"]),
        )


def _request(name: str, arguments: Sequence[str], script: str | None) -> dict[str, object]:
    if name == "sbatch":
        test = "--test-only" in arguments
        options = [word for word in arguments if word not in ("--parsable", "--test-only")]
        return {"verb": "submit", "script": script, "options": options, "test": test}
    jobs = [word for word in arguments if not word.startswith("-")]
    return {"verb": "cancel", "jobs": jobs, "waiting": "--state=PENDING" in arguments}


class MappedExecutor:
    """The executors of all local users, as one."""

    def __init__(
        self,
        users: Mapping[str, LocalUser],
        executors: Mapping[str, SlurmExecutor],
        rules: Rules,
        cluster: Cluster,
        queue: Queue,
        helper: Helper,
    ) -> None:
        """Put them together.

        Args:
            users: by name.
            executors: by local user.
            rules: which project is whose.
            cluster: that all of them share.
            queue: that all of them ask.
            helper: by which they act.
        """
        self._users = users
        self._helper = helper
        self._executors = executors
        self._rules = rules
        self._cluster = cluster
        self._queue = queue
        self._stages = {name: Stage(helper, user) for name, user in users.items()}

    findings: Sequence[Finding] = ()

    def partitions(self) -> Sequence[PartitionInfo]:
        ours: Counter[str] = Counter()
        for executor in self._executors.values():
            ours += executor.held()
        starts = [executor.starts() for executor in self._executors.values()]
        return with_starts(self._cluster.infos(ours), starts)

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str]:
        refused: dict[str, str] = {}
        whose: defaultdict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            user = self._rules.terms(job.project).user
            if user is None:
                refused[job.id] = f"the site has no local user for project {job.project}"
            else:
                whose[user].append(job)
        for user, some in whose.items():
            refused |= self._executors[user].submit(some)
        return refused

    def poll(self) -> Sequence[JobStatus]:
        self._queue.begin_round()
        if any(executor.is_due() for executor in self._executors.values()):
            for executor in self._executors.values():
                executor.look_soon()
        failed: dict[str, ExecutorUnavailable] = {}
        # All hear before the first asks for the queue: in an older one a batch job that one has heard of
        # since would still wait, as if it had been requeued.
        for _ in self._each(SlurmExecutor.hear, failed):
            pass
        news = [one for some in self._each(SlurmExecutor.look, failed) for one in some]
        if failed and not news:
            raise next(iter(failed.values()))
        return news

    def _each(
        self, do: Callable[[SlurmExecutor], T], failed: dict[str, ExecutorUnavailable]
    ) -> Iterator[T]:
        """Do something with all executors that have not failed; who fails is written down."""
        for user, executor in self._executors.items():
            if user in failed:
                continue
            try:
                found = do(executor)
            except ExecutorUnavailable as error:
                failed[user] = error
            except _DISORDER as error:
                failed[user] = _disorder(user, error)
            else:
                yield found

    def states(self, ids: Collection[str]) -> Mapping[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        for user, executor in self._executors.items():
            try:
                found |= executor.states(ids)
            except _DISORDER as error:
                _disorder(user, error)
                known = executor.known(ids)
                found |= {job_id: JobStatus(job_id, JobState.UNKNOWN) for job_id in known}
        return found

    def cancel(self, ids: Collection[str]) -> None:
        for executor in self._executors.values():
            executor.cancel(ids)

    def is_idle(self) -> bool:
        return all(executor.is_idle() for executor in self._executors.values())

    def forget(self, ids: Collection[str]) -> None:
        for executor in self._executors.values():
            executor.forget(ids)

    def allocations(self) -> Mapping[str, Allocation]:
        found: dict[str, Allocation] = {}
        for executor in self._executors.values():
            found |= executor.allocations()
        return found

    def booked(self, ids: Collection[str]) -> None:
        for executor in self._executors.values():
            executor.booked(ids)

    def faults(self) -> Sequence[Fault]:
        found = [fault for executor in self._executors.values() for fault in executor.faults()]
        return list(dict.fromkeys([*self._queue.faults(), *found]))

    def unlock(self, group: int, folder: str) -> None:
        """Let the agent remove what a user's tasks left in one of its work folders."""
        for user in self._users.values():
            if user.group == group:
                try:
                    self._helper.open(user.name, [f"work/{folder}"])
                except HelperError as error:
                    log.warning("what tasks left cannot be removed: %s", error)

    def group_of(self, project: str) -> int | None:
        """The group of the user who runs a project's tasks."""
        user = self._rules.terms(project).user
        return None if user is None else self._users[user].group

    def maker(self, project: str, attempt: str) -> AttemptMaker | None:
        """Who makes what is staged for an attempt; None for a project that will be refused."""
        user = self._rules.terms(project).user
        return None if user is None else AttemptMaker(self._stages[user], attempt)

    def close(self) -> None:
        """What runs goes on."""
        for stage in self._stages.values():
            stage.close()


def _disorder(user: str, error: Exception) -> ExecutorUnavailable:
    said = f"what lies in the executor's folder of user {user} is in disorder"
    log.error("%s", said, exc_info=error)
    remedy = "see the agent's log; whether that user's tasks run in a sandbox"
    return ExecutorUnavailable(said, Fault("local_user", said, remedy))
