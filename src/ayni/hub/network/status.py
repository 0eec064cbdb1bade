"""Taking in what a site says it offers: partitions, policy, health, and the cards of its datasets."""

from __future__ import annotations

import re
from typing import Any

from django.utils import timezone

from ayni.hub.catalogue import registry, volumes
from ayni.hub.http import ProblemError
from ayni.hub.network import asking, wake
from ayni.hub.network.models import Site
from ayni.hub.tasks.models import Refusal
from ayni.protocol.charters import MAX_TOLD
from ayni.protocol.messages import MAX_VOLUMES, SiteStatus

MOST_PARTITIONS = 200
MOST_DATASETS = 10_000
MOST_DEPTH = 10_000
MOST_NOTES = 100
MOST_PATTERNS = 10_000  # in one list of a policy
PATTERNS_TEXT = 256 << 10  # characters of them all: the broker compiles each
_TEXT = 4096
_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BIG = (1 << 63) - 1


def take(site_id: int, told: SiteStatus) -> None:
    """Store a status; call it within the sync's transaction.

    Raises:
        ProblemError: 400, naming the field that cannot be.
    """
    _check(told)
    site = Site.objects.get(id=site_id)
    before: dict[str, Any] = site.status or {}
    data = told.model_dump(mode="json")
    if any(of(before) != of(data) for of in (_policy, _room, _charters)):
        Refusal.objects.filter(site=site).delete()  # other rules: groups may ask again
    if before.get("datasets") != data["datasets"] or site.status is None:
        registry.take_status(site, told.datasets)
    if before.get("volumes") != data["volumes"]:
        volumes.take_status(site, told.volumes.held if told.volumes else ())
    if before.get("charters") != data["charters"]:
        asking.heard(site_id, told.charters)
    if before != data:
        wake.broker()
    site.status, site.status_at = data, timezone.now()
    Site.objects.filter(id=site.id).update(status=data, status_at=site.status_at)


def _policy(status: dict[str, Any]) -> Any:
    return status.get("policy")


def _charters(status: dict[str, Any]) -> Any:
    """What its operator has answered."""
    return [one for one in status.get("charters") or () if one["state"] != "asked"]


def _room(status: dict[str, Any]) -> Any:
    """Who gets how much for volumes, by a status; what is held there apart."""
    offer = status.get("volumes") or {}
    return offer.get("quota"), offer.get("projects")


def _check(told: SiteStatus) -> None:
    _limit("partitions", len(told.partitions), MOST_PARTITIONS)
    _limit("datasets", len(told.datasets), MOST_DATASETS)
    _limit("health", len(told.health), MOST_NOTES)
    if told.volumes is not None:
        _limit("volumes.held", len(told.volumes.held), MAX_VOLUMES)
        _limit("volumes.full", len(told.volumes.full), MAX_VOLUMES)
        _limit("volumes.projects", len(told.volumes.projects), MOST_PATTERNS)
    _limit("charters", len(told.charters or ()), MAX_TOLD)
    for note in told.health:
        words = (note.code, note.message, note.remedy, *note.parameters, *note.parameters.values())
        _limit("health: characters", sum(map(len, words)), _TEXT)
    _limit("agent_version: characters", len(told.agent_version), _TEXT)
    _limit("sandbox: characters", len(told.sandbox), _TEXT)
    for field, value in told.policy:
        if isinstance(value, list):
            _limit(f"policy.{field}", len(value), MOST_PATTERNS)
            texts = [text for text in value if isinstance(text, str)]
            _limit(f"policy.{field}: characters", sum(map(len, texts)), PATTERNS_TEXT)
    for p in told.partitions:
        if not _PARTITION.fullmatch(p.name):
            raise ProblemError(
                400, "Bad status", "partitions.name: use letters, digits, '.', '_', '-'"
            )
        _limit(f"partitions.{p.name}.depth", p.depth, MOST_DEPTH)
        for start in p.starts:
            for name in ("cores", "memory", "gpus", "walltime"):
                _limit(f"partitions.{p.name}.starts.{name}", getattr(start, name), _BIG)
        for name, value in p:
            if isinstance(value, int):
                _limit(f"partitions.{p.name}.{name}", value, _BIG)
    names = [p.name for p in told.partitions]
    if len(set(names)) < len(names):
        raise ProblemError(400, "Bad status", "partitions: two have the same name")


def _limit(field: str, value: int, limit: int) -> None:
    if not 0 <= value <= limit:
        raise ProblemError(400, "Bad status", f"{field}: must be from 0 to {limit}, not {value}")
