"""An alliance of three countries with work in every state, and somebody signed in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.catalogue.models import Dataset
from ayni.hub.ledger.models import UsageRecord
from ayni.hub.network.models import Site
from ayni.hub.store.models import File, Upload
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import After, Array, Attempt, Group, Placement, Task, TaskBody
from ayni.tes.shape import Shape

from .. import factories as make

DOCUMENT = {"name": "perfil", "executors": [{"image": "host", "command": ["echo", "<b>hola</b>"]}]}


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@dataclass
class Alliance:
    person: Person
    project: Project
    sites: dict[str, Site]
    group: Group
    secret: str
    client: Client

    def task(
        self,
        state: TaskState,
        attempt: str = "",
        site: str = "santiago",
        project: Project | None = None,
        **fields: object,
    ) -> Task:
        """A task in `state`; `attempt` is the state of its one attempt."""
        now = timezone.now()
        project = project or self.project
        fields.setdefault("id", ids.new())
        fields.setdefault("name", "perfil")
        task = Task.objects.create(
            project=project, person=self.person, group=self.group, state=state,
            created=now - timedelta(minutes=5), ended=now if state >= 10 else None, **fields,
        )  # fmt: skip
        if task.array_id is None:
            TaskBody.objects.create(task=task, document=json.dumps(DOCUMENT))
        if attempt:
            self.attempt(task, attempt, site)
        return task

    def attempt(self, task: Task, state: str, site: str = "santiago") -> Attempt:
        live = state in ("assigned", "accepted", "initializing", "pending", "running")
        report = {
            "host": "nodo17",
            "commands": [] if live else [{"exit_code": 0, "started": 1.0, "ended": 2.0}],
            "logs": [{"command": 0, "stream": "stdout", "size": 9, "tail": "<i>hola\n"}],
            "outputs": [
                {"url": f"ayni://{self.project.name}/salida/perfil.json", "size": 12,
                 "path": "/out/perfil.json", "sha256": "0" * 64}
            ],
        }  # fmt: skip
        attempt = Attempt.objects.create(
            id=ids.new(), task=task, number=1, site=self.sites[site], partition="general",
            state=state, live=live, assigned=task.created, started=task.created,
            ended=task.ended, report=report,
        )  # fmt: skip
        if not live:
            self.book(attempt)
        return attempt

    def book(self, attempt: Attempt) -> None:
        UsageRecord.objects.create(
            attempt=attempt, project=attempt.task.project, site=attempt.site,
            giver=attempt.site.institution.member, receiver=self.project.institution.member,
            job="1", cores=2, wall=3600, cpu=3600, core_seconds=7200, peak_memory=10**8,
            ended=timezone.now(),
        )  # fmt: skip


def status(**policy: object) -> dict[str, object]:
    partition = {
        "name": "general", "nodes": 2, "cores": 64, "cores_per_node": 32, "memory": 64 << 30,
        "memory_per_node": 32 << 30, "max_walltime": 86400,
    }  # fmt: skip
    rules = {"images": ["host"], "max_cores": 8, "max_walltime": 7200, **policy}
    return {"agent_version": "1", "policy": rules, "partitions": [partition]}


@pytest.fixture
def alliance(db: None, client: Client) -> Alliance:
    now = timezone.now()
    chile = make.institution(make.member("CL", "Chile"), name="Universidad del Sur")
    mexico = make.institution(make.member("MX", "México"), name="Universidad del Norte")
    colombia = make.institution(make.member("CO", "Colombia"), name="Universidad del Centro")
    sites = {
        "santiago": make.site(
            chile, name="santiago", title="Santiago", latitude=-33.4, longitude=-70.6,
            last_seen=now, status=status(members=["CL", "CO"], deny_persons=["malo@example.org"]),
        ),
        "mexico": make.site(
            mexico, name="mexico", title="Ciudad de México", latitude=19.3, longitude=-99.2,
            last_seen=now - timedelta(hours=3), status=status(network=True, max_tasks=10),
        ),
        "bogota": make.site(colombia, name="bogota", title="Bogotá", latitude=4.6, longitude=-74.1),
        "lima": make.site(colombia, name="lima", title="Sitio excluido", banned_at=now),
    }  # fmt: skip
    project = make.project(colombia, name="atlas", title="Atlas")
    person = make.person(colombia, name="Ana")
    group = Group.objects.create(
        project=project, person=person, key="a" * 64, shape=Shape(images=("host",)).to_json()
    )
    secret = make.token(person, project)
    return Alliance(person, project, sites, group, secret, client)


@pytest.fixture
def work(alliance: Alliance) -> Alliance:
    """Tasks in every state, an array, a file, datasets, a placement."""
    for state in TaskState:
        attempt = {
            TaskState.PLACED: "accepted", TaskState.INITIALIZING: "pending",
            TaskState.RUNNING: "running", TaskState.COMPLETE: "complete",
            TaskState.EXECUTOR_ERROR: "executor_error", TaskState.SYSTEM_ERROR: "lost",
        }.get(state, "")  # fmt: skip
        reason = None
        if state is TaskState.EXECUTOR_ERROR:
            reason = {"code": "exit", "message": "exit 3", "parameters": {"exit_code": 3}}
        if state is TaskState.SYSTEM_ERROR:
            reason = {"code": "lost", "message": "gone", "parameters": {}}
        task = alliance.task(state, attempt, reason=reason)
        if state is TaskState.WAITING:
            first = alliance.task(TaskState.RUNNING, "running", "mexico")
            After.objects.create(task=task, on_task=first)
    number = ids.new(4)
    array = Array.objects.create(
        id=number, project=alliance.project, person=alliance.person, name="perfiles", size=3,
        template=json.dumps(DOCUMENT), created=timezone.now(),
    )  # fmt: skip
    for index in range(3):
        state = TaskState.EXECUTOR_ERROR if index else TaskState.COMPLETE
        alliance.task(state, id=number + 1 + index, array=array, index=index, parameters={"l": "x"})
    put_file(alliance.project, "salida/perfil.json")
    for rule in ("nothing", "aggregate", "anything"):
        Dataset.objects.create(
            name=f"lenguas-{rule}", version="1", title="Textos", licence="CC0", files=2, size=10,
            site=alliance.sites["santiago"], release=rule, release_limit=1000,
        )  # fmt: skip
    Placement.objects.create(
        group=alliance.group, site=alliance.sites["santiago"], partition="general",
        first=timezone.now() - timedelta(hours=1), last=timezone.now(), fingerprint="f",
        reasons=[
            {"site": "santiago", "verdict": "chosen", "code": "chosen", "message": "was given 1",
             "parameters": {"count": 1}},
            {"site": "mexico", "verdict": "ineligible", "code": "silent", "message": "silent",
             "parameters": {"seconds": 7200}},
        ],
    )  # fmt: skip
    return alliance


def put_file(project: Project, path: str, blocks: int = 1) -> File:
    upload = Upload.objects.create(
        id=f"{Upload.objects.count():032x}", project=project, path=path, size=12 * blocks,
        sha256="0" * 64, block_size=12, blocks=["0" * 64] * blocks, checked=blocks, verified=True,
    )  # fmt: skip
    return File.objects.create(
        project=project, path=path, upload=upload, size=upload.size, modified=timezone.now()
    )


@pytest.fixture
def signed_in(work: Alliance) -> Alliance:
    answer = work.client.post("/entrar", {"token": work.secret})
    assert answer.status_code == 302
    return work
