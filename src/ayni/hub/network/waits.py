"""How long attempts waited for their start, and how well that was foreseen: kept by site and size.

When an attempt is made, what is expected of its start is kept with it (`Attempt.foreseen`). When its site
says that it has started, the wait and the error go into moving means. The broker expects the like of what
is alike; people see the errors.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ayni.broker.foresight import Foresight, Source, Start, Told
from ayni.broker.order import decayed
from ayni.hub.network import bulk
from ayni.hub.network.models import Wait
from ayni.protocol.messages import PartitionStatus
from ayni.tes.shape import Shape
from ayni.tes.size import Size, size_of

#: Seconds after which a wait counts for half: a queue that was long once must not be shunned for ever.
WAIT_HALF_LIFE = 600.0
KEEP = timedelta(days=90)
_NEWEST_WAIT = 0.2  # weight of the newest value in the moving mean of waits …
_NEWEST_ERROR = 0.05  # … and of errors: the mean is one over the last twenty or so
_LATELY = 12 * WAIT_HALF_LIFE  # older waits count for nothing
_YEAR = 366 * 86400.0  # no start is further away

_FIELDS = "site_id", "partition", "size", "source", "count", "wait", "error", "at"
_UPSERT = bulk.Insert(
    "network_wait",
    {
        "site_id": "bigint", "partition": "text", "size": "text", "source": "text",
        "count": "bigint", "wait": "float8", "error": "float8", "at": "timestamptz",
    },
    "ON CONFLICT (site_id, partition, size, source) DO UPDATE SET "
    "count = excluded.count, wait = excluded.wait, error = excluded.error, at = excluded.at",
)  # fmt: skip

Key = tuple[str, str, str]  # partition, size, source


# --- what is expected of an attempt --------------------------------------------------------------


def foreseen(shape: Shape, start: Start, move: float) -> str:
    """What an attempt keeps, as JSON: the start in seconds, those to move its inputs, source, size."""
    told = {
        "in": round(min(start.seconds, _YEAR), 1),
        "move": round(min(move, _YEAR), 1),
        "source": start.by.value,
        "size": str(size_of(shape)),
    }
    return json.dumps(told)


@dataclass(frozen=True, slots=True)
class Began:
    """An attempt that has started; seconds."""

    partition: str
    size: str
    source: str
    waited: float
    error: float


def began(partition: str, told: Mapping[str, Any], assigned: datetime, started: datetime) -> Began:
    """What the start of an attempt tells. The time for its inputs is not counted as waiting.

    Args:
        partition: where it started.
        told: what was foreseen (see `foreseen`).
        assigned: when it was given to its site.
        started: when it started.
    """
    waited = (started - assigned).total_seconds() - told["move"]
    waited = max(0.0, min(waited, _YEAR))
    return Began(partition, told["size"], told["source"], waited, abs(waited - told["in"]))


# --- learning ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Mean:
    """What is known of attempts of one size in one partition that were foreseen in one way."""

    count: int = 0
    wait: float = 0.0
    error: float = 0.0

    def take(self, one: Began) -> None:
        self.count += 1
        self.wait += max(_NEWEST_WAIT, 1 / self.count) * (one.waited - self.wait)
        self.error += max(_NEWEST_ERROR, 1 / self.count) * (one.error - self.error)


def learn(site: int, starts: Sequence[Began], now: datetime) -> None:
    """Take in starts at a site; within the transaction that locks it."""
    if not starts:
        return
    known = Wait.objects.filter(site=site, partition__in={one.partition for one in starts})
    fields = ("partition", "size", "source", "count", "wait", "error")
    means: dict[Key, _Mean] = {row[:3]: _Mean(*row[3:]) for row in known.values_list(*fields)}
    changed: set[Key] = set()
    for one in starts:
        key = one.partition, one.size, one.source
        means.setdefault(key, _Mean()).take(one)
        changed.add(key)
    _UPSERT(
        [
            [site, *key, m.count, m.wait, m.error, now]
            for key in sorted(changed)
            for m in [means[key]]
        ]
    )


def forget(before: datetime) -> None:
    """Sizes that have not been seen since then."""
    Wait.objects.filter(at__lt=before).delete()


# --- what the broker is told ---------------------------------------------------------------------


@dataclass(slots=True)
class Lately:
    """How long attempts waited in one partition lately, in seconds."""

    waited: dict[Size, float] = field(default_factory=dict)  # where there was no room
    any_size: float = 0.0
    at_once: float = 0.0  # where there was room


ByPlace = Mapping[tuple[int, str], Lately]  # by site and partition


def lately(now: float) -> ByPlace:
    """What was learnt; a wait counts the less the longer ago it was."""
    since = datetime.fromtimestamp(now - _LATELY, UTC)
    rows = Wait.objects.filter(at__gte=since).values_list(
        "site_id", "partition", "size", "source", "wait", "at"
    )
    waits: dict[tuple[int, str], dict[Size, list[float]]] = defaultdict(lambda: defaultdict(list))
    at_once: dict[tuple[int, str], list[float]] = defaultdict(list)
    for site, partition, size, source, wait, at in rows:
        wait = decayed(wait, max(0.0, now - at.timestamp()), WAIT_HALF_LIFE)
        if source == Source.FREE:
            at_once[site, partition].append(wait)
        elif (read := Size.read(size)) is not None:
            waits[site, partition][read].append(wait)
    answer: dict[tuple[int, str], Lately] = defaultdict(Lately)
    for place, by_size in waits.items():
        found = {size: _mean(values) for size, values in by_size.items()}
        answer[place] = Lately(found, any_size=_mean(found.values()))
    for place, values in at_once.items():
        answer[place].at_once = _mean(values)
    return dict(answer)


def foresight(partition: PartitionStatus, known: Lately, now: float) -> Foresight:
    """What a site's agent last said of starts in a partition, and what was learnt of it."""
    told = {
        Size(s.cores, s.memory, s.gpus, s.walltime): Told(max(0.0, s.at - now), s.at_least)
        for s in partition.starts
    }
    return Foresight(told, known.waited, known.at_once)


# --- what people are told ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Error:
    """How far off foreseen starts were: the mean of so many, in seconds."""

    error: float
    count: int


def errors() -> dict[str, dict[str, Error]]:
    """The usual errors, by site and by how the start was known."""
    found: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for site, source, error, count in Wait.objects.values_list(
        "site__name", "source", "error", "count"
    ):
        found[site, source].append((error, count))
    answer: dict[str, dict[str, Error]] = defaultdict(dict)
    for (site, source), values in found.items():
        answer[site][source] = _pooled(values)
    return dict(answer)


def in_all(by_source: Mapping[str, Error]) -> Error:
    """A site's usual error, however its starts were known."""
    return _pooled([(one.error, one.count) for one in by_source.values()])


def _pooled(values: Iterable[tuple[float, int]]) -> Error:
    values = list(values)
    count = sum(count for _, count in values)
    return Error(sum(error * n for error, n in values) / max(1, count), count)


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values) if values else 0.0
