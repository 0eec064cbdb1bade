"""How much a project's files take, and its quota.

What counts is every live upload, from the moment it is declared: so a project cannot exceed its
quota by sending much at once. A file that is being replaced counts twice until the new one is
committed. The project's row in `Space` is also the lock under which its files change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db import transaction
from django.db.models import F, Sum

from ayni.hub.calls.models import Project
from ayni.hub.store.models import Space, Upload


def lock(projects: Collection[int]) -> dict[int, Space]:
    """The projects' rows, locked until the transaction ends; in one order, so none waits in a ring.

    On SQLite every writing transaction is alone anyway.
    """
    wanted = set(projects)
    spaces = _locked(wanted)
    if missing := wanted - spaces.keys():
        Space.objects.bulk_create(
            [Space(project_id=p) for p in sorted(missing)], ignore_conflicts=True
        )
        spaces = _locked(wanted)
    return spaces


def _locked(projects: set[int]) -> dict[int, Space]:
    rows = Space.objects.filter(project__in=projects).order_by("project_id")
    return {space.project_id: space for space in rows.select_for_update()}


def change(bytes_: Mapping[int, int]) -> None:
    """Add to what projects use; negative gives back. With the lock held."""
    for project, amount in bytes_.items():
        if amount:
            Space.objects.filter(project=project).update(used=F("used") + amount)


def used(project: Project) -> int:
    """Bytes that count against the project's quota."""
    return Space.objects.filter(project=project).values_list("used", flat=True).first() or 0


def recount(project: Project) -> int:
    """Count afresh, should the books ever be wrong (a backup put back in part)."""
    with transaction.atomic():
        lock([project.pk])
        live = Upload.objects.filter(project=project, dead=False)
        total: int = live.aggregate(total=Sum("size"))["total"] or 0
        Space.objects.filter(project=project).update(used=total)
    return total
