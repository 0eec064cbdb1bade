"""What tests of the store share: content, blocks, tasks that have attempts, and reading back."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import timezone

from ayni.hub.calls.models import Project
from ayni.hub.network.models import Site
from ayni.hub.store import files, uploads
from ayni.hub.store.declaration import MIN_BLOCK, Blocks, Declaration
from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Attempt, Group, Task, TaskBody
from ayni.protocol.messages import OutputReport
from tests.hub import factories
from tests.hub.store.server import WEB

BLOCK = MIN_BLOCK


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def pieces(data: bytes, block_size: int = BLOCK) -> list[bytes]:
    return [data[i : i + block_size] for i in range(0, len(data), block_size)]


def blocks(data: bytes, block_size: int = BLOCK) -> Blocks:
    hashes = [sha(piece) for piece in pieces(data, block_size)]
    return Blocks(size=len(data), sha256=sha(data), block_size=block_size, blocks=hashes)


def declare(
    project: Project, path: str, data: bytes, attempt: Attempt | None = None
) -> uploads.Outcome:
    declaration = Declaration(project, path, blocks(data), attempt.pk if attempt else None)
    return uploads.declare([declaration])[0]


def declared(project: Project, path: str, data: bytes, attempt: Attempt | None = None) -> Upload:
    outcome = declare(project, path, data, attempt)
    assert isinstance(outcome, Upload), outcome
    return outcome


def put(missing: Iterable[tuple[int, str]], data: bytes) -> None:
    parts = pieces(data)
    for n, url in missing:
        assert WEB.put(url, content=parts[n]).status_code in (200, 201)


def uploaded(project: Project, path: str, data: bytes, attempt: Attempt | None = None) -> Upload:
    """Declared, sent and verified."""
    upload = declared(project, path, data, attempt)
    [standing] = uploads.standings([upload])
    put(standing.missing, data)
    upload.refresh_from_db()
    [standing] = uploads.standings([upload])
    assert standing.ready
    upload.refresh_from_db()
    return upload


def read(project: Project, path: str) -> bytes | None:
    """The bytes of a committed file, from the store."""
    file = File.objects.filter(project=project, path=path).select_related("upload").first()
    if file is None:
        return None
    [manifest] = files.manifests([file])
    return b"".join(
        WEB.get(block["url"]).raise_for_status().content for block in manifest["blocks"]
    )


def document(
    inputs: Sequence[dict[str, Any]] = (), outputs: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    return {
        "executors": [{"image": "host", "command": ["true"]}],
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def attempt(
    project: Project, site: Site, task: dict[str, Any] | None = None, **fields: Any
) -> Attempt:
    """A live attempt at a task of this document."""
    row = Task.objects.create(id=ids.new(), **_task(project))
    TaskBody.objects.create(task=row, document=json.dumps(task or document()))
    return _attempt(row, site, **fields)


def array_attempts(
    project: Project, site: Site, template: dict[str, Any], parameters: list[dict[str, str]]
) -> list[Attempt]:
    common = _task(project)
    first = ids.new(len(parameters))
    array = Array.objects.create(
        id=ids.new(),
        project=project,
        person=common["person"],
        template=json.dumps(template),
        size=len(parameters),
        created=timezone.now(),
    )
    return [
        _attempt(
            Task.objects.create(id=first + n, array=array, index=n, parameters=values, **common),
            site,
        )
        for n, values in enumerate(parameters)
    ]


def _task(project: Project) -> dict[str, Any]:
    person = factories.person()
    group, _ = Group.objects.get_or_create(
        project=project, key="k", defaults={"shape": {}, "person": person}
    )
    return {
        "project": project,
        "person": person,
        "group": group,
        "state": TaskState.RUNNING.value,
        "created": timezone.now(),
    }


def _attempt(task: Task, site: Site, **fields: Any) -> Attempt:
    fields.setdefault("number", 1)
    return Attempt.objects.create(
        id=ids.new(), task=task, site=site, partition="p", assigned=timezone.now(), **fields
    )


def output(made: Upload, **fields: Any) -> OutputReport:
    """The report of an output that was uploaded."""
    told = {
        "url": f"ayni://{made.project.name}/{made.path}",
        "path": "/out",
        "size": made.size,
        "sha256": made.sha256,
        "upload": made.pk,
    }
    return OutputReport(**{**told, **fields})
