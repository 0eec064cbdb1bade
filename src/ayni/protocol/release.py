"""What may leave a task that read a dataset: pure rules.

A dataset's release is *nothing*, *aggregate* (a few bytes a task) or *anything*. The strictest of
those that a task read holds for all of the task. What is not covered by it, since it cannot be
held back without hiding the task itself: states, times, exit codes and usage.

The hub judges by the catalogue's card when a task is made, the site by its own card before a task runs and
when it has ended: the site's is the last word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

CODE = "release"


class Release(StrEnum):
    NOTHING = "nothing"
    AGGREGATE = "aggregate"
    ANYTHING = "anything"


class Use(Protocol):
    """A dataset that a task reads: `protocol.messages.DatasetUse` and `DatasetStatus` fit."""

    name: str
    release: str
    release_limit: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one task. `limit` in bytes, for aggregates; `dataset` is the strictest one."""

    release: Release = Release.ANYTHING
    limit: int = 0
    dataset: str = ""

    @property
    def free(self) -> bool:
        return self.release is Release.ANYTHING

    @property
    def live_tails(self) -> bool:
        """Whether logs may be shown while the task runs."""
        return self.free

    @property
    def names_in_words(self) -> bool:
        """Whether lines for people may hold names that the task chose (of its files, say)."""
        return self.free


FREE = Rule()
CLOSED = Rule(Release.NOTHING)


def strictest(rules: Iterable[Rule]) -> Rule:
    """The rule that holds where all of these do."""
    return min(rules, key=_strictness, default=FREE)


def rule_of(use: Use) -> Rule:
    """The rule that a dataset brings. A release that is not known counts as nothing."""
    known = use.release in Release.__members__.values()
    release = Release(use.release) if known else Release.NOTHING
    if release is Release.AGGREGATE and use.release_limit <= 0:
        release = Release.NOTHING
    limit = use.release_limit if release is Release.AGGREGATE else 0
    return Rule(release, limit, "" if release is Release.ANYTHING else use.name)


_ORDER = tuple(Release)


def _strictness(rule: Rule) -> tuple[int, int]:
    return _ORDER.index(rule.release), rule.limit


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A field of a task that its datasets do not allow; the message holds the remedy."""

    field: str
    message: str


def forbidden(rule: Rule, *, outputs: int, network: bool, sends: bool = False) -> Forbidden | None:
    """What a task asks for that it cannot have: outputs where nothing may leave, or a network by which
    anything could. Known before it runs, so that it need not run for nothing."""
    if rule.free:
        return None
    if network:
        return Forbidden(
            "resources.backend_parameters.network",
            f"a task that reads dataset {rule.dataset} (release {rule.release}) gets no network; "
            "take it out",
        )
    if rule.release is Release.NOTHING and sends:
        return Forbidden(
            "resources.backend_parameters.channels",
            f"dataset {rule.dataset} lets nothing leave: a task that reads it may only read "
            "channels; write NAME:in",
        )
    if rule.release is Release.NOTHING and outputs:
        return Forbidden(
            "outputs[0].url",
            f"dataset {rule.dataset} lets nothing leave: a task that reads it may have no outputs; "
            "take them out",
        )
    return None


def size_of(name: str, size: int) -> int:
    """What one file counts: its bytes and those of its name, which the task may have chosen."""
    return size + len(name.encode("utf-8", "surrogateescape"))


def over(
    rule: Rule, outputs: Iterable[tuple[str, int]], logs: Iterable[int], sent: int = 0
) -> str | None:
    """Why outputs (name and size) and logs (size) may not leave together, or None if they may.

    Args:
        sent: bytes that the task has sent by channels already.
    """
    if rule.free:
        return None
    total = sum(size_of(name, size) for name, size in outputs) + sum(logs)
    if total == 0:
        return None
    total += sent
    if rule.release is Release.NOTHING:
        return f"dataset {rule.dataset} lets nothing leave: outputs and logs stay at the site"
    if total > rule.limit:
        return (
            f"dataset {rule.dataset} lets at most {rule.limit} bytes of a task leave, and outputs, "
            f"their names and logs{' and what was sent by channels' if sent else ''} are more: "
            "write less, also to stdout and stderr"
        )
    return None
