"""The network as its users see it: `GET /sites`, and `POST /sites/for` as a dry run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from ayni.hub.accounts.tokens import caller
from ayni.hub.network import explain, sites
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
    datasets: list[SiteDataset]
    health: list[HealthOut]
    latitude: float | None
    longitude: float | None


class Sites(Schema):
    sites: list[SiteOut]


class ReasonOut(Schema):
    site: str
    verdict: str  # chosen, possible, full, held or ineligible
    code: str
    message: str


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
    decision = explain.where(who.project, who.person, body.task)
    return {
        "sites": [
            {"site": r.site, "verdict": r.verdict.value, "code": r.code, "message": r.message}
            for r in decision.reasons
        ],
        "chosen": decision.site,
    }
