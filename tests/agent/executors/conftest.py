"""A site of one machine: runs jobs for real, and leaves no process behind."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.executors.base import Command, Job, JobState, JobStatus, Limits
from ayni.agent.executors.local import LocalExecutor
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import Runtime
from ayni.agent.runtimes.etc import write_etc
from ayni.agent.runtimes.host import BubblewrapRuntime, HostFiles, NamespaceRuntime
from ayni.agent.supervisor import files, processes

PATIENCE = 30.0
SOON = Limits(memory=256 << 20, walltime=60, grace=0.3, processes=64)


class Site:
    """An executor, and short ways to run jobs on it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.options: dict[str, Any] = {"cores": 4, "memory": 8 << 30, **options}
        self.executor = self.open()
        self._numbers = itertools.count()

    def open(self) -> LocalExecutor:
        return LocalExecutor(self.folder / "state", **self.options)

    def job(self, *argv: str, **changes: Any) -> Job:
        """A job of one command; keywords of a command go there, others to the job."""
        number = next(self._numbers)
        work = self.folder / f"work-{number}"
        (work / "root").mkdir(parents=True)
        names = ("workdir", "env", "stdin", "stdout", "stderr", "ignore_error")
        command = Command(argv, **{n: changes.pop(n) for n in names if n in changes})
        job = Job(
            f"{self.folder.name.lower().replace('_', '-')}-{number}", work, (command,), "host"
        )
        return replace(job, **{"limits": SOON, **changes})

    def submit(self, *jobs: Job) -> None:
        assert self.executor.submit(jobs) == {}

    def run(self, *jobs: Job) -> Any:
        """Run to the end: the status of each, or of the only one."""
        self.submit(*jobs)
        statuses = [self.wait(job) for job in jobs]
        return statuses[0] if len(jobs) == 1 else statuses

    def wait(self, job: Job) -> JobStatus:
        def ended() -> JobStatus | None:
            status = self.executor.states([job.id])[job.id]
            return status if status.state in (JobState.ENDED, JobState.LOST) else None

        status: JobStatus = self.until(ended)
        return status

    @staticmethod
    def until(probe: Callable[[], Any]) -> Any:
        """Wait for something to become true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = probe()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"did not happen in {PATIENCE} s")

    def spawner(self) -> int:
        """The process id of the spawner."""
        return int(self.executor._client._ask({"op": "hello"})["pid"])

    def supervisor(self, job: Job) -> int:
        """The process id of a running job's supervisor."""
        return int(self.until(lambda: files.claimed_by(str(job.folder))).pid)

    @staticmethod
    def out(job: Job, index: int = 0) -> str:
        return (job.folder / "logs" / f"{index}.stdout").read_text(errors="replace")

    @staticmethod
    def err(job: Job, index: int = 0) -> str:
        return (job.folder / "logs" / f"{index}.stderr").read_text(errors="replace")

    def close(self) -> None:
        self.executor.shutdown(PATIENCE)


def _left_behind(folder: Path) -> list[str]:
    """Processes that carry one of a test's jobs' markers."""
    prefix = folder.name.lower().replace("_", "-") + "-"
    return [f"{pid}: {job}" for pid, job in processes.marked() if job.startswith(prefix)]


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    """The ways to run on the host's files that work here."""
    files = HostFiles(write_etc(tmp_path_factory.mktemp("site") / "etc"))
    runtimes: dict[str, Runtime] = {
        "namespaces": NamespaceRuntime(files),
        "bubblewrap": BubblewrapRuntime(files),
        "bare": BareRuntime(),
    }
    works = {name: runtime.findings()[0].works for name, runtime in runtimes.items()}
    return {name: runtimes[name] for name in runtimes if works[name] or name == "bare"}


NewSite = Callable[..., Site]


@pytest.fixture
def new_site(tmp_path: Path, sandboxes: dict[str, Runtime]) -> Iterator[NewSite]:
    """Make a site with options of one's own, on the best sandbox if they name none."""
    sites: list[Site] = []

    def make(sandbox: str = "", **options: Any) -> Site:
        name = sandbox or next(iter(sandboxes))
        if name not in sandboxes:
            pytest.skip(f"{name} does not work on this machine")
        sites.append(Site(tmp_path, host_runtime=sandboxes[name], **options))
        return sites[-1]

    yield make
    for site in sites:
        site.close()
    assert _left_behind(tmp_path) == []


@pytest.fixture
def site(new_site: NewSite) -> Site:
    """A site with whatever sandbox works here."""
    return new_site()


@pytest.fixture
def namespaces(new_site: NewSite) -> Site:
    """A site with our own sandbox."""
    return new_site("namespaces")


@pytest.fixture(params=["namespaces", "bubblewrap"])
def sandboxed(request: pytest.FixtureRequest, new_site: NewSite) -> Site:
    """A site with each sandbox."""
    return new_site(request.param)


@pytest.fixture(params=["namespaces", "bubblewrap", "bare"])
def any_site(request: pytest.FixtureRequest, new_site: NewSite) -> Site:
    """A site with each way to run on the host's files."""
    return new_site(request.param)
