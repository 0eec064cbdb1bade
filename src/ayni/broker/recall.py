"""Which waiting attempts to ask back from a busy site, since another could start them now."""

from __future__ import annotations

from collections.abc import Sequence

from ayni.broker.eligible import Eligibility
from ayni.broker.jury import Jury
from ayni.broker.place import time_to_move
from ayni.broker.room import Room, rooms_of, service_guess
from ayni.broker.types import Recall, Settings, Site, Waiting


def recall(
    waiting: Sequence[Waiting], sites: Sequence[Site], now: float, settings: Settings
) -> list[Recall]:
    """Decide what to ask back. Room must be counted after a cycle's placing, which comes first.

    A site that drains, or must not have them any more, is asked for all of them; a busy one only for
    as many as others could start at once, much sooner, after `recall_after` seconds of waiting.
    """
    sites = sorted(sites, key=lambda s: s.name)
    rooms = rooms_of(sites)
    jury = Jury(sites, settings)
    answer = []
    for w in sorted(waiting, key=lambda w: (w.since, w.group.id, w.site, w.partition)):
        said = list(zip(sites, jury.judge(w.group).sites, strict=True))
        here = rooms.get((w.site, w.partition))
        reason = next(e.reason for site, e in said if site.name == w.site)
        if reason is not None and reason.code not in ("silent", "hours", "ill", "never"):
            answer.append(Recall(w.group.id, w.site, w.partition, w.count, None))
            continue
        if here is None or not here.backlog or now - w.since < settings.recall_after:
            continue
        answer += _to_better(w, here, rooms, settings, said)
    return answer


def _to_better(
    w: Waiting,
    here: Room,
    rooms: dict[tuple[str, str], Room],
    settings: Settings,
    said: Sequence[tuple[Site, Eligibility]],
) -> list[Recall]:
    shape, service = w.group.shape, w.group.service or service_guess(w.group.shape)
    stay = here.start_in(shape, service)
    left = min(w.count, here.backlog)
    answer = []
    for site, eligibility in said:
        if site.name == w.site:
            continue
        for partition in eligibility.partitions:
            there = rooms[site.name, partition.name]
            move = there.start_in(shape, service) + time_to_move(w.group, site)
            sooner = move * settings.hold_gain < stay and stay - move >= settings.least_gain
            count = min(left, there.fits(shape), there.of_shape(shape)) if sooner else 0
            if count:
                there.take(shape, count)
                left -= count
                here.backlog -= count
                answer.append(Recall(w.group.id, w.site, w.partition, count, site.name))
    return answer
