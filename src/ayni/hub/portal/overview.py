"""What the home page tells of the network: sites, their load, and the hours exchanged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Sum
from django.utils import timezone

from ayni.broker.types import Settings
from ayni.hub.accounts.models import Member
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.models import Site
from ayni.hub.portal import network_map, words
from ayni.hub.portal.charts import ROW, Balance, balances
from ayni.hub.tasks.models import Attempt
from ayni.protocol.attempts import AttemptState
from ayni.protocol.policy import Policy, not_now

_STARTED = {AttemptState.RUNNING.value, AttemptState.FINALIZING.value}
_REMEMBER = 30  # seconds that the sums over all usage are kept


@dataclass(slots=True)
class Load:
    """What the network has at one site now."""

    cores: int = 0
    running: int = 0
    waiting: int = 0


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
    load: Load
    last_seen: datetime | None
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
        return sum(site.load.cores for site in self.sites)

    @property
    def running(self) -> int:
        return sum(site.load.running for site in self.sites)

    @property
    def waiting(self) -> int:
        return sum(site.load.waiting for site in self.sites)


def overview() -> Overview:
    members = {m.code: words.country(m.code, m.name) for m in Member.objects.all()}
    sites = _sites(members)
    hours = _hours()
    spots = [
        network_map.Spot(s.name, s.title, s.state_key, s.state.sign, s.latitude, s.longitude)
        for s in sites
        if s.latitude is not None and s.longitude is not None
    ]
    return Overview(
        sites=sites,
        exchange=_exchange(hours, members) if hours else None,
        land=network_map.land(members.keys()),
        pins=network_map.pins(spots),
        arcs=network_map.arcs(_flows(hours, sites)),
    )


def _sites(members: Mapping[str, str]) -> list[SiteRow]:
    loads, now = _loads(), timezone.now()
    rows = []
    for site in Site.objects.select_related("institution"):
        status = site.status or {}
        key = site_state(site, now)
        code = site.institution.member_id
        rows.append(
            SiteRow(
                name=site.name,
                title=site.title,
                institution=site.institution.name,
                member=code,
                country=members.get(code, code),
                state=words.SITE_STATES[key],
                state_key=key,
                cores=sum(p.get("cores", 0) for p in status.get("partitions", ())),
                load=loads.get(site.pk, Load()),
                last_seen=site.last_seen,
                policy=words.policy(status.get("policy")),
                latitude=site.latitude,
                longitude=site.longitude,
            )
        )
    return sorted(rows, key=lambda row: (row.country, row.title))


def site_state(site: Site, now: datetime) -> str:
    """A key of `words.SITE_STATES`."""
    if site.banned_at:
        return "banned"
    if site.last_seen is None:
        return "never"
    if (now - site.last_seen).total_seconds() > Settings().silent_after:
        return "silent"
    if site.draining:
        return "draining"
    rules = (site.status or {}).get("policy")
    if rules and not_now(Policy.model_validate(rules), now):
        return "closed"
    return "healthy"


def _loads() -> dict[int, Load]:
    loads: dict[int, Load] = defaultdict(Load)
    shape = "task__group__shape__"
    counted = (
        Attempt.objects.filter(live=True)
        .values("site_id", "state", f"{shape}cores", f"{shape}nodes")
        .annotate(n=Count("id"))
        .order_by()
    )
    for row in counted:
        load = loads[row["site_id"]]
        load.cores += row["n"] * int(row[f"{shape}cores"] or 1) * int(row[f"{shape}nodes"] or 1)
        if row["state"] in _STARTED:
            load.running += row["n"]
        else:
            load.waiting += row["n"]
    return loads


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
        cache.set("portal:hours", hours, _REMEMBER)
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


def _flows(hours: Hours, sites: Sequence[SiteRow]) -> list[tuple[Any, Any, float]]:
    """From the middle of one country's sites to the middle of another's."""
    where: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for site in sites:
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
