"""Booking what attempts consumed, once each, whatever is told twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ayni.hub.network import bulk
from ayni.hub.network.peer import Peer
from ayni.protocol.messages import UsageReport

_RECEIVERS = """
SELECT p.id, i.member_id FROM calls_project p
JOIN accounts_institution i ON i.id = p.institution_id WHERE {wanted}
"""
_INSERT = bulk.Insert(
    "ledger_usagerecord",
    {
        "attempt_id": "bigint", "project_id": "bigint", "site_id": "bigint", "giver_id": "text",
        "receiver_id": "text", "job": "text", "cores": "integer", "nodes": "integer",
        "gpus": "integer", "wall": "float8", "cpu": "float8", "core_seconds": "float8",
        "node_seconds": "float8", "gpu_seconds": "float8", "memory_seconds": "float8",
        "peak_memory": "bigint", "queue_wait": "float8", "ended": "timestamptz",
        "superseded": "boolean", "allocated": "boolean", "submitted": "timestamptz",
    },
    "ON CONFLICT (attempt_id) DO UPDATE SET job = excluded.job, submitted = excluded.submitted, "
    "core_seconds = excluded.core_seconds, node_seconds = excluded.node_seconds, "
    "gpu_seconds = excluded.gpu_seconds, memory_seconds = excluded.memory_seconds, "
    "allocated = excluded.allocated WHERE excluded.allocated",
)  # fmt: skip
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
    """Book the entries. Numbers out of range are cut.

    Those booked already stay as they are, but for what the scheduler's accounts say was allocated.
    """
    if not entries:
        return
    projects = bulk.these({e.project for e in entries})
    receivers = dict(bulk.select(_RECEIVERS.format(wanted=bulk.among("p.id")), [projects]))
    _INSERT([_row(site.id, site.member, receivers[e.project], e) for e in entries])


def _row(site: int, giver: str, receiver: str, entry: Entry) -> list[object]:
    u, given = entry.usage, entry.usage.allocation
    cores, nodes, gpus = (_whole(n, _INT) for n in (u.cores, u.nodes, u.gpus))
    wall = _span(u.wall)
    return [
        entry.attempt,
        entry.project,
        site,
        giver,
        receiver,
        (given.job if given else u.job)[:100],
        cores,
        nodes,
        gpus,
        wall,
        _span(u.cpu, _YEARS * max(1, cores)),
        _span(given.core_seconds, _YEARS * _INT) if given else cores * wall,
        _span(given.node_seconds, _YEARS * _INT) if given else max(1, nodes) * wall,
        _span(given.gpu_seconds, _YEARS * _INT) if given else gpus * wall,
        _span(given.memory_seconds, _YEARS * _BIGINT) if given else 0.0,
        _whole(u.peak_memory, _BIGINT),
        _span(u.queue_wait),
        entry.ended,
        entry.superseded,
        given is not None,
        bulk.moment(given.submitted) if given else None,
    ]


def _whole(value: int, limit: int) -> int:
    return max(0, min(value, limit))


def _span(seconds: float, limit: float = _YEARS) -> float:
    return max(0.0, min(seconds, limit)) if math.isfinite(seconds) else 0.0
