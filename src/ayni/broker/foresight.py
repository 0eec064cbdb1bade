"""When one more task would start in a partition, and how that is known.

Four sources: there is room now; the site's scheduler said; tasks of this size waited so long lately;
the network's own queue there was counted. What a site says of one size also tells something of others:
whoever asks no more of anything starts no later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ayni.tes.size import Size


class Source(StrEnum):
    """How a start is known."""

    FREE = "free"  # there is room now
    SCHEDULER = "scheduler"  # the site's scheduler expects it then
    HISTORY = "history"  # tasks waited so long there lately
    QUEUE = "queue"  # the network's tasks before it, times how long they take


class Start(NamedTuple):
    """An expected start, in seconds from now."""

    seconds: float
    by: Source


@dataclass(frozen=True, slots=True)
class Told:
    """What a site's scheduler says of a task of some size: seconds from now."""

    seconds: float
    at_least: bool = False  # not sooner, perhaps later: it does not count all that waits before it


_UNASKED = Told(-1.0)


@dataclass(frozen=True, slots=True)
class Foresight:
    """What is known beforehand of starts in one partition.

    Attributes:
        told: by the site's scheduler.
        waited: seconds that tasks had to wait lately where there was no room, by size.
        at_once: seconds that tasks took to start lately where there was room: the site's way to a start.
    """

    told: Mapping[Size, Told] = field(default_factory=dict)
    waited: Mapping[Size, float] = field(default_factory=dict)
    at_once: float = 0.0
    _meant: dict[Size, Told | None] = field(default_factory=dict, repr=False, compare=False)

    def of_scheduler(self, size: Size) -> Told | None:
        """What the scheduler's word means for a task of this size; None if it says nothing of it.

        Its own size's word if there is one; else it starts no sooner than smaller ones, and if of none
        of these anything is known, no later than larger ones.
        """
        meant = self._meant.get(size, _UNASKED)
        if meant is _UNASKED:
            meant = self._meant[size] = self._mean(size)
        return meant

    @property
    def by_size(self) -> bool:
        """Whether anything is known by size."""
        return bool(self.told or self.waited)

    def _mean(self, size: Size) -> Told | None:
        if (exact := self.told.get(size)) is not None:
            return exact
        smaller = [told for other, told in self.told.items() if other.within(size)]
        if smaller:
            return Told(max(told.seconds for told in smaller), at_least=True)
        larger = [told for other, told in self.told.items() if size.within(other)]
        return min(larger, key=lambda told: told.seconds, default=None)


UNKNOWN = Foresight()


def expected(
    known: Foresight, size: Size | None, *, free: bool, counted: float, lately: float
) -> Start:
    """When one more task of this size would start.

    All that is known tells of a part of what is in the way, so the longest holds. The counted queue knows
    nothing of what others have waiting, the learnt one nothing of what has just been placed. The scheduler
    knows both, so what was learnt counts no more where it has spoken.

    Args:
        known: beforehand.
        size: the task's; None where nothing is known by size.
        free: whether there is room for it now, as far as is counted.
        counted: seconds until the network's own queue there has passed, if there is no room.
        lately: seconds that tasks of any size waited there, where nothing is known of this one.
    """
    told = None if size is None else known.of_scheduler(size)
    start = Start(known.at_once, Source.FREE) if free else Start(counted, Source.QUEUE)
    if told is not None and told.seconds > start.seconds:
        start = Start(told.seconds, Source.SCHEDULER)
    if free:
        return start
    learnt = known.at_once
    if told is None or told.at_least:
        learnt = max(learnt, lately if size is None else known.waited.get(size, lately))
    return Start(learnt, Source.HISTORY) if learnt > start.seconds else start
