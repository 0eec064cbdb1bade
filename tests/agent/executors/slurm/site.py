"""An executor over some Slurm, and short ways to run jobs on it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from ayni.agent.executors.base import ExecutorUnavailable, Job, JobState, JobStatus
from ayni.agent.executors.slurm.accounting import BOOKED
from ayni.agent.executors.slurm.executor import SlurmExecutor
from ayni.agent.executors.slurm.script import Rules
from ayni.agent.executors.slurm.tool import our_user
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import Runtime
from tests.agent.executors.slurm.pooled import IMAGES, Jobs, until

OVER = (JobState.ENDED, JobState.LOST)


class Site(Jobs):
    """An executor and what it has told."""

    def __init__(self, folder: Path, slurm: Any, rules: Rules | None = None) -> None:
        super().__init__(folder)
        self.runtime: Runtime = BareRuntime()
        self.slurm = slurm
        self.rules = rules or Rules()
        self.images = dict(IMAGES)
        self.told: dict[str, JobStatus] = {}
        self.states: dict[str, list[JobState]] = {}
        self._skipped = 0.0
        self.reopen()

    def reopen(self) -> None:
        """Another executor takes over: nothing is said to the one before."""
        self.executor = SlurmExecutor(
            self.folder / "state",
            self.slurm,
            self.images,
            {"host": self.runtime},
            self.rules,
            clock=lambda: time.monotonic() + self._skipped,
        )
        self.told.clear()

    def skip(self, seconds: float) -> None:
        """Let the executor's clock go ahead."""
        self._skipped += seconds

    def submit(self, *jobs: Job) -> None:
        assert self.executor.submit(jobs) == {}

    def poll(self) -> None:
        for status in self.executor.poll():
            self.told[status.id] = status
            self.states.setdefault(status.id, []).append(status.state)

    def until(self, probe: Any) -> Any:
        """Poll until something is true; a Slurm that does not answer is asked again."""

        def polled() -> Any:
            with contextlib.suppress(ExecutorUnavailable):
                self.poll()
            with contextlib.suppress(ExecutorUnavailable):
                return probe()
            return None

        try:
            return until(polled)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.described()}") from None

    def described(self) -> str:
        """All that is known of what there is, for the reader of a test that failed."""
        try:
            queue = [str(row) for row in self.slurm.squeue(our_user())]
        except ExecutorUnavailable as error:
            queue = [str(error)]
        pilots = [str(found) for found in self.executor._books.pilots.values()]
        events = (self.folder / "state" / "events").iterdir()
        logs = [
            *(self.folder / "state" / "pools").glob("*.log"),
            *self.folder.glob("work-*/logs/*"),
        ]
        words = [f"{path}: {path.read_text(errors='replace')[-2000:]}" for path in [*events, *logs]]
        left = [f"{pid}: {_command_line(pid)}" for pid in self.left()]
        told = [str(status) for status in self.told.values()]
        return "\n".join([*told, *pilots, *queue, *words, *left])

    def over(self, *jobs: Job) -> Any:
        """Wait for the ends of jobs: the status of each, or of the only one."""
        self.until(lambda: all(self._state(job) in OVER for job in jobs))
        statuses = [self.told[job.id] for job in jobs]
        return statuses[0] if len(jobs) == 1 else statuses

    def _state(self, job: Job) -> JobState | None:
        status = self.told.get(job.id)
        return None if status is None else status.state

    def run(self, *jobs: Job) -> Any:
        self.submit(*jobs)
        return self.over(*jobs)

    def running(self, *jobs: Job) -> None:
        """Wait until jobs run, and are known to."""
        self.until(lambda: all(self.runs(job) and job.id in self.told for job in jobs))

    def pilot_of(self, job: Job) -> str:
        """The batch job that has a job."""
        found = self.executor._books.tasks[job.id].pilot
        assert found is not None
        return found

    def files(self) -> list[str]:
        """What lies in the state folder, but for what is kept to be compared with the accounting."""
        state = self.folder / "state"
        found = (path for path in state.rglob("*") if path.is_file() and path.parent.name != BOOKED)
        return sorted(str(path.relative_to(state)) for path in found)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return "has ended"
