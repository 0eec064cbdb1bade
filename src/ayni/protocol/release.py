"""What may leave a task that read a dataset: pure rules.

A dataset's release is *nothing*, *aggregate* (a few bytes a task) or *anything*. The strictest of
those that a task read holds for all of the task. What a task sends by channels while it runs counts
against the same limit; where the dataset's card names channels, only those carry anything, up to a limit
of their own, and outputs and logs stay under the release. What is not covered by it, since it cannot be
held back without hiding the task itself: states, times, exit codes and usage.

The hub judges by the catalogue's card when a task is made, the site by its own card before a task runs and
when it has ended: the site's is the last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from ayni.protocol.channels import admitted

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

    @property
    def channels(self) -> Sequence[str]: ...

    @property
    def channel_limit(self) -> int: ...

    @property
    def inner_network(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """What one dataset lets through while a task runs: bytes by channels, and a network between nodes.

    `channels` are patterns of PROJECT/CHANNEL; none: any channel, and the limit is that of outputs
    and logs too. `inner`: a task over several nodes may have the network between them, since the site
    says that its nodes reach nothing outside.
    """

    dataset: str
    channels: tuple[str, ...] = ()
    limit: int = 0
    inner: bool = False

    def allows(self, channel: str) -> int:
        named = not self.channels or admitted(self.channels, *channel.split("/", 1))
        return self.limit if named else 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one task. `limit` in bytes, for aggregates; `dataset` is the strictest one.
    `gates` of all its restricted datasets bound what it says on channels."""

    release: Release = Release.ANYTHING
    limit: int = 0
    dataset: str = ""
    gates: tuple[Gate, ...] = ()

    @property
    def free(self) -> bool:
        return self.release is Release.ANYTHING

    @property
    def inner(self) -> bool:
        """Whether a task over several nodes may have the network between them."""
        return self.free or (bool(self.gates) and all(gate.inner for gate in self.gates))

    @property
    def shares(self) -> bool:
        """Whether what is sent by channels counts together with outputs and logs."""
        return any(not gate.channels for gate in self.gates)

    def narrowest(self, channel: str) -> Gate | None:
        """The gate (with the limit that holds) which a message on PROJECT/CHANNEL must pass; None: any
        may leave."""
        if self.free:
            return None
        found = [replace(gate, limit=gate.allows(channel)) for gate in self.gates]
        return min(found, key=lambda gate: gate.limit, default=Gate(self.dataset))

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
    given = list(rules)
    if not given:
        return FREE
    gates = dict.fromkeys(gate for rule in given for gate in rule.gates)
    return replace(min(given, key=_strictness), gates=tuple(gates))


def from_json(kept: Mapping[str, Any]) -> Rule:
    """A rule of which `asdict` was kept.

    Raises:
        KeyError, TypeError, ValueError: it was something else.
    """
    gates = tuple(
        Gate(g["dataset"], tuple(g["channels"]), g["limit"], g.get("inner", False))
        for g in kept.get("gates", ())
    )
    return Rule(Release(kept["release"]), kept["limit"], kept["dataset"], gates)


def rule_of(use: Use) -> Rule:
    """The rule that a dataset brings. A release that is not known counts as nothing."""
    known = use.release in Release.__members__.values()
    release = Release(use.release) if known else Release.NOTHING
    if release is Release.AGGREGATE and use.release_limit <= 0:
        release = Release.NOTHING
    limit = use.release_limit if release is Release.AGGREGATE else 0
    if release is Release.ANYTHING:
        return FREE
    channels = tuple(use.channels)
    by_channels = max(0, use.channel_limit) if channels else limit
    gate = Gate(use.name, channels, by_channels, use.inner_network)
    return Rule(release, limit, use.name, (gate,))


_ORDER = tuple(Release)


def _strictness(rule: Rule) -> tuple[int, int]:
    return _ORDER.index(rule.release), rule.limit


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A field of a task that its datasets do not allow; the message holds the remedy."""

    field: str
    message: str


def forbidden(
    rule: Rule, *, outputs: int, network: bool, nodes: int = 1, sends: Iterable[str] = ()
) -> Forbidden | None:
    """What a task asks for that it cannot have: outputs where nothing may leave, a network by which
    anything could, or a channel (PROJECT/CHANNEL) that does not let its data out. Known before it
    runs, so that it need not run for nothing."""
    if rule.free:
        return None
    if network and not (nodes > 1 and rule.inner):
        strictest = next((gate.dataset for gate in rule.gates if not gate.inner), rule.dataset)
        remedy = (
            "take it out, or ask the site whether its nodes reach nothing outside: then its card may "
            "say inner_network"
            if nodes > 1
            else "take it out"
        )
        return Forbidden(
            "resources.backend_parameters.network",
            f"a task that reads dataset {strictest} (release {rule.release}) gets no network; {remedy}",
        )
    for channel in sends:
        gate = rule.narrowest(channel)
        if gate is not None and gate.limit <= 0:
            lets = f"leave by {', '.join(gate.channels)} only" if gate.channels else "nothing leave"
            return Forbidden(
                "resources.backend_parameters.channels",
                f"dataset {gate.dataset} lets {lets}: a task that reads it may only read "
                f"{channel}; write {channel.partition('/')[2]}:in",
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
    total += sent if rule.shares else 0
    if rule.release is Release.NOTHING:
        return f"dataset {rule.dataset} lets nothing leave: outputs and logs stay at the site"
    if total > rule.limit:
        what = (
            ", their names and logs, and what was sent by channels,"
            if sent and rule.shares
            else (", their names and logs")
        )
        return (
            f"dataset {rule.dataset} lets at most {rule.limit} bytes of a task leave, and outputs"
            f"{what} are more: write less, also to stdout and stderr"
        )
    return None
