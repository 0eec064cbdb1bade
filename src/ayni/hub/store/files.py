"""Committed files: listing, where their blocks are, deleting."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from ayni.hub.calls.models import Project
from ayni.hub.store import keys, paths, quota
from ayni.hub.store.backends import store
from ayni.hub.store.commit import GRACE
from ayni.hub.store.declaration import block_length
from ayni.hub.store.models import File, Upload


class BlockCard(TypedDict):
    n: int
    size: int
    sha256: str
    url: str


class ManifestCard(TypedDict):
    path: str
    size: int
    sha256: str
    block_size: int
    blocks: list[BlockCard]


def of(project: Project, prefix: str = "") -> QuerySet[File]:
    """A project's files of which the path begins with `prefix`, by path.

    The system's (`.ayni/`) only where the prefix names them.
    """
    files = File.objects.filter(project=project).order_by("path")
    if prefix:
        files = files.filter(path__gte=prefix)
        if (end := paths.after(prefix)) is not None:
            files = files.filter(path__lt=end)
    if not prefix.startswith(paths.SYSTEM):
        files = files.exclude(Q(path__gt=f"{paths.SYSTEM}/") & Q(path__lt=f"{paths.SYSTEM}0"))
    return files


def beneath(project: Project, folder: str) -> QuerySet[File]:
    """The files in a folder, however deep; of all the project if it is empty."""
    return of(project, f"{folder}/" if folder else "")


def manifests(files: Sequence[File], base: str | None = None) -> list[ManifestCard]:
    """Where the blocks of these files are; signed URLs are made all at once.

    Args:
        files: with their uploads selected.
        base: a folder; paths are told relative to it (and "" for the file itself).
    """
    wanted = [
        keys.block(f.project_id, f.upload_id, n) for f in files for n in range(len(f.upload.blocks))
    ]
    urls = iter(store().get_urls(wanted))
    return [
        {
            "path": _relative(f.path, base),
            "size": f.size,
            "sha256": f.upload.sha256,
            "block_size": f.upload.block_size,
            "blocks": [
                {
                    "n": n,
                    "size": block_length(n, f.size, f.upload.block_size),
                    "sha256": sha256,
                    "url": next(urls),
                }
                for n, sha256 in enumerate(f.upload.blocks)
            ],
        }
        for f in files
    ]


def _relative(path: str, base: str | None) -> str:
    if base is None:
        return path
    return path.removeprefix(base).removeprefix("/")


def delete(project: Project, files: QuerySet[File]) -> int:
    """Delete files; their bytes no longer count, and are swept after a grace. How many there were."""
    with transaction.atomic():
        quota.lock([project.pk])
        return delete_locked({project.pk: files}, timezone.now())


def delete_locked(files: dict[int, QuerySet[File]], now: datetime) -> int:
    """The same for several projects, by id, with their locks held; five statements for each."""
    deleted = 0
    for project, rows in files.items():
        rows = rows.filter(project=project).order_by()
        freed: int = rows.aggregate(freed=Sum("size"))["freed"] or 0
        uploads = Upload.objects.filter(pk__in=rows.values("upload_id"))
        uploads.update(dead=True, expires=now + GRACE)
        deleted += rows.delete()[0]
        quota.change({project: -freed})
    return deleted


def card(file: File) -> dict[str, Any]:
    """A line of a listing."""
    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.upload.sha256,
        "modified": file.modified,
    }
