"""What a project consumed and who gave it: `GET /api/v1/usage`."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from ninja import Router, Schema

from ayni.hub.accounts.tokens import caller
from ayni.hub.ledger.models import UsageRecord
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
    booked = (
        UsageRecord.objects.filter(project=project)
        .values("site__name", "giver", "receiver")
        .annotate(attempts=Count("id"), core=Sum("core_seconds"), cpu=Sum("cpu"))
        .order_by("site__name")
    )
    refused = dict(
        Refusal.objects.filter(group__project=project)
        .values_list("site__name")
        .annotate(n=Count("id"))
    )
    failed = Q(state__in=[AttemptState.SYSTEM_ERROR, AttemptState.LOST]) | Q(superseded=True)
    retried = dict(
        Attempt.objects.filter(failed, task__project=project)
        .values_list("site__name")
        .annotate(n=Count("id"))
    )
    rows = [
        {
            "site": row["site__name"],
            "giver": row["giver"],
            "receiver": row["receiver"],
            "attempts": row["attempts"],
            "core_hours": row["core"] / 3600,
            "cpu_hours": row["cpu"] / 3600,
            "refusals": refused.get(row["site__name"], 0),
            "retries": retried.get(row["site__name"], 0),
        }
        for row in booked
    ]
    return {"project": project.name, "sites": rows}
