"""Sweeping: expired files, uploads given up, bytes that nothing points at. For the hub's housekeeping.

Every step may be cut short and repeated: rows go before their bytes are forgotten, never after.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from ayni.hub.store import files, keys, quota
from ayni.hub.store.backends import store
from ayni.hub.store.commit import bury
from ayni.hub.store.models import File, Upload

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did; `more` where it stopped at its limit."""

    files: int = 0  # of which the time was over
    abandoned: int = 0  # uploads that nobody went on with
    removed: int = 0  # uploads of which the bytes are gone now
    orphans: int = 0  # prefixes in the store that no upload owns
    incoming: int = 0  # leftovers of interrupted transfers
    more: bool = False


class _Walk:
    """Where the walk through the store for orphans stands; it begins anew with each process."""

    lock = threading.Lock()
    after = ""


def sweep(now: datetime, limit: int = 1000) -> Swept:
    """Sweep at most about `limit` things of each kind. Not within a transaction: it deletes bytes."""
    expired = _expired_files(now, limit)
    abandoned = _abandoned(now, limit)
    removed = _remove(now, limit)
    orphans, walked_all = _orphans(limit)
    incoming = store().clear_incoming() if walked_all else 0
    swept = Swept(
        files=expired,
        abandoned=abandoned,
        removed=removed,
        orphans=orphans,
        incoming=incoming,
        more=limit in (expired, abandoned, removed),
    )
    if orphans:
        log.warning("removed %d uploads from the store that the database does not know", orphans)
    return swept


def _expired_files(now: datetime, limit: int) -> int:
    with transaction.atomic():
        due = File.objects.filter(expires__lte=now).order_by("expires")[:limit]
        by_project: dict[int, list[int]] = defaultdict(list)
        for pk, project in due.values_list("pk", "project_id"):
            by_project[project].append(pk)
        quota.lock(by_project)
        # Asked again with the lock held: a file may have been written anew meanwhile.
        return files.delete_locked(
            {
                project: File.objects.filter(pk__in=numbers, expires__lte=now)
                for project, numbers in by_project.items()
            },
            now,
        )


def _abandoned(now: datetime, limit: int) -> int:
    """Uploads that were not committed in time; those of live attempts may wait for their site."""
    open_ = Upload.objects.filter(dead=False, expires__lte=now).exclude(attempt__live=True)
    with transaction.atomic():
        due = list(open_.order_by("expires").values_list("pk", "project_id")[:limit])
        quota.lock({project for _, project in due})
        still = set(open_.filter(pk__in=[pk for pk, _ in due]).values_list("pk", flat=True))
        bury(still, now)
    return len(still)


def _remove(now: datetime, limit: int) -> int:
    """Bytes first, row last: after a crash between the two it is done again."""
    backend = store()
    due = Upload.objects.filter(dead=True, expires__lte=now).order_by("expires")
    gone = []
    for upload, project in due.values_list("pk", "project_id")[:limit]:
        backend.delete_prefix(keys.prefix(project, upload))
        gone.append(upload)
    Upload.objects.filter(pk__in=gone, dead=True).delete()
    return len(gone)


def _orphans(limit: int) -> tuple[int, bool]:
    """Remove uploads that the database does not know; an upload's row is older than its bytes.

    Returns:
        How many, and whether the walk through the store came to its end.
    """
    backend = store()
    with _Walk.lock:
        prefixes, _Walk.after = backend.uploads(_Walk.after, limit)
        done = not _Walk.after
    names = {prefix.partition("/")[2]: prefix for prefix in prefixes}
    known = set(Upload.objects.filter(pk__in=names).values_list("pk", flat=True))
    removed = 0
    for prefix in (prefix for name, prefix in names.items() if name not in known):
        try:
            backend.delete_prefix(prefix)
            removed += 1
        except ValueError:
            log.warning("%r in the store is nothing of the hub's; left alone", prefix)
    return removed, done
