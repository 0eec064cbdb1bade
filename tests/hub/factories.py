"""Rows for tests: each makes what it needs, with names that do not clash."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from itertools import count
from typing import Any

import orjson
from django.utils import timezone

from ayni.hub.accounts.models import Institution, Member, Person, Token
from ayni.hub.accounts.tokens import (
    SCOPES,
    Caller,
    admit,
    digest,
    issue_person_token,
    issue_site_token,
    valid_token,
)
from ayni.hub.calls.models import Membership, Project
from ayni.hub.catalogue.models import Dataset, Volume
from ayni.hub.network.models import Site
from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.create import create_task
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Attempt, Task
from ayni.protocol.attempts import LIVE, AttemptState
from ayni.protocol.messages import Report
from ayni.tes import models as tes

_numbers = count(1)


def member(code: str = "CL", name: str = "") -> Member:
    return Member.objects.get_or_create(code=code, defaults={"name": name or code})[0]


def institution(of: Member | None = None, **fields: Any) -> Institution:
    fields.setdefault("name", f"Universidad {next(_numbers)}")
    return Institution.objects.create(member=of or member(), **fields)


def person(at: Institution | None = None, **fields: Any) -> Person:
    number = next(_numbers)
    fields.setdefault("email", f"persona{number}@example.org")
    fields.setdefault("name", f"Persona {number}")
    return Person.objects.create_user(institution=at or institution(), **fields)


def project(at: Institution | None = None, **fields: Any) -> Project:
    fields.setdefault("name", f"project-{next(_numbers)}")
    fields.setdefault("title", fields["name"])
    return Project.objects.create(institution=at or institution(), **fields)


def site(at: Institution | None = None, **fields: Any) -> Site:
    fields.setdefault("name", f"site-{next(_numbers)}")
    fields.setdefault("title", fields["name"])
    return Site.objects.create(institution=at or institution(), **fields)


def join(someone: Person, a_project: Project) -> None:
    Membership.objects.get_or_create(person=someone, project=a_project)


def token(
    someone: Person | None = None,
    a_project: Project | None = None,
    scopes: Collection[str] = SCOPES,
    days: float = 90,
) -> str:
    """The secret of a token for a person who is in the project; `days` < 0 has expired."""
    someone, a_project = someone or person(), a_project or project()
    join(someone, a_project)
    return issue_person_token(someone, a_project, scopes, days)


def site_token(a_site: Site | None = None) -> str:
    return issue_site_token(a_site or site())


def revoke(secret: str) -> None:
    Token.objects.filter(digest=digest(secret)).update(
        revoked=timezone.now() - timedelta(seconds=1)
    )


def auth(secret: str) -> dict[str, str]:
    """Headers for Django's test client: `client.get(url, headers=auth(secret))`."""
    return {"Authorization": f"Bearer {secret}"}


def dataset(at: Site | None = None, **fields: Any) -> Dataset:
    """A site's dataset; with `project=…` and no site, a project's."""
    fields.setdefault("name", f"data-{next(_numbers)}")
    fields.setdefault("version", "1")
    fields.setdefault("licence", "CC-BY-4.0")
    if "project" not in fields:
        fields["site"] = at or site()
    return Dataset.objects.create(**fields)


def volume(of: Project, at: Site | None = None, **fields: Any) -> Volume:
    """A volume of the project, as its site told of it."""
    moment = timezone.now()
    fields = {"name": f"room-{next(_numbers)}", "uid": f"{next(_numbers):016x}", **fields}
    return Volume.objects.create(
        project=of, site=at or site(), created=moment, used=moment, **fields
    )


def caller_in(a_project: Project) -> Caller:
    return admit(valid_token(digest=digest(token(None, a_project))))


def task(a_project: Project, state: TaskState = TaskState.QUEUED, **fields: Any) -> Task:
    """A task as if it had been sent, then moved to `state`; `fields` are its TES document's."""
    fields.setdefault("executors", [{"image": "host", "command": ["true"]}])
    number = create_task(caller_in(a_project), tes.Task.model_validate(fields))
    Task.objects.filter(id=number).update(state=state.value)
    return Task.objects.get(id=number)


def attempt(
    of: Task,
    at: Site | None = None,
    state: AttemptState = AttemptState.RUNNING,
    report: Report | None = None,
    **fields: Any,
) -> Attempt:
    """A try at the task, with what its site last reported."""
    moment = timezone.now()
    fields.setdefault("number", of.attempts.count() + 1)
    fields.setdefault("partition", "local")
    fields.setdefault("started", moment)
    return Attempt.objects.create(
        id=ids.new(),
        task=of,
        site=at or site(),
        state=state.value,
        live=state in LIVE,
        assigned=moment,
        ended=None if state in LIVE else moment,
        report=None if report is None else report.model_dump(mode="json"),
        **fields,
    )


def file(a_project: Project, path: str, size: int = 3) -> File:
    """A committed file, as the store's tables know it; no bytes are anywhere."""
    upload = Upload.objects.create(
        id=f"upload{next(_numbers)}",
        project=a_project,
        path=path,
        size=size,
        sha256="0" * 64,
        block_size=1 << 20,
        blocks=["0" * 64],
        verified=True,
    )
    return File.objects.create(
        project=a_project, path=path, upload=upload, size=size, modified=timezone.now()
    )


def json(data: Any) -> bytes:
    return orjson.dumps(data)
