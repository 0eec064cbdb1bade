"""A small web and a small hub on this machine, for staging to talk to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from ayni.agent.datasets import Card, Datasets
from ayni.agent.sections import VolumesSection
from ayni.agent.staging.addresses import Rules
from ayni.agent.staging.beneath import Maker
from ayni.agent.staging.cache import Cache
from ayni.agent.staging.filling import Settings
from ayni.agent.staging.finish import Finisher
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.https import Web
from ayni.agent.staging.hub import HubFiles
from ayni.agent.staging.inputs import Stager
from ayni.agent.volumes import Volumes
from ayni.protocol.messages import Assignment, DatasetUse
from ayni.protocol.policy import Who
from ayni.transfer import Mover
from ayni.transfer.http import Patience

BLOCK = 64 << 10
Page = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers by path; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.got: dict[str, bytes] = {}

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Serve this at a path; its URL."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        self.pages[path] = answer
        return self.url + path

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is not None:
            page(self)
        elif self.command == "PUT":
            self.server.got[self.path] = self.body
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path in self.server.got:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.got[self.path])))
            self.end_headers()
            self.wfile.write(self.server.got[self.path])
        else:
            self.send_error(404)

    do_GET = do_PUT = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_PROXY".upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder: Path | str) -> list[str]:
    """What is in a folder."""
    return sorted(entry.name for entry in Path(folder).iterdir())


@dataclass
class FakeHub:
    """`/agent/v1/inputs` and `/agent/v1/uploads`, and a store, at a `Server`."""

    server: Server
    files: dict[str, bytes] = field(default_factory=dict)  # ayni:// URL → content
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, int]] = field(default_factory=list)  # what was asked, how many at once
    refuse: dict[str, dict[str, Any]] = field(default_factory=dict)  # URL → problem
    most: int = 1000  # inputs that one answer tells of

    def __post_init__(self) -> None:
        self.server.pages["/agent/v1/inputs"] = self._page("inputs", self._input, "requests")
        self.server.pages["/agent/v1/uploads"] = self._page("uploads", self._upload, "uploads")

    def _page(self, name: str, answer: Callable[[Any], Any], key: str) -> Page:
        def page(handler: Any) -> None:
            questions = json.loads(handler.body)[key]
            self.calls.append((name, len(questions)))
            self._left = self.most
            body = json.dumps({"results": [answer(q) for q in questions]}).encode()
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        return page

    def _input(self, question: dict[str, str]) -> dict[str, Any]:
        url = question["url"].rstrip("/")
        self._left -= 1
        if self._left < 0:
            busy = {"code": "busy", "message": "too much at once", "retryable": True}
            return {**question, "problem": busy}
        if url in self.refuse:
            return {**question, "problem": self.refuse[url]}
        if question["type"] == "FILE":
            names = [""] if url in self.files else []
        else:
            names = [f[len(url) + 1 :] for f in self.files if f.startswith(url + "/")]
        if not names:
            problem = {"code": "input", "message": f"{url} is not there", "retryable": False}
            return {**question, "problem": problem}
        files = [self._manifest(name, f"{url}/{name}" if name else url) for name in names]
        return {**question, "files": files}

    def _manifest(self, path: str, url: str) -> dict[str, Any]:
        data = self.files[url]
        pieces = [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)]
        blocks = []
        for n, piece in enumerate(pieces):
            place = f"/store/{hashlib.sha256(piece).hexdigest()}"
            self.server.got[place] = piece
            digest = hashlib.sha256(piece).hexdigest()
            where = self.server.url + place
            blocks.append({"n": n, "size": len(piece), "sha256": digest, "url": where})
        whole = hashlib.sha256(data).hexdigest()
        size = len(data)
        return {
            "path": path, "size": size, "sha256": whole, "block_size": BLOCK, "blocks": blocks,
        }  # fmt: skip

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["url"] in self.refuse:
            return {"problem": self.refuse[asked["url"]]}
        key = f"{asked['attempt']}|{asked['url']}"
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.uploads[name] = asked
        missing = [
            {"n": n, "url": f"{self.server.url}/up/{name}/{n}"}
            for n in range(len(asked["blocks"]))
            if f"/up/{name}/{n}" not in self.server.got
        ]
        return {"upload": name, "missing": missing, "ready": not missing}

    def received(self, attempt: str, url: str) -> bytes:
        """What was uploaded, its hashes checked."""
        [name] = [k for k, u in self.uploads.items() if (u["attempt"], u["url"]) == (attempt, url)]
        upload = self.uploads[name]
        blocks = [self.server.got[f"/up/{name}/{n}"] for n in range(len(upload["blocks"]))]
        assert [hashlib.sha256(b).hexdigest() for b in blocks] == upload["blocks"]
        data = b"".join(blocks)
        assert hashlib.sha256(data).hexdigest() == upload["sha256"]
        assert len(data) == upload["size"]
        return data


@dataclass
class Site:
    """A site's staging, in a folder."""

    folder: Path
    server: Server
    hub: FakeHub
    datasets: Datasets
    folders: Folders
    cache: Cache
    web: Web
    mover: Mover
    http: httpx.Client
    volumes: Volumes
    stager: Stager
    finisher: Finisher

    def add_dataset(self, name: str, files: dict[str, bytes], **card: Any) -> None:
        for path, data in files.items():
            place = self.folder / "data" / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        described = Card(version="1", licence="CC0", **card)
        self.datasets.add(self.folder / "data" / name, name, described)

    def with_settings(self, maker: Maker | None = None, **changes: Any) -> None:
        settings = Settings(**{"site": "norte", "transfers": 2, **changes})
        hub = HubFiles(self.http, Patience(tries=2, first=0.01))
        self.stager.close()
        self.finisher.close()
        self.stager = Stager(
            settings,
            self.folders,
            self.datasets,
            hub,
            self.cache,
            self.web,
            self.volumes,
            maker_of=lambda project, attempt: maker,
        )
        self.finisher = Finisher(settings, self.datasets, hub, self.mover, self.web)

    def prepare(self, assignment: Assignment) -> Any:
        [(attempt, result)] = self.stager.prepare([assignment])
        assert attempt == assignment.attempt
        return result

    def close(self) -> None:
        self.stager.close()
        self.finisher.close()
        self.mover.close()
        self.web.close()
        self.http.close()


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Iterator[Site]:
    http = httpx.Client(base_url=server.url, trust_env=False)
    mover = Mover(httpx.Client(trust_env=False), workers=2, patience=Patience(tries=2, first=0.01))
    hub = HubFiles(http, Patience(tries=2, first=0.01))
    datasets = Datasets(tmp_path / "store")
    folders = Folders(tmp_path / "work", reserve=0)
    cache = Cache(tmp_path / "cache", 10 << 20, mover)
    web = Web(Rules(private=(f"127.0.0.1:{server.port}",)), pause=0.01)
    settings = Settings(site="norte", transfers=2)
    volumes = Volumes(tmp_path / "volumes", VolumesSection(), folders.throw_away)
    stager = Stager(settings, folders, datasets, hub, cache, web, volumes)
    finisher = Finisher(settings, datasets, hub, mover, web)
    site = Site(
        tmp_path,
        server,
        FakeHub(server),
        datasets,
        folders,
        cache,
        web,
        mover,
        http,
        volumes,
        stager,
        finisher,
    )
    yield site
    site.close()
    mover.http.close()


def assignment(
    attempt: str = "a1",
    inputs: list[dict[str, Any]] | None = None,
    outputs: list[dict[str, Any]] | None = None,
    datasets: list[DatasetUse] | None = None,
    volumes: list[str] | None = None,
    **shape: Any,
) -> Assignment:
    """An assignment of project `clima`."""
    task: dict[str, Any] = {"executors": [{"image": "host", "command": ["true"]}]}
    for key, value in (("inputs", inputs), ("outputs", outputs), ("volumes", volumes)):
        if value is not None:
            task[key] = value
    who = Who(name="Ana", email="ana@example.org", institution="U", project="clima", member="CO")
    return Assignment(
        attempt=attempt,
        task_id="t1",
        number=1,
        task=task,
        shape={"images": ["host"], "network": False, "disk": 0, **shape},
        partition="local",
        who=who,
        datasets=datasets or [],
    )
