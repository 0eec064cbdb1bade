"""Which waiting attempts to ask back from a busy site, since another could start them now."""

from __future__ import annotations

from collections.abc import Sequence

from ayni.broker.jury import Jury, Verdicts, members
from ayni.broker.place import time_to_move
from ayni.broker.room import Room, rooms_of, service_guess
from ayni.broker.types import Recall, Settings, Site, Waiting


def recall(
    waiting: Sequence[Waiting], sites: Sequence[Site], now: float, settings: Settings
) -> list[Recall]:
    """Decide what to ask back. Room must be counted after a cycle's placing, which comes first.

    A site that drains, or must not have them any more, is asked for all of them; a busy one only for
    as many as others could start at once, much sooner, after `recall_after` seconds of waiting. One whose
    operator has yet to accept a charter is asked for as many as sites could start that have accepted it.
    """
    sites = sorted(sites, key=lambda s: s.name)
    number = {site.name: n for n, site in enumerate(sites)}
    rooms = rooms_of(sites)
    numbered = list(rooms.values())  # as the jury numbers them
    jury = Jury(sites, settings)
    judged: dict[int, Verdicts] = {}
    answer = []
    for w in sorted(waiting, key=lambda w: (w.since, w.group.id, w.site, w.partition)):
        said = judged.get(w.group.id)
        if said is None:
            said = judged[w.group.id] = jury.judge(w.group)
        here = rooms.get((w.site, w.partition))
        reason = said.sites[number[w.site]].reason
        if reason is not None and reason.code not in ("silent", "hours", "ill", "never"):
            answer.append(Recall(w.group.id, w.site, w.partition, w.count, None))
            continue
        if here is None or now - w.since < settings.recall_after:
            continue
        others = [numbered[n] for n in members(said.partitions)]
        others = [room for room in others if room.site.name != w.site]
        if w.site in w.group.awaiting:
            answer += _to_accepted(w, [r for r in others if r.site.name not in w.group.awaiting])
        elif here.backlog:
            answer += _to_better(w, here, others, settings)
    return answer


def _to_accepted(w: Waiting, others: Sequence[Room]) -> list[Recall]:
    """What waits for an operator starts sooner wherever nobody must be asked."""
    left = w.count
    answer = []
    for there in others:
        if count := max(0, min(left, there.fits(w.group.shape), there.of_shape(w.group.shape))):
            there.take(w.group.shape, count)
            left -= count
            answer.append(Recall(w.group.id, w.site, w.partition, count, there.site.name))
    return answer


def _to_better(w: Waiting, here: Room, others: Sequence[Room], settings: Settings) -> list[Recall]:
    shape, service = w.group.shape, w.group.service or service_guess(w.group.shape)
    stay = here.start_in(shape, service)
    left = min(w.count, here.backlog)
    answer = []
    for there in others:
        count = min(left, there.fits(shape), there.of_shape(shape))
        if count <= 0:
            continue
        site = there.site
        move = there.start_in(shape, service) + time_to_move(w.group, site)
        if move * settings.hold_gain < stay and stay - move >= settings.least_gain:
            there.take(shape, count)
            left -= count
            here.give_back(shape, count)
            answer.append(Recall(w.group.id, w.site, w.partition, count, site.name))
    return answer
