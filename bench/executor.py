"""Jobs a second of the local executor alone: `true`, submitted, run, polled and forgotten.

    python bench/executor.py [--jobs N] [--cores N] [--sandbox NAME …] [--folder DIR]

Prints a line to a sandbox: our own namespaces, bubblewrap, none.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ayni.agent.executors.base import Command, Job, JobState
from ayni.agent.executors.local import LocalExecutor
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import ImageSpec, Runtime
from ayni.agent.runtimes.etc import write_etc
from ayni.agent.runtimes.host import BubblewrapRuntime, HostFiles, NamespaceRuntime

BATCH = 250


def runtime(name: str, etc: Path) -> Runtime:
    """A sandbox by its name."""
    files = HostFiles(write_etc(etc))
    return {
        "namespaces": NamespaceRuntime(files),
        "bubblewrap": BubblewrapRuntime(files),
        "none": BareRuntime(),
    }[name]


def prepare(folder: Path, count: int) -> list[Job]:
    """Job folders as staging leaves them."""
    jobs = []
    for number in range(count):
        work = folder / f"{number}"
        (work / "root").mkdir(parents=True)
        jobs.append(Job(f"job-{number}", work, (Command(("true",)),), "host"))
    return jobs


def run(executor: LocalExecutor, jobs: Sequence[Job]) -> float:
    """Run all; the seconds from the first submission to the last end known and forgotten."""
    started = time.perf_counter()
    waiting = {job.id for job in jobs}
    for start in range(0, len(jobs), BATCH):
        refused = executor.submit(jobs[start : start + BATCH])
        assert not refused, refused
    while waiting:
        ended = [s for s in executor.poll() if s.state not in (JobState.PENDING, JobState.RUNNING)]
        for status in ended:
            assert status.state is JobState.ENDED, status
            assert [result.exit_code for result in status.results] == [0], status
        ids = {status.id for status in ended}
        executor.forget(ids)
        waiting -= ids
        time.sleep(0.05)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pin", action="store_true", help="tie jobs to cores")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument(
        "--sandbox", nargs="+", default=["namespaces", "bubblewrap", "none"], metavar="NAME"
    )
    options = parser.parse_args()
    for name in options.sandbox:
        with tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder:
            executor = LocalExecutor(
                Path(folder) / "state", options.cores, 64 << 30, pin=options.pin,
                images={"host": ImageSpec()}, allow_unsandboxed=True,
                host_runtime=runtime(name, Path(folder) / "etc"),
            )  # fmt: skip
            jobs = prepare(Path(folder) / "work", options.jobs)
            seconds = run(executor, jobs)
            executor.shutdown()
        print(f"= executor alone, {name}: {len(jobs) / seconds:.0f} jobs/s ({len(jobs)} jobs)")


if __name__ == "__main__":
    main()
