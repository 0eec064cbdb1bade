"""The state folder of an executor, on the shared disk: its name for Slurm, and what its faults mean."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ayni.agent import disks
from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.supervisor import files

P = ParamSpec("P")
R = TypeVar("R")


def job_prefix(state: Path) -> str:
    """How the names of a state folder's batch jobs begin, for as long as the folder lasts."""
    path = str(state / "tag.json")
    if files.read_json(path) is None:
        state.mkdir(parents=True, exist_ok=True)
        files.write_json(path, secrets.token_hex(3))
    return f"ayni-{files.read_json(path)}-"


def on_shared_disk(method: Callable[P, R]) -> Callable[P, R]:
    """A shared disk that is full or away is a site that cannot be asked now, and decides nothing."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            said = f"the site's shared disk cannot be used: {error}"
            raise ExecutorUnavailable(said, disks.fault(disks.SHARED, error)) from error

    return guarded
