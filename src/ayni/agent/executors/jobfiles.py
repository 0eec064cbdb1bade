"""The jobs of an executor as files: `STATE/jobs/ID.json`, as supervisors read them."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ayni.agent.executors.base import CommandResult, EndReason, Job, JobState, JobStatus, Usage
from ayni.agent.runtimes.base import ImageSpec, PlanError, Runtime, plan_as_json
from ayni.agent.supervisor import files, sharing

#: Of the disk, and not of what the job has put there.
_PASSING = frozenset({
    errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.ENOTCONN, errno.EROFS, errno.ESTALE,
    errno.ETIMEDOUT,
})  # fmt: skip
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


class JobFiles:
    """Writes and finds them."""

    def __init__(
        self,
        state: Path,
        images: Mapping[str, ImageSpec],
        runtimes: Mapping[str, Runtime],
        group: int | None = None,
    ) -> None:
        """Open a state folder.

        Args:
            state: the executor's.
            images: what each image name means.
            runtimes: by name, what runs them.
            group: of the local user who runs the jobs, where that is not the agent's own; the state
                folder is shared with it.
        """
        self._group = group
        self._state = state
        self._images = images
        self._runtimes = runtimes
        (state / "jobs").mkdir(parents=True, exist_ok=True)
        if group is None:
            state.chmod(0o700)

    def path(self, job_id: str) -> Path:
        return Path(files.job_file(str(self._state), job_id))

    def ids(self) -> set[str]:
        return {path.stem for path in (self._state / "jobs").glob("*.json")}

    def read(self, job_id: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = files.read_json(str(self.path(job_id)))
        return found

    def write(self, job: Job, **more: Any) -> bool:
        """Note a job, once; False if it was noted before.

        Args:
            job: prepared.
            more: what else the executor wants to know of it after a restart.

        Raises:
            PlanError: it cannot run here.
            OSError: the disk is full or away: nothing is noted, and it may be tried again.
        """
        if not _ID.fullmatch(job.id):
            raise PlanError(f"job id {job.id!r}: only a-z, 0-9 and '-' are allowed")
        path = self.path(job.id)
        if path.exists():
            return False
        path.parent.stat()  # where it is gone so is the job's folder: that is not the job's fault
        self._check(job)
        image = self._images[job.image]
        try:
            plan = self._runtimes[image.runtime].plan(image, job)
            if self._group is not None:
                sharing.hand_over(str(job.folder), self._group)
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise PlanError(f"the job's folder cannot be used: {error}") from error
        except RecursionError as error:
            raise PlanError("the paths of its inputs are too deep for this site") from error
        files.write_json(str(path), {**plan_as_json(job, plan, time.time()), **more})
        return True

    def _check(self, job: Job) -> None:
        limits = job.limits
        if limits.cores < 1 or limits.memory < 1 or limits.walltime < 1:
            raise PlanError("cores, memory and walltime must be at least 1")
        if job.image not in self._images:
            raise PlanError(f"image {job.image!r} is not known at this site")
        if not job.commands:
            raise PlanError("a job needs at least one command")
        if not (job.folder / "root").is_dir():
            raise PlanError(f"the job's folder has no 'root': {job.folder}")
        for index, command in enumerate(job.commands):
            if not command.argv or not command.argv[0]:
                raise PlanError(f"command {index} is empty")
            _check_texts(f"command {index}", (*command.argv, *_named(command.env)))
            paths = (command.workdir, command.stdin, command.stdout, command.stderr)
            _check_texts(f"command {index}", tuple(path for path in paths if path))


def _named(env: Mapping[str, str]) -> tuple[str, ...]:
    for name in env:
        if not name or "=" in name:
            raise PlanError(f"env {name!r} is not a name of a variable")
    return (*env, *env.values())


def _check_texts(what: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        if "\0" in text:
            raise PlanError(f"{what}: {text[:40]!r} has a NUL character")
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise PlanError(f"{what}: {text[:40]!r} is not valid Unicode") from error


def excess(job: Job, most: Mapping[str, int]) -> Iterator[str]:
    """What of a job is more than there ever is: cores, memory, gpus, walltime, nodes."""
    limits = job.limits
    for name, asked in (
        ("cores", limits.cores),
        ("memory", limits.memory),
        ("gpus", job.gpus),
        ("walltime", limits.walltime),
        ("nodes", job.nodes),
    ):
        if asked > most[name]:
            yield f"{name}: {asked} asked for, this site has {most[name]}"


def status(found: dict[str, Any], host: str) -> JobStatus:
    """An exit file as the agent is told of it."""
    usage = found["usage"]
    return JobStatus(
        id=found["id"],
        state=JobState(found["state"]),
        started=found["started"],
        ended=found["ended"],
        results=tuple(CommandResult(**result) for result in found["results"]),
        reason=None if found["reason"] is None else EndReason(found["reason"]),
        message=found["message"],
        usage=None if usage is None else Usage(**usage),
        host=host,
    )
