"""What the home page tells of the network: sites, their load, and the hours exchanged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.cache import cache
from django.db.models import Sum

from ayni.hub.accounts.models import Member
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network import sites
from ayni.hub.portal import network_map, words
from ayni.hub.portal.charts import ROW, Balance, balances
from ayni.hub.portal.health import note_text

_SITES_FOR = 5  # seconds that the sites are remembered
_HOURS_FOR = 30  # and the sums over all usage


@dataclass(frozen=True, slots=True)
class SiteRow:
    name: str
    title: str
    institution: str
    member: str
    country: str
    state: words.Label
    state_key: str
    cores: int  # offered to the network
    used: int  # by the network's attempts, waiting ones included
    running: int
    waiting: int
    last_seen: datetime | None
    notes: list[str]  # what is ill, or announced
    off: float | None  # seconds by which foreseen starts were off lately, as a mean
    policy: list[str]
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Core hours from giver (row) to receiver (column)."""

    countries: list[str]
    matrix: list[tuple[str, list[float]]]
    balances: list[Balance]
    total: float
    crossed: float  # between different countries

    @property
    def axis(self) -> int:
        return ROW * len(self.balances) - 4

    @property
    def balance_height(self) -> int:
        return ROW * len(self.balances) + 26


@dataclass(frozen=True, slots=True)
class Overview:
    sites: list[SiteRow]
    exchange: Exchange | None
    land: list[network_map.Land]
    pins: list[network_map.Pin]
    arcs: list[network_map.Arc]

    @property
    def healthy(self) -> int:
        return sum(site.state_key == "healthy" for site in self.sites)

    @property
    def cores(self) -> int:
        return sum(site.cores for site in self.sites)

    @property
    def used(self) -> int:
        return sum(site.used for site in self.sites)

    @property
    def running(self) -> int:
        return sum(site.running for site in self.sites)

    @property
    def waiting(self) -> int:
        return sum(site.waiting for site in self.sites)


def overview() -> Overview:
    members = {m.code: words.country(m.code, m.name) for m in Member.objects.all()}
    rows = [_row(told, members) for told in _sites()]
    hours = _hours()
    spots = [
        network_map.Spot(s.name, s.title, s.state_key, s.state.sign, s.latitude, s.longitude)
        for s in rows
        if s.latitude is not None and s.longitude is not None
    ]
    return Overview(
        sites=sorted(rows, key=lambda row: (row.country, row.title)),
        exchange=_exchange(hours, members) if hours else None,
        land=network_map.land(members.keys()),
        pins=network_map.pins(spots),
        arcs=network_map.arcs(_flows(hours, rows)),
    )


def _sites() -> list[dict[str, Any]]:
    """As the API tells of them; remembered for a moment, since anybody may ask."""
    told: list[dict[str, Any]] | None = cache.get("portal:sites")
    if told is None:
        told = sites.overview()
        cache.set("portal:sites", told, _SITES_FOR)
    return told


def _row(told: Mapping[str, Any], members: Mapping[str, str]) -> SiteRow:
    code, seen = told["member"], told["last_seen"]
    parts = told["partitions"]
    return SiteRow(
        name=told["name"],
        title=told["title"],
        institution=told["institution"],
        member=code,
        country=members.get(code, code),
        state=words.SITE_STATES[told["state"]],
        state_key=told["state"],
        cores=sum(p["cores"] for p in parts),
        used=sum(p["used_cores"] for p in parts),
        running=sum(p["running"] for p in parts),
        waiting=sum(p["waiting"] for p in parts),
        last_seen=datetime.fromtimestamp(seen, UTC) if seen is not None else None,
        notes=[note_text(note) for note in told["health"]],
        off=told["foresight"]["error"] if told["foresight"] else None,
        policy=words.policy(told["policy"]),
        latitude=told["latitude"],
        longitude=told["longitude"],
    )


Hours = Mapping[tuple[str, str], float]


def _hours() -> Hours:
    """Core hours by giver and receiver, remembered for a moment: it reads the whole ledger."""
    hours: dict[tuple[str, str], float] | None = cache.get("portal:hours")
    if hours is None:
        summed = UsageRecord.objects.values_list("giver_id", "receiver_id").order_by()
        hours = {
            (giver, receiver): seconds / 3600
            for giver, receiver, seconds in summed.annotate(s=Sum("core_seconds"))
        }
        cache.set("portal:hours", hours, _HOURS_FOR)
    return hours


def _exchange(hours: Hours, members: Mapping[str, str]) -> Exchange:
    def name(code: str) -> str:
        return members.get(code, code)

    codes = sorted({code for pair in hours for code in pair}, key=name)
    return Exchange(
        countries=[name(c) for c in codes],
        matrix=[(name(g), [hours.get((g, r), 0.0) for r in codes]) for g in codes],
        balances=balances(
            [
                (
                    name(c),
                    sum(h for (g, r), h in hours.items() if g == c != r),
                    sum(h for (g, r), h in hours.items() if r == c != g),
                )
                for c in codes
            ]
        ),
        total=sum(hours.values()),
        crossed=sum(h for (g, r), h in hours.items() if g != r),
    )


def _flows(hours: Hours, rows: Sequence[SiteRow]) -> list[tuple[Any, Any, float]]:
    """From the middle of one country's sites to the middle of another's."""
    where: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for site in rows:
        if site.longitude is not None and site.latitude is not None:
            where[site.member].append((site.longitude, site.latitude))
    middle = {
        code: (sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points))
        for code, points in where.items()
    }
    return [
        (middle[g], middle[r], h)
        for (g, r), h in sorted(hours.items())
        if g != r and g in middle and r in middle
    ]
