"""A project's files as folders: the store knows only whole paths."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, QuerySet, Sum, Value
from django.db.models.functions import StrIndex, Substr

from ayni.hub.calls.models import Project
from ayni.hub.store.models import File
from ayni.hub.store.paths import SYSTEM

PAGE = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder (`path` ends in a slash, `files` counts what is beneath) or a file."""

    name: str
    path: str
    size: int
    files: int = 0
    modified: datetime | None = None
    expires: datetime | None = None


def folders(project: Project, prefix: str) -> list[Entry]:
    """The folders right beneath `prefix` (empty, or ending in a slash)."""
    rows = (
        _beneath(project, prefix)
        .filter(slash__gt=0)
        .annotate(folder=Substr("path", len(prefix) + 1, F("slash") - 1))
        .values("folder")
        .annotate(n=Count("id"), bytes=Sum("size"))
        .order_by("folder")
    )
    return [Entry(r["folder"], f"{prefix}{r['folder']}/", r["bytes"], r["n"]) for r in rows]


def files(project: Project, prefix: str, after: str = "") -> tuple[list[Entry], str]:
    """The files right beneath `prefix` by name, and the last one's name if there are more."""
    rows = _beneath(project, prefix).filter(slash=0).order_by("path")
    if after:
        rows = rows.filter(path__gt=prefix + after)
    page = list(rows[: PAGE + 1])
    more = page[PAGE - 1].path[len(prefix) :] if len(page) > PAGE else ""
    return [
        Entry(f.path[len(prefix) :], f.path, f.size, 0, f.modified, f.expires) for f in page[:PAGE]
    ], more


def _beneath(project: Project, prefix: str) -> QuerySet[Any]:
    rows = File.objects.filter(project=project)
    if prefix:
        # "0" follows "/": a range that the index serves, and no pattern to escape.
        rows = rows.filter(path__gt=prefix, path__lt=prefix[:-1] + "0")
    else:  # the system's own folder is reached from the tasks whose logs it holds
        rows = rows.exclude(path__gt=f"{SYSTEM}/", path__lt=f"{SYSTEM}0")
    rest = Substr("path", len(prefix) + 1) if prefix else F("path")
    return rows.annotate(slash=StrIndex(rest, Value("/")))
