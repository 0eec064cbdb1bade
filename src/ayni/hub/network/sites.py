"""What is told of the sites: to people by the API, to operators by `ayni hub status`."""

from __future__ import annotations

import time
from typing import Any

from ayni.broker.types import Partition, Settings, Site
from ayni.hub.catalogue.models import Dataset
from ayni.hub.network.models import Site as SiteRow
from ayni.hub.network.world import look

#: Whom a site refuses is between its operator and them: each is told by the reasons for their own tasks.
UNTOLD = ("deny_persons", "deny_projects")


def overview() -> list[dict[str, Any]]:
    """Every site, by name; see the API's `SiteOut` for the fields."""
    world = look(lambda loader: loader.load_groups(time.time(), []))
    seen = {site.name: site for site in world.sites}
    cards: dict[int, list[dict[str, Any]]] = {}
    fields = ("name", "version", "title", "licence", "size", "files", "residency", "release")
    for card in Dataset.objects.filter(site__isnull=False, present=True).order_by("name"):
        values = {field: getattr(card, field) for field in fields}
        cards.setdefault(card.site_id or 0, []).append(
            {**values, "release_limit": card.release_limit}
        )
    rows = SiteRow.objects.select_related("institution").order_by("name")
    return [_site(row, seen[row.name], cards.get(row.id, [])) for row in rows if row.name in seen]


def state(row: SiteRow, site: Site, settings: Settings | None = None) -> str:
    """One word: banned, never, silent, draining, closed or healthy."""
    settings = settings or Settings()
    if site.banned:
        return "banned"
    if row.last_seen is None:
        return "never"
    if site.silent_for > settings.silent_after:
        return "silent"
    if site.draining:
        return "draining"
    return "closed" if site.closed is not None else "healthy"


def _site(row: SiteRow, site: Site, datasets: list[dict[str, Any]]) -> dict[str, Any]:
    status = row.status or {}
    return {
        "name": row.name,
        "title": row.title,
        "member": site.member,
        "institution": row.institution.name,
        "state": state(row, site),
        "last_seen": row.last_seen.timestamp() if row.last_seen else None,
        "partitions": [_partition(p) for p in site.partitions],
        "policy": _told(status.get("policy")),
        "datasets": datasets,
        "health": status.get("health", []),
        "latitude": row.latitude,
        "longitude": row.longitude,
    }


def _told(policy: dict[str, Any] | None) -> dict[str, Any] | None:
    return policy and {rule: value for rule, value in policy.items() if rule not in UNTOLD}


def _partition(p: Partition) -> dict[str, Any]:
    fields = (
        "name", "nodes", "cores_per_node", "memory_per_node", "gpus_per_node", "max_walltime",
        "cores", "memory", "gpus", "foreign_cores", "depth", "used_cores", "waiting",
    )  # fmt: skip
    return {**{f: getattr(p, f) for f in fields}, "running": p.live - p.waiting}
