"""`ayni site reconcile`: the hub's books beside the scheduler's accounting, job by job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ayni.agent import hub, identity, localusers
from ayni.agent.config import Config
from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.executors.slurm.accounting import FOLDER
from ayni.agent.executors.slurm.parse import Account
from ayni.agent.executors.slurm.state import job_prefix
from ayni.agent.executors.slurm.tool import Slurm, our_user
from ayni.errors import UserError
from ayni.protocol.books import MAX_JOBS, Booked, BooksReply, BooksRequest, JobKey

EXACT = 0.5  # core seconds of a job: what rounding may make of it
Key = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """A job of which the books say something else than the accounting. Core seconds."""

    job: str
    submitted: float
    scheduler: float
    hub: float
    attempts: int


@dataclass(slots=True)
class Findings:
    """A period's jobs, compared.

    Attributes:
        jobs: that ended in the period and ran tasks.
        scheduler: core seconds that they were given, by the accounting.
        hub: core seconds that are booked of them.
        differences: jobs of which the two differ.
        waiting: jobs that are over and whose usage the agent has not sent yet.
        idle: batch jobs that found no task: nobody's usage.
        idle_core_seconds: what these were given.
        open: jobs that have not ended.
        runaway: jobs that the accounting holds for running and the scheduler does not know.
    """

    jobs: int = 0
    scheduler: float = 0.0
    hub: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    idle_core_seconds: float = 0.0
    open: list[str] = field(default_factory=list)
    runaway: list[str] = field(default_factory=list)

    @property
    def difference(self) -> float:
        """Core seconds by which the books are off."""
        return sum(abs(one.scheduler - one.hub) for one in self.differences)


def compare(
    accounts: Iterable[Account],
    booked: Mapping[Key, Booked],
    *,
    begin: float,
    end: float,
    queued: frozenset[str] = frozenset(),
    unsent: frozenset[str] = frozenset(),
) -> Findings:
    """Set the two side by side. Pure.

    Args:
        accounts: the scheduler's, of our jobs in the period; each run by itself.
        booked: the hub's, by job and time of submission.
        begin: of the period, in Unix seconds.
        end: of the period; jobs whose end lies before it count.
        queued: jobs that the scheduler still knows.
        unsent: jobs whose usage the agent still has to send.
    """
    found = Findings()
    for account in accounts:
        if account.ended is None or (not account.is_whole and account.id in queued):
            (found.open if account.id in queued else found.runaway).append(account.id)
            continue
        if not begin <= account.ended < end:
            continue
        given = float(account.elapsed * account.cores)
        there = booked.get((account.id, account.submitted or 0.0))
        if there is None and account.id in unsent:
            found.waiting.append(account.id)
        elif there is None:
            found.idle.append(account.id)
            found.idle_core_seconds += given
        else:
            found.jobs += 1
            found.scheduler += given
            found.hub += there.core_seconds
            if abs(given - there.core_seconds) > EXACT:
                found.differences.append(
                    Difference(
                        account.id, account.submitted or 0.0, given, there.core_seconds,
                        there.attempts,
                    )
                )  # fmt: skip
    return found


def _states_and_user(config: Config) -> tuple[list[Path], str]:
    """The executors' state folders, and whose jobs they submit, as squeue and sacct take it."""
    if not config.local_users:
        return [config.executor_folder], our_user()
    users = localusers.find(config.local_users).values()
    states = [localusers.state_folder(config.executor_folder, user) for user in users]
    return states, ",".join(str(user.uid) for user in users)


def reconcile(config: Config, begin: datetime, end: datetime) -> Findings:
    """Ask both, and compare.

    Raises:
        UserError: this site has no scheduler that keeps accounts, or one of them does not answer.
    """
    slurm_config = config.executor.slurm
    if config.executor.kind != "slurm" or slurm_config is None:
        raise UserError(
            "executor.kind is local: a job's own measurements are the accounts, and there is "
            "nothing to compare them with"
        )
    slurm = Slurm(slurm_config.conf, slurm_config.bin)
    states, user = _states_and_user(config)
    prefix = tuple(job_prefix(state) for state in states)
    try:
        queue = frozenset(row.id for row in slurm.squeue(user) if row.name.startswith(prefix))
        accounts = [
            account
            for account in slurm.accounts(user, begin.timestamp(), end.timestamp())
            if account.name.startswith(prefix) and account.started is not None
        ]
    except ExecutorUnavailable as error:
        raise UserError(f"Slurm cannot be asked: {error}") from error
    folders = [state / FOLDER for state in states]
    unsent = frozenset(
        path.name for folder in folders if folder.is_dir() for path in folder.iterdir()
    )
    keys = [(account.id, account.submitted or 0.0) for account in accounts]
    return compare(
        accounts,
        _booked(config, keys),
        begin=begin.timestamp(),
        end=end.timestamp(),
        queued=queue,
        unsent=unsent,
    )


def _booked(config: Config, keys: Sequence[Key]) -> dict[Key, Booked]:
    who = identity.load(config)
    with hub.client(config, who.key) as http:
        asked = hub.Hub(http, config.https.timeout)
        try:
            return {
                (one.job, one.submitted): one
                for part in _parts(keys)
                for one in _ask(asked, part).jobs
            }
        except hub.HubError as error:
            raise UserError(str(error)) from error


def _ask(asked: hub.Hub, keys: Sequence[Key]) -> BooksReply:
    request = BooksRequest(jobs=[JobKey(job=job, submitted=when) for job, when in keys])
    answer = asked.post("/agent/v1/books", request.model_dump_json())
    return BooksReply.model_validate_json(answer.content)


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), MAX_JOBS):
        yield keys[start : start + MAX_JOBS]


def words(found: Findings) -> Iterator[str]:
    """The findings, a line each, for a person."""
    yield f"jobs that ended in the period   {found.jobs:>8}"
    yield f"  by the scheduler              {found.scheduler:>14.1f} core-seconds"
    yield f"  in the hub's books            {found.hub:>14.1f} core-seconds"
    yield f"  difference                    {found.difference:>14.1f} core-seconds"
    for one in found.differences:
        yield (
            f"    job {one.job}: {one.scheduler:.1f} by the scheduler, {one.hub:.1f} booked "
            f"for {one.attempts} attempts"
        )
    for title, jobs in (
        ("not yet sent by the agent", found.waiting),
        ("not ended yet", found.open),
        ("runaway: see 'sacctmgr show runawayjobs'", found.runaway),
    ):
        if jobs:
            yield f"{title}: {', '.join(jobs[:20])}{' …' if len(jobs) > 20 else ''}"
    if found.idle:
        yield (
            f"batch jobs that found no task, and are nobody's usage: {len(found.idle)}, "
            f"{found.idle_core_seconds:.1f} core-seconds"
        )
