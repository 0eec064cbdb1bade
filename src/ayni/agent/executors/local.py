"""The local executor: jobs as processes of this machine. The embedded default, not a scheduler.

It writes each job's plan to a file and tells the spawner, which goes on while the agent is down.
What is known of a job is in files (see `supervisor.files`), so a new executor on the same state
folder takes over.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ayni.agent import disks
from ayni.agent.executors.base import (
    Allocation,
    ExecutorUnavailable,
    Fault,
    Job,
    JobState,
    JobStatus,
    PartitionInfo,
)
from ayni.agent.executors.jobfiles import JobFiles, excess
from ayni.agent.executors.jobfiles import status as as_status
from ayni.agent.executors.spawner_client import SpawnerClient
from ayni.agent.runtimes.base import Finding, ImageSpec, PlanError, Runtime
from ayni.agent.runtimes.choose import runtimes
from ayni.agent.supervisor import cgroup, files

_DAY = 86400
# A job's states in order: it is never told that one of them went back.
_ORDER: dict[JobState | None, int] = {
    JobState.UNKNOWN: -1,
    JobState.PENDING: 0,
    JobState.RUNNING: 1,
    JobState.ENDED: 2,
    JobState.LOST: 2,
}


class LocalExecutor:
    """Runs jobs on this machine, first come, first served, within its cores, memory and GPUs."""

    def __init__(
        self,
        state: Path,
        cores: int,
        memory: int,
        gpus: int = 0,
        images: Mapping[str, ImageSpec] | None = None,
        allow_unsandboxed: bool = False,
        max_walltime: int = 7 * _DAY,
        pin: bool = False,
        host_runtime: Runtime | None = None,
    ) -> None:
        """Open, or take over, a state folder.

        Args:
            state: a folder on a local disk, for this executor alone.
            cores: how many cores jobs may hold together.
            memory: how much memory, in bytes.
            gpus: how many GPUs.
            images: what each image name means; `host` alone if not given.
            allow_unsandboxed: run without isolation where none works.
            max_walltime: the longest a job may ask for, in seconds.
            pin: tie each job to as many of the machine's cores as it asked for.
            host_runtime: run the images of runtime `host` so, instead of as works best.

        Raises:
            NoSandbox: nothing here can isolate a job, and that was not allowed.
        """
        self._state = state.absolute()
        self._state.mkdir(parents=True, exist_ok=True)
        self._shape = (cores, memory, gpus)
        self._max_walltime = max_walltime
        images = dict(images or {"host": ImageSpec()})
        names = {image.runtime for image in images.values()}
        if host_runtime is not None:
            names.discard("host")
        found, self.findings = runtimes(self._state, names, allow_unsandboxed=allow_unsandboxed)
        if host_runtime is not None:
            found["host"] = host_runtime
        self._files = JobFiles(self._state, images, found)
        group = cgroup.own_path()
        config = {
            "cores": cores,
            "memory": memory,
            "gpus": gpus,
            "pin": pin,
            "cgroup": None if cgroup.missing(group) else group,
        }
        self._client = SpawnerClient(self._state, config)
        self._heard_from = 0
        self._told: dict[str, JobState] = {}
        self._host = socket.gethostname()

    findings: Sequence[Finding]

    def partitions(self) -> Sequence[PartitionInfo]:
        cores, memory, gpus = self._shape
        count = self._client.count()
        return [
            PartitionInfo(
                name="local",
                nodes=1,
                cores_per_node=cores,
                memory_per_node=memory,
                gpus_per_node=gpus,
                max_walltime=self._max_walltime,
                free_cores=count["free_cores"],
                free_memory=count["free_memory"],
                free_gpus=count["free_gpus"],
                pending=count["waiting"],
            )
        ]

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str]:
        refused: dict[str, str] = {}
        known: list[tuple[str, str, tuple[int, int, int]]] = []
        for job in jobs:
            try:
                if (why := self._excess(job)) is not None:
                    raise PlanError(why)
                self._files.write(job)
            except PlanError as error:
                refused[job.id] = str(error)
            except OSError as error:
                said = f"the executor's folder cannot be used: {error}"
                raise ExecutorUnavailable(said, disks.fault(disks.STATE, error)) from error
            else:
                need = (job.limits.cores, job.limits.memory, job.gpus)
                known.append((job.id, str(job.folder), need))
        if known:
            self._client.submit(known)
        return refused

    def _excess(self, job: Job) -> str | None:
        cores, memory, gpus = self._shape
        most = {"cores": cores, "memory": memory, "gpus": gpus, "nodes": 1}
        return next(excess(job, {**most, "walltime": self._max_walltime}), None)

    def poll(self) -> Sequence[JobStatus]:
        changes = self._client.poll()
        if self._heard_from != self._client.connections:
            # A new spawner, or a first call: what was said before now may not have reached us.
            self._heard_from = self._client.connections
            return self._catch_up(changes)
        return self._news(changes)

    def _news(self, changes: dict[str, Any]) -> list[JobStatus]:
        found = [
            JobStatus(job_id, JobState.RUNNING, started=started, host=self._host)
            for job_id, started in changes["running"].items()
        ]
        found += [self._ended(job_id, status) for job_id, status in changes["ended"].items()]
        return self._not_yet_told(found)

    def _catch_up(self, changes: dict[str, Any]) -> list[JobStatus]:
        ids = self._files.ids()
        decided = {job_id: status for job_id, status in changes["ended"].items() if status}
        known = list(self.states(ids - set(decided)).values())
        return self._not_yet_told(known) + self._news(changes)

    def _not_yet_told(self, statuses: list[JobStatus]) -> list[JobStatus]:
        fresh = []
        for status in statuses:
            if _ORDER[status.state] > _ORDER.get(self._told.get(status.id), -1):
                self._told[status.id] = status.state
                fresh.append(status)
        return fresh

    def states(self, ids: Collection[str]) -> Mapping[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        for job_id in ids:
            spec = self._files.read(job_id)
            if spec is not None:
                found[job_id] = self._state_of(job_id, spec["folder"])
        return found

    def _state_of(self, job_id: str, folder: str) -> JobStatus:
        ended = files.read_exit(folder)
        if ended is not None:
            return self._as_told(ended)
        process = files.claimed_by(folder)
        if process is None:
            return JobStatus(job_id, JobState.PENDING)
        if files.is_alive(process):
            return JobStatus(job_id, JobState.RUNNING, host=self._host)
        # It may have ended since we looked; if not, the spawner is about to decide.
        ended = files.read_exit(folder)
        return self._as_told(ended) if ended else JobStatus(job_id, JobState.UNKNOWN)

    def _ended(self, job_id: str, status: dict[str, Any] | None) -> JobStatus:
        if status is None:
            spec = self._files.read(job_id)
            status = None if spec is None else files.read_exit(spec["folder"])
        if status is None:
            return JobStatus(job_id, JobState.LOST, message="its folder is gone")
        return self._as_told(status)

    def _as_told(self, ended: dict[str, Any]) -> JobStatus:
        """From an exit file; the spawner writes a lost job's once it has seen the last process go."""
        return replace(as_status(ended, self._host), gone=True)

    def cancel(self, ids: Collection[str]) -> None:
        if ids:
            self._client.cancel(ids)

    def forget(self, ids: Collection[str]) -> None:
        if ids:
            self._client.forget(ids)
            for job_id in ids:
                self._told.pop(job_id, None)

    def is_idle(self) -> bool:
        return True

    def allocations(self) -> Mapping[str, Allocation]:
        return {}  # a job's own measurements are the accounts

    def booked(self, ids: Collection[str]) -> None:
        """There are none."""

    def faults(self) -> Sequence[Fault]:
        return ()  # what is ill with this machine keeps the calls from being answered

    def close(self) -> None:
        self._client.close()

    def shutdown(self, patience: float = 30.0) -> None:
        """Cancel all jobs, wait for their end and let the spawner go: for tests and demos.

        Raises:
            ExecutorUnavailable: some jobs did not end in time.
        """
        self.cancel(self._files.ids())
        until = time.monotonic() + patience
        while (count := self._client.count())["running"] or count["waiting"]:
            if time.monotonic() > until:
                raise ExecutorUnavailable(f"{count['running']} jobs did not end in {patience} s")
            time.sleep(0.02)
        self._client.leave()
