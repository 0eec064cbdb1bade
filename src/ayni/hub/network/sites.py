"""What is told of the sites: to people by the API, to operators by `ayni hub status`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ayni.broker.eligible import unwell
from ayni.broker.types import Partition, Settings, Site
from ayni.hub.accounts.tokens import Caller
from ayni.hub.catalogue.models import Dataset
from ayni.hub.network import waits
from ayni.hub.network.models import Site as SiteRow
from ayni.hub.network.world import look
from ayni.protocol.policy import Policy, Who, quota_of, unwelcome

#: Whom a site takes or refuses is between its operator and them: each is told of their own.
UNTOLD = ("projects", "deny_persons", "deny_projects")


def overview(reader: Caller | None = None) -> list[dict[str, Any]]:
    """Every site, by name; see the API's `SiteOut` for the fields. What it makes of the reader is told if
    somebody asks in person."""
    world = look(lambda loader: loader.load_groups(time.time(), []))
    seen = {site.name: site for site in world.sites}
    cards: dict[int, list[dict[str, Any]]] = {}
    fields = ("name", "version", "title", "licence", "size", "files", "residency", "release")
    for card in Dataset.objects.filter(site__isnull=False, present=True).order_by("name"):
        values = {field: getattr(card, field) for field in fields}
        cards.setdefault(card.site_id or 0, []).append(
            {**values, "release_limit": card.release_limit}
        )
    errors = waits.errors()
    rows = SiteRow.objects.select_related("institution").order_by("name")
    who = None if reader is None else _who(reader)
    return [
        {
            **_site(row, seen[row.name], cards.get(row.id, []), who),
            "foresight": _foresight(errors.get(row.name, {})),
        }
        for row in rows
        if row.name in seen
    ]


def state(site: Site, settings: Settings | None = None) -> str:
    """One word, by what the broker judges: banned, never, silent, draining, ill, closed or healthy."""
    if site.banned:
        return "banned"
    if not site.partitions:
        return "never"
    no = unwell(site, settings or Settings())
    if no is None:
        return "healthy"
    return "closed" if no.code == "hours" else no.code


def _site(
    row: SiteRow, site: Site, datasets: list[dict[str, Any]], who: Who | None
) -> dict[str, Any]:
    status = row.status or {}
    return {
        "name": row.name,
        "title": row.title,
        "member": site.member,
        "institution": row.institution.name,
        "state": state(site),
        "last_seen": row.last_seen.timestamp() if row.last_seen else None,
        "partitions": [_partition(p) for p in site.partitions],
        "policy": _told(status.get("policy")),
        "takes_you": _takes(status.get("policy"), who),
        "volumes": _volumes(status.get("volumes"), who),
        "datasets": datasets,
        "health": status.get("health", []),
        "signing_key": status.get("signing_key"),
        "latitude": row.latitude,
        "longitude": row.longitude,
    }


def _foresight(errors: Mapping[str, waits.Error]) -> dict[str, Any] | None:
    """How far off foreseen starts were lately."""
    if not errors:
        return None
    by = {source: _error(one) for source, one in sorted(errors.items())}
    return {**_error(waits.in_all(errors)), "by": by}


def _error(one: waits.Error) -> dict[str, Any]:
    return {"error": round(one.error, 1), "count": one.count}


def _told(policy: dict[str, Any] | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    told = {rule: value for rule, value in policy.items() if rule not in UNTOLD}
    return {**told, "only_agreed": policy.get("projects") is not None}


def _takes(policy: dict[str, Any] | None, who: Who | None) -> bool | None:
    if policy is None or who is None:
        return None
    return next(unwelcome(Policy.model_validate(policy), who), None) is None


def _volumes(offer: dict[str, Any] | None, who: Who | None) -> dict[str, Any] | None:
    """What the project may hold in volumes there; what others hold is nobody else's matter."""
    if offer is None or who is None:
        return None
    return {
        "quota": quota_of(offer["quota"], offer["projects"], who.project),
        "retention": offer["retention"],
        "full": who.project in offer["full"],
    }


def _who(reader: Caller) -> Who:
    project = reader.project
    institution = project.institution
    return Who(
        name="", email=reader.person.email, institution=institution.name, project=project.name,
        member=institution.member_id,
    )  # fmt: skip


def _partition(p: Partition) -> dict[str, Any]:
    fields = (
        "name", "nodes", "cores_per_node", "memory_per_node", "gpus_per_node", "max_walltime",
        "cores", "memory", "gpus", "foreign_cores", "depth", "used_cores", "waiting",
    )  # fmt: skip
    return {**{f: getattr(p, f) for f in fields}, "running": p.live - p.waiting}
