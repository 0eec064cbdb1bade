"""What a project consumed and who gave it: `GET /api/v1/usage`."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from ninja import Router, Schema

from ayni.hub.accounts.tokens import caller
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.models import Site
from ayni.hub.tasks.models import Attempt, Refusal
from ayni.protocol.attempts import AttemptState

router = Router(tags=["ledger"])


class SiteUsage(Schema):
    """What one site gave to the project; hours are core-hours allocated."""

    site: str
    giver: str
    receiver: str
    attempts: int
    core_hours: float
    cpu_hours: float
    refusals: int  # groups of tasks that the site's policy refused
    retries: int  # attempts here that were followed by another


class UsageAnswer(Schema):
    project: str
    sites: list[SiteUsage]


@router.get("/usage", response=UsageAnswer, summary="What the project was given, by site")
def usage(request: HttpRequest) -> dict[str, Any]:
    project = caller(request, "tasks:read").project
    refused = _counts(Refusal.objects.filter(group__project=project))
    failed = Q(state__in=[AttemptState.SYSTEM_ERROR, AttemptState.LOST]) | Q(superseded=True)
    retried = _counts(Attempt.objects.filter(failed, task__project=project))
    booked = (
        UsageRecord.objects.filter(project=project)
        .values("site__name", "giver", "receiver")
        .annotate(attempts=Count("id"), core=Sum("core_seconds"), cpu=Sum("cpu"))
    )
    used: list[tuple[str, str, str, dict[str, Any]]] = [
        (row["site__name"], row["giver"], row["receiver"], {**row}) for row in booked
    ]
    # A site that refused all, or lost what it had, gave nothing, and is told of all the same.
    idle = (refused.keys() | retried.keys()) - {name for name, *_ in used}
    givers = Site.objects.filter(name__in=idle).values_list("name", "institution__member_id")
    used += [(site, giver, project.institution.member_id, {}) for site, giver in givers]
    rows = [
        {
            "site": site,
            "giver": giver,
            "receiver": receiver,
            "attempts": row.get("attempts", 0),
            "core_hours": row.get("core", 0.0) / 3600,
            "cpu_hours": row.get("cpu", 0.0) / 3600,
            "refusals": refused.get(site, 0),
            "retries": retried.get(site, 0),
        }
        for site, giver, receiver, row in used
    ]
    return {"project": project.name, "sites": sorted(rows, key=lambda row: str(row["site"]))}


def _counts(rows: QuerySet[Any]) -> dict[str, int]:
    """How many there are of each site."""
    return dict(rows.values_list("site__name").annotate(n=Count("id")))
