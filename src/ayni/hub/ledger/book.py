"""Booking what attempts consumed, once each, whatever is told twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ayni.hub.calls.models import Project
from ayni.hub.network import bulk
from ayni.hub.network.peer import Peer
from ayni.protocol.messages import UsageReport

_INSERT = """
INSERT INTO ledger_usagerecord
    (attempt_id, project_id, site_id, giver_id, receiver_id, job, cores, nodes, gpus, wall, cpu,
     core_seconds, peak_memory, queue_wait, ended, superseded)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (attempt_id) DO NOTHING
"""
_INT = (1 << 31) - 1
_BIGINT = (1 << 63) - 1
_YEARS = 10 * 366 * 86400.0  # no attempt lasts longer


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt's usage as its site reported it."""

    attempt: int
    project: int
    usage: UsageReport
    ended: datetime
    superseded: bool = False


def book(site: Peer, entries: Sequence[Entry]) -> None:
    """Book the entries; those booked already stay as they are. Numbers out of range are cut."""
    if not entries:
        return
    receivers = dict(
        Project.objects.filter(id__in={e.project for e in entries}).values_list(
            "id", "institution__member_id"
        )
    )
    bulk.execute(_INSERT, [_row(site.id, site.member, receivers[e.project], e) for e in entries])


def _row(site: int, giver: str, receiver: str, entry: Entry) -> list[object]:
    u = entry.usage
    cores, wall = _whole(u.cores, _INT), _span(u.wall)
    return [
        entry.attempt,
        entry.project,
        site,
        giver,
        receiver,
        u.job[:100],
        cores,
        _whole(u.nodes, _INT),
        _whole(u.gpus, _INT),
        wall,
        _span(u.cpu, _YEARS * max(1, cores)),
        cores * wall,
        _whole(u.peak_memory, _BIGINT),
        _span(u.queue_wait),
        entry.ended,
        entry.superseded,
    ]


def _whole(value: int, limit: int) -> int:
    return max(0, min(value, limit))


def _span(seconds: float, limit: float = _YEARS) -> float:
    return max(0.0, min(seconds, limit)) if math.isfinite(seconds) else 0.0
