"""A state folder of the Slurm executor with tasks in pools; pilots run as processes of this machine."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ayni.agent.executors.base import Command, Job, Limits
from ayni.agent.executors.jobfiles import JobFiles
from ayni.agent.executors.slurm.books import Books, Task
from ayni.agent.executors.slurm.pools import Key
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import ImageSpec
from ayni.agent.supervisor import boot, files, pilot, processes

PATIENCE = 90.0  # of a loaded machine; nothing waits so long where all is well
SMALL = Limits(cores=1, memory=256 << 20, walltime=120, grace=0.5, processes=64)
IMAGES = {"host": ImageSpec()}


def until(probe: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait for something to become true."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not happen in {patience} s")


class Jobs:
    """Makes jobs of one command, in folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = folder.name.lower().replace("_", "-")
        self._numbers = itertools.count()

    def job(self, *argv: str, **changes: Any) -> Job:
        """A job; what is no field of one is a limit."""
        number = next(self._numbers)
        work = self.folder / f"work-{number}"
        (work / "root").mkdir(parents=True)
        limits = {n: changes.pop(n) for n in list(changes) if n in Limits.__dataclass_fields__}
        job = Job(
            f"{self.prefix}-{number}",
            work,
            (Command(argv),),
            "host",
            replace(SMALL, **limits),
            partition="main",
            owner="lenguas: Ana <ana@x>",
        )
        return replace(job, **changes)

    def waiting(self, **changes: Any) -> Job:
        """A job that runs until its file `go` is there."""
        job = self.job("true", **changes)
        text = f"touch {job.folder}/runs; while [ ! -e {job.folder}/go ]; do sleep 0.05; done"
        return replace(job, commands=(Command(("sh", "-c", text)),))

    @staticmethod
    def runs(job: Job) -> bool:
        return (job.folder / "runs").exists()

    @staticmethod
    def release(job: Job) -> None:
        (job.folder / "go").touch()

    def left(self) -> list[int]:
        """Processes of these jobs that live."""
        return [pid for pid, job in processes.marked() if job.startswith(f"{self.prefix}-")]

    def end(self) -> None:
        for pid in self.left():
            processes.send([pid], signal.SIGKILL)


class Pooled(Jobs):
    """The folder as the executor leaves it for pilots."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.state = folder / "state"
        self.books = Books(self.state)
        self.files = JobFiles(self.state, IMAGES, {"host": BareRuntime()})
        self.pilots: list[subprocess.Popen[str]] = []

    def add(self, *jobs: Job) -> str:
        """Put jobs into the pool of the first: its name."""
        for job in jobs:
            key = Key.of(job)
            self.books.pool(key)
            entry = self.books.entry(job.id)
            assert self.files.write(job, pool=key.name, entry=entry)
            self.books.add(Task(job.id, str(job.folder), key.name, entry))
        return Key.of(jobs[0]).name

    def pilot(
        self, pool: str, job: str = "1000", *, restart: int = 0, **more: Any
    ) -> subprocess.Popen[str]:
        """Start a pilot; what is in capitals goes into its environment, the rest into its config."""
        env = {n: more.pop(n) for n in list(more) if n.isupper()}
        env |= {"PATH": os.environ["PATH"], "SLURM_JOB_ID": job, "SLURMD_NODENAME": f"node-{job}"}
        if restart:
            env["SLURM_RESTART_COUNT"] = str(restart)
        config = {"slots": 1, "seconds": 3600, "linger": 0.0, "need": [1, 256 << 20, 0], **more}
        found = subprocess.Popen(
            boot.command("pilot", str(self.state), pool, config),
            env=env, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pilots.append(found)
        return found

    def fly(self, pool: str, job: str = "1000", **more: Any) -> list[list[Any]]:
        """Run a pilot to its end: what it told."""
        found = self.pilot(pool, job, **more)
        _, errors = found.communicate(timeout=PATIENCE)
        assert (found.returncode, errors) == (0, "")
        return self.events(job)

    def events(self, job: str = "1000") -> list[list[Any]]:
        path = self.state / pilot.EVENTS / job
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def started(self, job: str = "1000") -> list[str]:
        """The tasks that a batch job has taken, in order."""
        return [words[1] for words in self.events(job) if words[0] == "started"]

    def waits(self, job: Job) -> bool:
        """Whether a job still lies in its pool."""
        return any((self.state / pilot.POOLS / Key.of(job).name).glob(f"*.{job.id}"))

    @staticmethod
    def exit(job: Job) -> dict[str, Any] | None:
        return files.read_exit(str(job.folder))

    def close(self) -> None:
        for found in self.pilots:
            found.kill()
            found.communicate()
        self.end()
