"""What a check is, and all of them in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ayni.agent import config as configuration
from ayni.agent.config import Config
from ayni.errors import UserError


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # works, but not as well or as safely as it could
    FAIL = "fail"  # keeps the site from working


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `remedy` says what to do if it is not ok."""

    name: str
    level: Level
    message: str
    remedy: str = ""


Checker = Callable[[Config], Iterator[Check]]


def ok(name: str, message: str) -> Check:
    return Check(name, Level.OK, message)


def warn(name: str, message: str, remedy: str) -> Check:
    return Check(name, Level.WARN, message, remedy)


def fail(name: str, message: str, remedy: str) -> Check:
    return Check(name, Level.FAIL, message, remedy)


def examine(path: Path | None) -> Iterator[Check]:
    """Look at everything, in the order in which an operator would mend it."""
    from ayni.agent.doctor import disk, machine, network, slurm

    try:
        found = configuration.find(path)
        config = configuration.load(found)
    except UserError as error:
        yield fail("configuration", str(error), "docs/operators/agent.example.toml shows each key")
        return
    yield ok("configuration", str(found))
    batch = slurm.CHECKS if config.executor.kind == "slurm" else ()
    checkers: tuple[Checker, ...] = (*network.CHECKS, *disk.CHECKS, *batch, *machine.CHECKS)
    for checker in checkers:
        yield from checker(config)
