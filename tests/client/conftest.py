"""The client against the real hub: its WSGI application in this process, its file server beside it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx
import pytest

from ayni.cli import frame
from ayni.client import Network
from ayni.client.commands import account, console
from ayni.client.connection import Connection
from ayni.hub.accounts.models import Person
from ayni.hub.calls.models import Project
from ayni.hub.network.cycle import Broker
from ayni.hub.network.models import Hub
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Attempt
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import LogReport, OutputReport
from ayni.tes.urls import parse
from tests.hub import factories as make
from tests.hub.network.simulated import Agent
from tests.hub.store.server import SECRET, RunningServer, running
from tests.hub.store.support import sha, uploaded

HUB = "http://hub.test"


class Wire(httpx.BaseTransport):
    """Leads to the hub in this process, and to the real file server for what is not the hub's."""

    def __init__(self) -> None:
        from ayni.hub.wsgi import application

        self.hub = httpx.WSGITransport(app=application, raise_app_exceptions=True)
        self.other = httpx.HTTPTransport()
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host == "hub.test":
            return self.hub.handle_request(request)
        assert "Authorization" not in request.headers, "the token goes to the hub only"
        return self.other.handle_request(request)

    def close(self) -> None:
        """Shared by several clients."""


@pytest.fixture(scope="session")
def file_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("fileserver")) as server:
        yield server


@dataclass
class World:
    """A hub with one project and a person in it."""

    person: Person
    project: Project
    secret: str
    wire: Wire = field(default_factory=Wire)

    def network(self, secret: str = "") -> Network:
        return Network(HUB, secret or self.secret, http_transport=self.wire)

    def agent(self, name: str = "chile", **more: Any) -> Agent:
        """A site whose agent has said what it offers."""
        agent = Agent(make.site(name=name), **more)
        agent.settle()
        return agent

    def place(self, agent: Agent) -> dict[str, str]:
        """The broker works once; the attempts that are the agent's now, by task."""
        Broker().cycle()
        agent.settle()
        return {a.task_id: attempt for attempt, a in agent.assigned.items()}

    def finish(
        self,
        agent: Agent,
        task: str,
        *,
        state: AttemptState = AttemptState.COMPLETE,
        files: Mapping[str, bytes] | None = None,
        log: str = "",
        **more: Any,
    ) -> None:
        """The task ends at the site: with output files (by their path in the task) and a log."""
        attempt = self.place(agent)[task]
        row = Attempt.objects.get(pk=ids.read(attempt))
        sent = []
        for path, data in (files or {}).items():
            url = _url_of(agent.assigned[attempt].task["outputs"], path)
            upload = uploaded(self.project, parse(url).path, data, row)
            sent.append(
                OutputReport(url=url, path=path, size=len(data), sha256=sha(data), upload=upload.pk)
            )
        logs = [LogReport(command=0, stream="stdout", size=len(log.encode()), tail=log)]
        agent.advance(attempt, state, outputs=sent, logs=logs if log else [], **more)
        agent.settle()


def _url_of(outputs: list[dict[str, Any]], path: str) -> str:
    for output in outputs:
        if path == output["path"]:
            return str(output["url"])
        if path.startswith(f"{output['path']}/"):
            return f"{output['url']}{path.removeprefix(output['path'])}"
    raise AssertionError(f"the task declares no output for {path}")


@pytest.fixture
def world(transactional_db: None, file_server: RunningServer, settings: Any) -> World:
    settings.STORE_URL = f"file://{file_server.folder}"
    settings.FILES_URL = file_server.url
    Hub.objects.update_or_create(id=1, defaults={"epoch": "e", "secret": SECRET})
    person, project = make.person(), make.project(name="langs")
    return World(person, project, make.token(person, project))


@pytest.fixture
def network(world: World) -> Iterator[Network]:
    with world.network() as network:
        yield network


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Run:
    """Run `ayni …` as a shell would, in an empty folder of its own, without any credentials."""
    part = EntryPoint("client", "ayni.client.commands:register", frame.GROUP)
    real = frame.build
    monkeypatch.setattr(frame, "build", lambda: real([part]))
    for name in ("AYNI_HUB", "AYNI_TOKEN", "AYNI_CA_FILE", "AYNI_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def ayni(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsysbinary.readouterr()
        code = 0
        try:
            frame.main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsysbinary.readouterr()
        return Result(code, out.decode(errors="surrogateescape"), err.decode())

    return ayni


@pytest.fixture
def cli(world: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, signed in to the world's hub."""
    monkeypatch.setattr(console, "open_network", world.network)
    monkeypatch.setattr(
        account, "open_connection", lambda found: Connection(found, http_transport=world.wire)
    )
    return run
