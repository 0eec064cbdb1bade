"""Site volumes on record: what sites tell of them, and what their projects want gone."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from django.db import transaction

from ayni.hub.calls.models import Project
from ayni.hub.catalogue.models import Release, Volume
from ayni.hub.http import ProblemError
from ayni.hub.network import bulk, wake
from ayni.hub.network.models import Site
from ayni.hub.tasks.models import Attempt
from ayni.protocol import release
from ayni.protocol import volumes as protocol
from ayni.protocol.messages import GateStatus, VolumeStatus
from ayni.tes.urls import valid_name

log = logging.getLogger(__name__)

_UID = re.compile(r"[0-9a-f]{1,64}")
_TOLD = (
    "uid", "size", "created", "used", "mounted", "release", "release_limit", "dataset", "gates",
)  # fmt: skip
_ORDERS = "SELECT uid FROM catalogue_volume WHERE site_id = %s AND remove ORDER BY uid"


def take_status(site: Site, held: Collection[VolumeStatus]) -> None:
    """What a site holds now; what it names no more has gone.

    A site is believed only of projects whose tasks it was given: else it could draw others' tasks to it.
    """
    with transaction.atomic():
        known = {(v.project_id, v.name): v for v in Volume.objects.filter(site=site)}
        projects = _projects(site, held)
        seen = set()
        for told in held:
            project = projects.get(told.project)
            if project is None or not _sound(told) or (project, told.name) in seen:
                log.warning(
                    "site %s names a volume that cannot be listed: %.80r", site.name, told.name
                )
                continue
            seen.add((project, told.name))
            row = known.get((project, told.name))
            _keep(row or Volume(site=site, project_id=project, name=told.name), told)
        gone = [row.pk for key, row in known.items() if key not in seen]
        Volume.objects.filter(pk__in=gone).delete()


def _projects(site: Site, held: Iterable[VolumeStatus]) -> dict[str, int]:
    rows = Project.objects.filter(name__in={told.project for told in held})
    given = Attempt.objects.filter(site=site)
    return {
        name: number
        for number, name in rows.values_list("id", "name")
        if given.filter(task__project=number).exists()
    }


def _sound(told: VolumeStatus) -> bool:
    named = valid_name(told.name) and (not told.dataset or valid_name(told.dataset))
    return named and told.release in Release and _UID.fullmatch(told.id) is not None


def _keep(row: Volume, told: VolumeStatus) -> None:
    fresh = {
        **told.model_dump(include=set(_TOLD)),
        "uid": told.id,
        "created": datetime.fromtimestamp(told.created, UTC),
        "used": datetime.fromtimestamp(told.used, UTC),
    }
    if row.pk is not None and all(getattr(row, name) == fresh[name] for name in _TOLD):
        return
    row.remove = row.remove and row.uid == told.id
    for name in _TOLD:
        setattr(row, name, fresh[name])
    row.save()


def rule_of(volume: Volume) -> release.Rule:
    """What may leave a task that mounts it."""
    gates = [GateStatus.model_validate(gate) for gate in volume.gates]
    return protocol.rule_of(volume, gates)


def of_project(project: Project) -> list[Volume]:
    """All that sites hold of a project."""
    return list(
        Volume.objects.filter(project=project).select_related("site").order_by("name", "site__name")
    )


def expires(volume: Volume) -> datetime | None:
    """When its site deletes a volume that nobody uses until then."""
    offer = (volume.site.status or {}).get("volumes")
    if offer is None or volume.mounted:
        return None
    return volume.used + timedelta(seconds=min(offer["retention"], 10**9))


def ask_to_remove(project: Project, site: str, name: str) -> Volume:
    """Have a site delete a volume; it goes once the site has heard of it.

    Raises:
        ProblemError: 404 there is none, 409 a task mounts it.
    """
    volume = Volume.objects.filter(project=project, site__name=site, name=name).first()
    if volume is None:
        raise ProblemError(
            404, "No such volume", f"project {project.name} has no volume {name!r} at {site!r}"
        )
    if volume.mounted:
        raise ProblemError(
            409, "Volume in use", f"a task mounts {name} at {site}: let it end, or cancel it"
        )
    Volume.objects.filter(pk=volume.pk).update(remove=True)
    wake.site(volume.site_id)
    return volume


def orders(site: int) -> list[str]:
    """The site's volumes that are to go."""
    return [row[0] for row in bulk.select(_ORDERS, [site])]
