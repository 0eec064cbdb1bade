"""Where one more task would start, and when: what is expected of every site, the soonest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ayni.broker.eligible import judge
from ayni.broker.foresight import Start
from ayni.broker.place import time_to_move
from ayni.broker.room import rooms_of, service_guess
from ayni.broker.types import Group, Settings, Site


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of one site; without a partition nothing is, since it cannot have the task."""

    site: str
    partition: str | None = None
    start: Start | None = None
    move: float = 0.0  # seconds until the inputs have come

    @property
    def start_in(self) -> float:
        """Seconds until the task's commands run there."""
        return self.start.seconds + self.move if self.start else float("inf")


def outlook(group: Group, sites: Sequence[Site], settings: Settings) -> list[Outlook]:
    """Look at all sites. Room for more than what is there now is not asked for: a task may wait."""
    rooms = rooms_of(sites)
    service = group.service or service_guess(group.shape)
    answer = []
    for site in sites:
        starts = [
            (rooms[site.name, p.name].start(group.shape, service), p.name)
            for p in judge(site, group, settings).partitions
        ]
        if starts:
            start, name = min(starts, key=lambda pair: (pair[0].seconds, pair[1]))
            answer.append(Outlook(site.name, name, start, time_to_move(group, site)))
        else:
            answer.append(Outlook(site.name))
    return sorted(answer, key=lambda one: (one.start_in, one.site))
