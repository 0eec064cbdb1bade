"""Uploads on their way: declared, asked for what is missing, verified."""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from ayni.hub.store import keys, paths, quota
from ayni.hub.store.backends import Backend, Block, store
from ayni.hub.store.declaration import Declaration, Refused, block_length, taken
from ayni.hub.store.models import Upload

LIFE = timedelta(days=1)  # of an upload that nobody goes on with
MISSING_AT_ONCE = 1000  # blocks named in one answer, so that their URLs are still good when used
VERIFYING_SECONDS = 10.0  # of one request; the client asks again

Outcome = Upload | Refused


def declare(declarations: Sequence[Declaration]) -> list[Outcome]:
    """An upload for each declaration, in order; the same as before if it was declared before.

    Its bytes count against the quota from now on.
    """
    with transaction.atomic():
        spaces = quota.lock({d.project.pk for d in declarations})
        known = _known(declarations)
        new = [d for d in declarations if _identity(d) not in known]
        clashes = paths.clashes({d.place for d in new})
        free = {d.project.pk: d.project.quota - spaces[d.project.pk].used for d in new}
        reserved: Counter[int] = Counter()
        made: list[Upload] = []
        outcomes: dict[tuple[object, ...], Outcome] = dict(known)
        for declaration in new:
            identity, project = _identity(declaration), declaration.project
            if identity in outcomes:
                continue
            size = declaration.blocks.size
            if (other := clashes.get(declaration.place)) is not None:
                outcomes[identity] = taken(declaration.path, other)
            elif size > free[project.pk] - reserved[project.pk]:
                outcomes[identity] = _over_quota(declaration, free[project.pk])
            else:
                reserved[project.pk] += size
                upload = _upload(declaration)
                outcomes[identity] = upload
                made.append(upload)
        Upload.objects.bulk_create(made)
        quota.change(reserved)
        open_ = [u.pk for u in known.values() if u.expires is not None]
        Upload.objects.filter(pk__in=open_).update(expires=timezone.now() + LIFE)
    return [outcomes[_identity(d)] for d in declarations]


def _identity(d: Declaration) -> tuple[object, ...]:
    b = d.blocks
    return d.project.pk, d.path, d.attempt, b.size, b.sha256, b.block_size, tuple(b.blocks)


def _known(declarations: Sequence[Declaration]) -> dict[tuple[object, ...], Upload]:
    """Live uploads that were declared just so, also committed ones."""
    wanted = {_identity(d) for d in declarations}
    attempts = {d.attempt for d in declarations if d.attempt is not None}
    found = list(Upload.objects.filter(attempt__in=attempts, dead=False)) if attempts else []
    by_project: dict[int, set[str]] = defaultdict(set)
    for d in declarations:
        if d.attempt is None:
            by_project[d.project.pk].add(d.path)
    for project, names in by_project.items():
        found += Upload.objects.filter(project=project, path__in=names, attempt=None, dead=False)
    known: dict[tuple[object, ...], Upload] = {}
    for u in found:
        identity = (
            u.project_id,
            u.path,
            u.attempt_id,
            u.size,
            u.sha256,
            u.block_size,
            tuple(u.blocks),
        )
        if identity in wanted:
            known[identity] = u
    return known


def _upload(d: Declaration) -> Upload:
    return Upload(
        id=secrets.token_hex(16),
        project=d.project,
        path=d.path,
        attempt_id=d.attempt,
        size=d.blocks.size,
        sha256=d.blocks.sha256,
        block_size=d.blocks.block_size,
        blocks=d.blocks.blocks,
        expires=timezone.now() + LIFE,
    )


def _over_quota(d: Declaration, free: int) -> Refused:
    return Refused(
        "quota",
        f"{d.path} has {d.blocks.size} bytes, and project {d.project.name} has {max(0, free)} of "
        f"its quota of {d.project.quota} left; delete files or ask for a larger quota",
        status=413,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an upload is: what to send, or that it is ready to be committed.

    `missing` may be a first part. Neither missing nor ready: being verified; ask again.
    """

    upload: str
    missing: list[tuple[int, str]]  # number and signed URL
    ready: bool


def standings(uploads: Sequence[Upload], seconds: float = VERIFYING_SECONDS) -> list[Standing]:
    """Look into the store for each upload; verify those that are all there, as long as time allows.

    Never within a transaction: an S3 store is read.
    """
    backend = store()
    deadline = time.monotonic() + seconds
    share = max(1, MISSING_AT_ONCE // max(1, len(uploads)))
    missing = {u.pk: [] if u.verified else _look(u, backend, deadline)[:share] for u in uploads}
    whole = [u.pk for u in uploads if not u.verified and u.checked == len(u.blocks)]
    if whole:
        Upload.objects.filter(pk__in=whole).update(verified=True)
    wanted = [(u, n) for u in uploads for n in missing[u.pk]]
    urls = backend.put_urls([block_of(u, n) for u, n in wanted]) if wanted else []
    named: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (u, n), url in zip(wanted, urls, strict=True):
        named[u.pk].append((n, url))
    return [Standing(u.pk, named[u.pk], u.verified or u.pk in whole) for u in uploads]


def _look(upload: Upload, backend: Backend, deadline: float) -> list[int]:
    """The blocks that must be sent; with none, `checked` grows as far as time allows."""
    if upload.checked == len(upload.blocks):
        return []
    arrived = backend.arrived(keys.prefix(upload.project_id, upload.pk))
    missing = [
        n for n in range(upload.checked, len(upload.blocks)) if not _fits(upload, n, arrived)
    ]
    if missing:
        return missing
    before = upload.checked
    bad = _verify(upload, backend, deadline)
    if upload.checked > before and upload.checked < len(upload.blocks):
        Upload.objects.filter(pk=upload.pk, checked__lt=upload.checked).update(
            checked=upload.checked
        )
    return bad


def _fits(upload: Upload, n: int, arrived: Mapping[int, int]) -> bool:
    return arrived.get(n) == block_length(n, upload.size, upload.block_size)


def _verify(upload: Upload, backend: Backend, deadline: float) -> list[int]:
    """Verify from `checked` on, in order; the blocks that were not right."""
    count = len(upload.blocks)
    if backend.at_once == 1:
        while upload.checked < count:
            if not backend.verify(block_of(upload, upload.checked)):
                return [upload.checked]
            upload.checked += 1
        return []
    with ThreadPoolExecutor(backend.at_once) as pool:
        while upload.checked < count and time.monotonic() < deadline:
            window = range(upload.checked, min(count, upload.checked + backend.at_once))
            right = list(pool.map(backend.verify, [block_of(upload, n) for n in window]))
            if not all(right):
                upload.checked += right.index(False)
                return [n for n, good in zip(window, right, strict=True) if not good]
            upload.checked += len(window)
    return []


def block_of(upload: Upload, n: int) -> Block:
    return Block(
        keys.block(upload.project_id, upload.pk, n),
        block_length(n, upload.size, upload.block_size),
        upload.blocks[n],
    )
