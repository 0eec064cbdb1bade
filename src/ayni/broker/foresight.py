"""When one more task would start in a partition, and how that is known.

Four sources: there is room now; the site's scheduler said; tasks of this size waited so long lately;
the network's own queue there was counted. What a site says of one size also tells something of others:
whoever asks no more of anything starts no later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ayni.tes.size import Size


class Source(StrEnum):
    """How a start is known."""

    FREE = "free"  # there is room now
    SCHEDULER = "scheduler"  # the site's scheduler expects it then
    HISTORY = "history"  # tasks waited so long there lately
    QUEUE = "queue"  # the network's tasks before it, times how long they take


@dataclass(frozen=True, slots=True)
class Start:
    """An expected start, in seconds from now."""

    seconds: float
    by: Source

    def later(self, other: Start) -> Start:
        return other if other.seconds > self.seconds else self


@dataclass(frozen=True, slots=True)
class Told:
    """What a site's scheduler says of a task of some size: seconds from now."""

    seconds: float
    at_least: bool = False  # not sooner, perhaps later: it does not count all that waits before it


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

    def of_scheduler(self, size: Size) -> Told | None:
        """What the scheduler's word means for a task of this size; None if it says nothing of it.

        Its own size's word if there is one; else it starts no sooner than smaller ones, and if of none
        of these anything is known, no later than larger ones.
        """
        if not self.told:
            return None
        if (exact := self.told.get(size)) is not None:
            return exact
        smaller = [told for other, told in self.told.items() if other.within(size)]
        if smaller:
            return Told(max(told.seconds for told in smaller), at_least=True)
        larger = [told for other, told in self.told.items() if size.within(other)]
        return min(larger, key=lambda told: told.seconds, default=None)


UNKNOWN = Foresight()


def expected(known: Foresight, size: Size, *, free: bool, counted: float, lately: float) -> Start:
    """When one more task of this size would start.

    Args:
        known: beforehand.
        size: the task's.
        free: whether there is room for it now, as far as is counted.
        counted: seconds until the network's own queue there has passed, if there is no room.
        lately: seconds that tasks of any size waited there, where nothing is known of this one.
    """
    answers = list(_answers(known, size, free, counted, lately))
    start = answers[0]
    for other in answers[1:]:
        start = start.later(other)
    return start


def _answers(
    known: Foresight, size: Size, free: bool, counted: float, lately: float
) -> Iterator[Start]:
    """All that is known: each tells of a part of what is in the way, so the longest holds.

    The counted queue knows nothing of what others have waiting, the learnt one nothing of what has just
    been placed. The scheduler knows both, so what was learnt counts no more where it has spoken.
    """
    told = known.of_scheduler(size)
    yield Start(known.at_once, Source.FREE) if free else Start(counted, Source.QUEUE)
    if told is not None:
        yield Start(told.seconds, Source.SCHEDULER)
    if not free:
        yield Start(known.at_once, Source.HISTORY)
        if told is None or told.at_least:
            yield Start(known.waited.get(size, lately), Source.HISTORY)
