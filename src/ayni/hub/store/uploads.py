"""Uploads on their way: declared, asked for what is missing, verified."""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

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
#: As `map`: calls a function with each item, perhaps several at a time, results in order.
Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


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
    todo = [u for u in uploads if not u.verified and u.checked < len(u.blocks)]
    before = {u.pk: u.checked for u in todo}
    missing: dict[str, list[int]] = {u.pk: [] for u in uploads}
    with _side_by_side(backend) as run:
        prefixes = [keys.prefix(u.project_id, u.pk) for u in todo]
        for upload, arrived in zip(todo, run(backend.arrived, prefixes), strict=True):
            missing[upload.pk] = _missing(upload, arrived)
        whole = [u for u in todo if not missing[u.pk]]
        _verify(whole, backend, run, time.monotonic() + seconds, missing)
    _note_progress([u for u in uploads if not u.verified], before)
    return _stand(uploads, missing, backend)


@contextmanager
def _side_by_side(backend: Backend) -> Iterator[Run]:
    """How to ask the store many things: several at a time where each takes a while."""
    if backend.at_once == 1:
        yield map
        return
    with ThreadPoolExecutor(backend.at_once, thread_name_prefix="ayni-verify") as pool:
        yield pool.map


def _missing(upload: Upload, arrived: Mapping[int, int]) -> list[int]:
    """The blocks that are not there, or of another size."""
    return [
        n
        for n in range(upload.checked, len(upload.blocks))
        if arrived.get(n) != block_length(n, upload.size, upload.block_size)
    ]


def _verify(
    whole: Sequence[Upload],
    backend: Backend,
    run: Run,
    deadline: float,
    missing: Mapping[str, list[int]],
) -> None:
    """Verify in order, so that `checked` says all that is known; what is not right is missing."""
    blocks = ((u, n) for u in whole for n in range(u.checked, len(u.blocks)))
    # At least a few even when time is up, so that asking again always leads on.
    while window := list(islice(blocks, 4 * backend.at_once)):
        verified = run(backend.verify, [block_of(u, n) for u, n in window])
        for (upload, n), right in zip(window, verified, strict=True):
            if not right:
                missing[upload.pk].append(n)
            elif upload.checked == n:
                upload.checked += 1
        if time.monotonic() > deadline:
            return


def _note_progress(uploads: Sequence[Upload], before: Mapping[str, int]) -> None:
    done = [u.pk for u in uploads if u.checked == len(u.blocks)]
    if done:
        Upload.objects.filter(pk__in=done).update(verified=True)
    for u in uploads:
        u.verified = u.checked == len(u.blocks)
        if not u.verified and u.checked > before[u.pk]:
            Upload.objects.filter(pk=u.pk, checked__lt=u.checked).update(checked=u.checked)


def _stand(
    uploads: Sequence[Upload], missing: Mapping[str, list[int]], backend: Backend
) -> list[Standing]:
    share = max(1, MISSING_AT_ONCE // max(1, len(uploads)))
    wanted = [(u, n) for u in uploads for n in missing[u.pk][:share]]
    urls = backend.put_urls([block_of(u, n) for u, n in wanted]) if wanted else []
    named: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (u, n), url in zip(wanted, urls, strict=True):
        named[u.pk].append((n, url))
    return [Standing(u.pk, named[u.pk], u.verified) for u in uploads]


def block_of(upload: Upload, n: int) -> Block:
    return Block(
        keys.block(upload.project_id, upload.pk, n),
        block_length(n, upload.size, upload.block_size),
        upload.blocks[n],
    )
