"""Who may see and touch what: on every operation of both APIs, as their documents list them.

A new operation is covered by being in a document; if it needs a value that is not known here, this fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.test import Client
from django.utils import timezone

from ayni.hub.api import build
from ayni.hub.channels import keep
from ayni.hub.channels.post import Letter, post
from ayni.hub.tasks import ids, tes_openapi
from ayni.hub.tasks.create import create_array
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Attempt, Task
from ayni.hub.tasks.requests import NewArray
from ayni.protocol.attempts import AttemptState
from ayni.protocol.channels import read_schema
from ayni.protocol.messages import LogReport, Report

from . import factories as make

TASK = {"executors": [{"image": "host", "command": ["true"]}]}
DIGEST = "0" * 64
#: A body that each writing operation takes, as far as it is looked at before access is decided.
BODIES = {
    "/ga4gh/tes/v1/tasks": TASK,
    "/api/v1/tasks": {"task": TASK},
    "/api/v1/arrays": {"task": TASK, "count": 2},
    "/api/v1/sites/for": {"task": TASK},
    "/api/v1/datasets": {
        "datasets": [{"name": "d", "version": "1", "licence": "CC0-1.0", "prefix": "d/"}]
    },
    "/api/v1/channels": {"name": "made", "schema": {"kinds": {"k": {}}}},
    "/api/v1/channels/{name}/messages": {"kind": "k", "key": "2"},
    "/api/v1/channels/{name}/blobs": {
        "size": 1, "sha256": DIGEST, "block_size": 1 << 20, "blocks": [DIGEST],
    },
    "/api/v1/uploads": {
        "path": "a", "size": 1, "sha256": DIGEST, "block_size": 1 << 20, "blocks": [DIGEST],
    },
}  # fmt: skip
QUERIES = {
    ("GET", "/api/v1/files/manifest"): {"path": "secret/a.txt"},
    ("DELETE", "/api/v1/files"): {"path": "secret/a.txt"},
}


@dataclass(frozen=True)
class Operation:
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def writes(self) -> bool:
        return self.method != "GET" and self.path != "/api/v1/sites/for"


def operations() -> list[Operation]:
    tes = tes_openapi.document()
    found = [
        Operation(method.upper(), tes["servers"][0]["url"] + path)
        for path, methods in tes["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") != []
    ]
    ours = build().get_openapi_schema(path_prefix="/api/v1/")
    found += [
        Operation(method.upper(), path) for path, ms in ours["paths"].items() for method in ms
    ]
    return found


every_operation = pytest.mark.parametrize("operation", operations(), ids=str)
pytestmark = pytest.mark.django_db


class World:
    """A project with everything in it, and strangers of every kind."""

    def __init__(self) -> None:
        self.project = make.project()
        self.person = make.person()
        self.secret = make.token(self.person, self.project)
        self.task = make.task(self.project, TaskState.RUNNING, name="secret")
        log = LogReport(command=0, stream="stdout", size=6, tail="secret")
        report = Report(attempt="x", seq=1, state=AttemptState.RUNNING, logs=[log])
        make.attempt(self.task, state=AttemptState.RUNNING, report=report)
        array = NewArray(task={**TASK, "name": "secret"}, count=2)
        self.array, _ = create_array(make.caller_in(self.project), array)
        self.dataset = make.dataset(project=self.project, name="secret", prefix="secret/")
        kinds = {"secret": {"fields": {"word": {"type": "enumeration", "values": ["secret"]}}}}
        rules = read_schema({"kinds": kinds})
        self.channel = keep.make(self.project, self.person, "secret", rules, 30)
        said = {"kind": "secret", "body": {"word": "secret"}}
        post([Letter(self.channel.pk, "1", person=self.person.pk, **said)])
        self.volume = make.volume(self.project, name="secret")
        self.upload = make.file(self.project, "secret/a.txt").upload

    def call(self, operation: Operation, secret: str | None):
        path = operation.path
        known = {
            "id": ids.show(self.array if "/arrays/" in path else self.task.pk),
            "name": self.dataset.name,
            "site": self.volume.site.name,
            "upload": self.upload.pk,
        }
        for name, value in known.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path, f"say above what stands for the parameter in {operation.path}"
        if query := QUERIES.get((operation.method, operation.path)):
            path += "?" + "&".join(f"{k}={v}" for k, v in query.items())
        return Client().generic(
            operation.method,
            path,
            data=""
            if operation.method in ("GET", "DELETE")
            else make.json(BODIES.get(operation.path, {})),
            content_type="application/json",
            headers=make.auth(secret) if secret is not None else {},
        )

    def untouched(self) -> bool:
        """Whether all is as it was made."""
        cancelled = Task.objects.filter(state=TaskState.CANCELED.value).exists()
        return (
            not cancelled
            and Task.objects.count() == 3
            and Array.objects.count() == 1
            and not Attempt.objects.filter(cancel=True).exists()
            and self.project.files.filter(path="secret/a.txt").exists()
            and self.project.datasets.filter(name="secret").exists()
            and self.project.channels.filter(name="secret", last=1).count() == 1
            and self.project.channels.count() == 1
            and self.project.volumes.filter(name="secret", remove=False).exists()
        )


@pytest.fixture
def world():
    return World()


@every_operation
def test_the_projects_own_token_is_let_in(world, operation):
    """So that what follows shows something: the same calls reach their operation."""
    assert world.call(operation, world.secret).status_code < 500
    assert world.call(operation, world.secret).status_code not in (401, 403)


@every_operation
def test_without_a_good_token_nobody_is_let_in(world, operation):
    revoked = make.token(world.person, world.project)
    make.revoke(revoked)
    expired = make.token(world.person, world.project, days=-1)
    for secret in (None, "", "ayni_" + "x" * 43, world.secret[:-1], revoked, expired):
        answer = world.call(operation, secret)
        assert answer.status_code == 401, answer.content
        assert answer["WWW-Authenticate"]
        assert b"secret" not in answer.content
    assert world.untouched()


@every_operation
@pytest.mark.parametrize("banned", ["person", "project"])
def test_who_is_banned_is_not_let_in(world, operation, banned):
    row = getattr(world, banned)
    row.banned_at = timezone.now()
    row.save()
    assert world.call(operation, world.secret).status_code == 403
    assert world.untouched()


@every_operation
def test_a_site_is_no_person(world, operation):
    assert world.call(operation, make.site_token()).status_code == 403
    assert world.untouched()


@every_operation
def test_who_left_the_project_is_not_let_in(world, operation):
    world.person.memberships.all().delete()
    assert world.call(operation, world.secret).status_code == 403
    assert world.untouched()


@every_operation
def test_a_token_without_scopes_does_nothing(world, operation):
    answer = world.call(operation, make.token(world.person, world.project, scopes=[]))
    if operation.path == "/api/v1/me":
        assert answer.json()["project"]["webhook_key"] is None
        return
    assert answer.status_code == 403
    assert world.untouched()


@every_operation
def test_a_token_that_may_only_read_writes_nothing(world, operation):
    reader = make.token(world.person, world.project, scopes=["tasks:read", "store:read"])
    answer = world.call(operation, reader)
    assert (answer.status_code == 403) is operation.writes
    assert world.untouched()


@every_operation
def test_another_project_neither_sees_nor_touches_anything(world, operation):
    """Not even a person who is in both, with the token of the other one."""
    for stranger in (make.token(), make.token(world.person, make.project())):
        before = Task.objects.count(), Array.objects.count()
        answer = world.call(operation, stranger)
        assert b"secret" not in answer.content.replace(b"'secret'", b"").replace(
            b"secret/a.txt", b""
        )
        if "{" in operation.path or (operation.method, operation.path) in QUERIES:
            assert answer.status_code == 404, answer.content
            assert (Task.objects.count(), Array.objects.count()) == before
        Task.objects.exclude(project=world.project).delete()
        Array.objects.exclude(project=world.project).delete()
    assert world.untouched()


def test_a_stranger_is_told_the_same_of_what_is_anothers_and_what_is_nobodys(world):
    stranger = make.auth(make.token())
    client = Client()
    for path in ("/ga4gh/tes/v1/tasks/{}", "/api/v1/tasks/{}", "/api/v1/arrays/{}"):
        theirs = ids.show(world.array if "arrays" in path else world.task.pk)
        nobodys = ids.show(ids.new())
        answers = [client.get(path.format(i), headers=stranger) for i in (theirs, nobodys)]
        assert [a.status_code for a in answers] == [404, 404]
        told = [
            a.content.replace(i.encode(), b"")
            for a, i in zip(answers, (theirs, nobodys), strict=True)
        ]
        assert told[0] == told[1]


def test_no_two_schemas_of_our_document_share_a_name():
    """ninja keeps them by name: the later one would stand for both."""
    seen: dict[str, object] = {}
    for router in build()._get_bound_routers():
        for view in router.path_operations.values():
            for operation in view.operations:
                models = [m for m in operation.response_models.values() if isinstance(m, type)]
                for model in (*operation.models, *models):
                    for name, schema in model.model_json_schema().get("$defs", {}).items():
                        assert seen.setdefault(name, schema) == schema, name
