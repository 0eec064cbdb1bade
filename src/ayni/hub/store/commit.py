"""Committing: names are switched to what was uploaded and verified, under the projects' lock.

Only the database is touched here, so that it fits into the transaction that ends tasks. Bytes were
verified before (`uploads.standings`), and `Upload.verified` says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.utils import timezone

from ayni.hub.store import keys, paths, quota
from ayni.hub.store.attempts import foreign_places
from ayni.hub.store.declaration import Refused, taken
from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from ayni.protocol.messages import LogReport, OutputReport
from ayni.tes.urls import SCHEME, UrlError, parse

GRACE = timedelta(hours=2)  # for which replaced bytes stay, for those who are reading them
_CHUNK = 500

Entry = OutputReport | LogReport
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Switch:
    """A name to be pointed at an upload. `expires` None: the file is kept."""

    upload: Upload
    expires: datetime | None = None

    @property
    def place(self) -> paths.Place:
        return self.upload.project_id, self.upload.path


def commit(upload: Upload, expires: datetime | None = None) -> File:
    """Commit one upload.

    Raises:
        Refused: the path was taken meanwhile, or the upload is no longer there.
    """
    with transaction.atomic():
        quota.lock([upload.project_id])
        current = Upload.objects.filter(pk=upload.pk, dead=False, verified=True).first()
        if current is None:
            raise Refused("gone", "the upload was replaced or given up meanwhile; declare it again")
        switch = Switch(current, expires)
        if (other := paths.clashes([switch.place]).get(switch.place)) is not None:
            raise taken(upload.path, other)
        _switch([switch])
        return File.objects.get(project=upload.project_id, path=upload.path)


def commit_outputs(wanted: Mapping[int, Sequence[Entry]]) -> dict[int, str]:
    """Commit outputs and logs of attempts; all of an attempt's, or none of them.

    Args:
        wanted: by attempt, what its site reported. A log without an upload is passed over; an
            output without one must go to a foreign URL that its task declares.

    Returns:
        By attempt, why nothing of it was committed. A few statements for the whole batch.
    """
    errors: dict[int, str] = {}
    with transaction.atomic():
        attempts = _attempts(wanted)
        uploads = _uploads(e.upload for entries in wanted.values() for e in entries if e.upload)
        switches: dict[int, list[Switch]] = {}
        for number, entries in wanted.items():
            try:
                attempt = attempts.get(number)
                if attempt is None or attempt.superseded:
                    raise Refused("attempt", "the attempt was given up")
                _check_foreign(attempt, entries)
                kept = [e for e in entries if e.upload]
                switches[number] = [_checked(attempt, entry, uploads) for entry in kept]
            except Refused as error:
                errors[number] = str(error)
        quota.lock({s.upload.project_id for kept in switches.values() for s in kept})
        accepted = _without_clashes(switches, errors)
        _switch([s for number in accepted for s in switches[number]])
    return errors


def _attempts(numbers: Iterable[int]) -> dict[int, Attempt]:
    found: dict[int, Attempt] = {}
    for chunk in _chunks(list(numbers)):
        rows = Attempt.objects.filter(pk__in=chunk).select_related("task__project")
        found |= {a.pk: a for a in rows.defer("report")}
    return found


def _uploads(names: Iterable[str]) -> dict[str, Upload]:
    found: dict[str, Upload] = {}
    for chunk in _chunks([name for name in names if keys.is_upload(name)]):
        found |= {u.pk: u for u in Upload.objects.filter(pk__in=chunk).defer("blocks")}
    return found


def _checked(attempt: Attempt, entry: Entry, uploads: Mapping[str, Upload]) -> Switch:
    """The switch that an entry asks for.

    Raises:
        Refused: the upload is not this attempt's, not whole, or something else than reported.
    """
    task, project = attempt.task, attempt.task.project
    upload = uploads.get(entry.upload or "")
    if upload is None or upload.attempt_id != attempt.pk or upload.project_id != project.pk:
        raise Refused("upload", f"{_name(entry)}: the attempt has no such upload")
    if upload.dead or not upload.verified:
        raise Refused("upload", f"{_name(entry)}: it is not all in the store")
    if isinstance(entry, LogReport):
        path = paths.log_path(ids.show(task.pk), entry.command, entry.stream)
        if upload.path != path:
            raise Refused("upload", f"{_name(entry)}: the upload is of another file")
        return Switch(upload, timezone.now() + timedelta(days=project.retention))
    try:
        url = parse(entry.url)
    except UrlError as error:
        raise Refused("upload", f"{_name(entry)}: {error}") from error
    if url.owner != project.name or url.path != upload.path:
        raise Refused("upload", f"{_name(entry)}: the upload is of another file")
    if (entry.size, entry.sha256) != (upload.size, upload.sha256):
        raise Refused("upload", f"{_name(entry)}: the upload has another size or hash")
    return Switch(upload)


def _check_foreign(attempt: Attempt, entries: Sequence[Entry]) -> None:
    """Outputs that were not sent here went elsewhere, and only to where the task says.

    Raises:
        Refused: one is of this hub's store, or of a place that the task does not name.
    """
    foreign = [e for e in entries if isinstance(e, OutputReport) and not e.upload]
    if not foreign:
        return
    places = foreign_places(attempt.task)
    for entry in foreign:
        if entry.url.startswith(SCHEME):
            raise Refused("upload", f"{_name(entry)}: it was not sent")
        if not any(entry.url == place or entry.url.startswith(f"{place}/") for place in places):
            raise Refused("upload", f"{_name(entry)}: it is no output of the task")


def _name(entry: Entry) -> str:
    if isinstance(entry, LogReport):
        return f"log {entry.command} {entry.stream[:10]!r}"
    return repr(entry.url[:200])


def _without_clashes(switches: Mapping[int, list[Switch]], errors: dict[int, str]) -> list[int]:
    """The attempts that can be committed; of two that are in each other's way, the first."""
    clashes = paths.clashes({s.place for kept in switches.values() for s in kept})
    files: set[paths.Place] = set()
    folders: set[paths.Place] = set()
    accepted = []
    for number, kept in switches.items():
        own_files = {s.place for s in kept}
        own_folders = {(project, f) for project, path in own_files for f in paths.above(path)}
        problem = next((taken(p[1], clashes[p]) for p in own_files if p in clashes), None)
        crossed = (own_files & (folders | own_folders)) | (own_folders & files)
        if problem is None and crossed:
            problem = Refused("taken", f"{min(crossed)[1]} cannot be both a file and a folder")
        if problem is not None:
            errors[number] = str(problem)
            continue
        files |= own_files
        folders |= own_folders
        accepted.append(number)
    return accepted


def _switch(switches: Sequence[Switch]) -> None:
    """Point the names at their uploads and bury what they pointed at. With the lock held."""
    now = timezone.now()
    last = {s.place: s for s in switches}
    kept = {s.upload.pk for s in last.values()}
    buried = {s.upload.pk for s in switches} | _pointed_at(last)
    File.objects.bulk_create(
        [
            File(
                project_id=s.upload.project_id,
                path=s.upload.path,
                upload_id=s.upload.pk,
                size=s.upload.size,
                modified=now,
                expires=s.expires,
            )
            for s in last.values()
        ],
        update_conflicts=True,
        unique_fields=["project", "path"],
        update_fields=["upload", "size", "modified", "expires"],
        batch_size=_CHUNK,
    )
    for chunk in _chunks(list(kept)):
        Upload.objects.filter(pk__in=chunk).update(expires=None)
    bury(buried - kept, now)


def _pointed_at(places: Collection[paths.Place]) -> set[str]:
    by_project: dict[int, list[str]] = defaultdict(list)
    for project, path in places:
        by_project[project].append(path)
    found: set[str] = set()
    for project, names in by_project.items():
        for chunk in _chunks(names):
            rows = File.objects.filter(project=project, path__in=chunk)
            found |= set(rows.values_list("upload_id", flat=True))
    return found


def bury(uploads: Collection[str], now: datetime) -> None:
    """Uploads that nothing points at any more: they no longer count, and are swept after a grace.

    With the lock of their projects held.
    """
    for chunk in _chunks(list(uploads)):
        rows = Upload.objects.filter(pk__in=chunk, dead=False)
        freed: dict[int, int] = defaultdict(int)
        for project, size in rows.values_list("project_id", "size"):
            freed[project] -= size
        rows.update(dead=True, expires=now + GRACE)
        quota.change(freed)


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
