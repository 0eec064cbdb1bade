"""What is known of the tasks of batch jobs, and what the agent has not been told of it yet.

That a task has started is what its pilot says; how it ended is in its exit file, which a supervisor writes,
or whoever decides in the place of one.
"""

from __future__ import annotations

import contextlib

from ayni.agent.executors.base import JobState, JobStatus
from ayni.agent.executors.jobfiles import status
from ayni.agent.executors.slurm import ends
from ayni.agent.executors.slurm.books import AGENT, Books, Task
from ayni.agent.supervisor import files


class News:
    """The newest status of each task that has changed."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._told: dict[str, JobStatus] = {}

    def __bool__(self) -> bool:
        return bool(self._told)

    def take(self) -> list[JobStatus]:
        """All of it; it is no news any more."""
        told, self._told = self._told, {}
        return list(told.values())

    def forget(self, job_id: str) -> None:
        self._told.pop(job_id, None)

    def started(self, job: str, job_id: str, when: float) -> None:
        """A batch job's pilot says that it has begun a task, at this Unix time."""
        task = self._books.tasks.get(job_id)
        if task is None or task.ended:
            return
        found = self._books.claimed(task, job)
        self._told[job_id] = JobStatus(
            job_id, JobState.RUNNING, started=when, host=found.node or job
        )

    def ended(self, job_id: str) -> None:
        """A task may have ended: look into its exit file."""
        task = self._books.tasks.get(job_id)
        if task is None or task.ended:
            return
        found = files.read_exit(task.folder)
        if found is None:
            return  # the file system lags; the pilot's end is another occasion
        by = self._books.pilots.get(task.pilot or "")
        ours = self._books.cancel_mark(job_id).exists()
        if by is not None and not ours and ends.is_cut_short(found, by.signaled):
            return  # the scheduler ended the batch job: the accounting will say why
        result = status(found, by.node if by is not None else "")
        if result.usage is not None:
            self._books.pools[task.pool].took(result.usage.wall)
        self._books.ended(task)
        self._told[job_id] = result

    def state_of(self, task: Task) -> JobStatus:
        """As it is known now, news or not."""
        found = files.read_exit(task.folder) if task.ended else None
        if found is not None:
            return status(found, "")
        if task.pilot is None:
            return JobStatus(task.id, JobState.PENDING)
        by = self._books.pilots[task.pilot]
        state = JobState.RUNNING if by.gone is None else JobState.UNKNOWN
        return JobStatus(task.id, state, host=by.node)

    def turn_away(self, task: Task, reason: str, message: str) -> None:
        """A waiting task ends, unless a batch job was quicker."""
        try:
            ours = files.claim(task.folder, AGENT)
        except FileNotFoundError:
            ours = True  # without its folder nobody can run it
        if ours:
            self.decide(task, "ended", reason, message)

    def decide(self, task: Task, state: str, reason: str | None, message: str) -> None:
        """Write, or correct, the exit file in the place of a supervisor."""
        found = files.decided(task.id, state, reason, message)
        before = files.read_exit(task.folder) or {}
        found |= {name: before[name] for name in ("started", "usage") if before.get(name)}
        with contextlib.suppress(FileNotFoundError):  # its folder is gone: it is told all the same
            files.write_exit(task.folder, found)
        by = self._books.pilots.get(task.pilot or "")
        self._books.ended(task)
        self._told[task.id] = status(found, by.node if by is not None else "")
