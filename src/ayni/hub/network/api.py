"""The network as its users see it: `GET /sites`, and `POST /sites/for` as a dry run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from ayni.broker.outlook import Outlook
from ayni.hub.accounts.tokens import caller
from ayni.hub.network import explain, sites, waits
from ayni.tes.models import Task

router = Router(tags=["network"])


class PartitionOut(Schema):
    """What a partition offers, in bytes and seconds, and what the network has there."""

    name: str
    nodes: int
    cores_per_node: int
    memory_per_node: int
    gpus_per_node: int
    max_walltime: int
    cores: int
    memory: int
    gpus: int
    foreign_cores: int
    depth: int
    used_cores: int
    running: int
    waiting: int


class SiteDataset(Schema):
    name: str
    version: str
    title: str
    licence: str
    size: int
    files: int
    residency: str
    release: str
    release_limit: int


class HealthOut(Schema):
    code: str
    message: str
    remedy: str


class ErrorOut(Schema):
    """How far off foreseen starts were lately, in seconds: the mean, and of how many starts."""

    error: float
    count: int


class ForesightOut(ErrorOut):
    """All starts at a site, and apart for each way in which they were known: see `by` in `/sites/for`."""

    by: dict[str, ErrorOut]


class RoomOut(Schema):
    quota: int  # bytes that your project may hold
    retention: int  # seconds after its last use until a volume goes
    full: bool  # your project holds that already


class SiteOut(Schema):
    name: str
    title: str
    member: str
    institution: str
    state: str  # healthy, silent, never, draining, ill, banned or closed
    last_seen: datetime | None
    partitions: list[PartitionOut]
    policy: dict[str, Any] | None
    takes_you: bool | None  # whether its policy takes your project and you; null: it has not said
    volumes: RoomOut | None  # room between tasks; null: it has not said
    datasets: list[SiteDataset]
    health: list[HealthOut]
    signing_key: str | None  # by which it signs its messages on channels; null: it does not
    latitude: float | None
    longitude: float | None
    foresight: ForesightOut | None  # null: no task has started there yet


class Sites(Schema):
    sites: list[SiteOut]


class ReasonOut(Schema):
    site: str
    verdict: str  # chosen, possible, full, held or ineligible
    code: str
    message: str
    partition: str | None  # where it would start first; null as below if it cannot run there
    start_in: float | None  # seconds until it would, its inputs moved
    by: str | None  # how that is known: free, scheduler, history or queue
    usual_error: float | None  # seconds that such a word of this site is off; null: not known yet


class Dry(Schema):
    task: Task


class DryAnswer(Schema):
    sites: list[ReasonOut]
    chosen: str | None


@router.get("/sites", response=Sites, summary="The sites of the network")
def list_sites(request: HttpRequest) -> dict[str, Any]:
    """Every site: what it offers, what it takes, how it is."""
    return {"sites": sites.overview(caller(request, "tasks:read"))}


@router.post(
    "/sites/for",
    response=DryAnswer,
    summary="Where a task could run, and what would refuse it",
)
def sites_for(request: HttpRequest, body: Dry) -> dict[str, Any]:
    """A dry run: nothing is created."""
    who = caller(request, "tasks:read")
    found = explain.where(who.project, who.person, body.task)
    errors = waits.errors()
    return {
        "sites": [
            {
                "site": r.site,
                "verdict": r.verdict.value,
                "code": r.code,
                "message": r.message,
                **_expected(found.outlooks[r.site], errors.get(r.site, {})),
            }
            for r in found.decision.reasons
        ],
        "chosen": found.decision.site,
    }


def _expected(seen: Outlook, errors: Mapping[str, waits.Error]) -> dict[str, Any]:
    start = seen.start
    error = errors.get(start.by) if start else None
    return {
        "partition": seen.partition,
        "start_in": round(seen.start_in, 1) if start else None,
        "by": start.by.value if start else None,
        "usual_error": round(error.error, 1) if error else None,
    }
