"""A task's spool, a hub in memory, and an agent that can be killed between any two steps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ayni.agent.channels import spool
from ayni.agent.channels.book import Book
from ayni.agent.channels.desk import Desk
from ayni.agent.channels.spool import Spool
from ayni.agent.channels.spot import Spot, Tools
from ayni.agent.charters import Charters
from ayni.agent.hub import HubError
from ayni.agent.staging.beneath import Root
from ayni.agent.staging.hub import HubFiles
from ayni.channel import Channel
from ayni.protocol import release
from ayni.protocol.channels import (
    ChannelUse,
    Incoming,
    Outgoing,
    Posted,
    Problem,
    Sender,
    digest,
    read_schema,
)
from ayni.signatures import Signer, new_secret
from ayni.transfer import Described, Manifest, TransferError
from ayni.transfer.blocks import describe
from tests.agent.assignments import assignment

SCHEMA: dict[str, Any] = {
    "kinds": {
        "part": {"fields": {"n": {"type": "integer", "minimum": 0, "maximum": 10**6}}},
        "delta": {
            "fields": {"n": {"type": "integer", "minimum": 0, "maximum": 10**6, "optional": True}},
            "blob": {"max_bytes": 1000},
        },
    },
    "max_bytes": 100_000,
    "rate": 1000,
}


SIGNER = Signer(new_secret())


class Killed(BaseException):
    """kill -9, as far as the steps before it are concerned."""


@dataclass
class FakeHub:
    """Takes each number once, as the hub does; keeps uploads by their hash."""

    posted: list[Outgoing] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    coming: dict[int, bytes] = field(default_factory=dict)  # blobs of incoming messages
    problem: Problem | None = None
    down: bool = False

    def post(self, messages: list[Outgoing]) -> list[Posted]:
        if self.down:
            raise HubError("the hub cannot be reached")
        return [self._post(message) for message in messages]

    def _post(self, message: Outgoing) -> Posted:
        if self.problem is not None:
            return Posted(problem=self.problem)
        for sequence, old in enumerate(self.posted, 1):
            if old.number == message.number:
                assert self._digest(old) == self._digest(message), "another message came again"
                return Posted(sequence=sequence)
        if message.blob is not None:
            assert message.blob.sha256 in self.blobs
        self.posted.append(message)
        return Posted(sequence=len(self.posted))

    def _digest(self, message: Outgoing) -> str:
        blob = message.blob.sha256 if message.blob else None
        return digest(message.kind, message.body, blob)

    def blob(self, attempt: str, channel: str, sequence: int) -> Manifest:
        if sequence not in self.coming:
            raise HubError("no such blob", 404)
        return manifest(self.coming[sequence])


def manifest(data: bytes) -> Manifest:
    import hashlib

    sha = hashlib.sha256(data).hexdigest()
    blocks = [{"n": 0, "size": len(data), "sha256": sha, "url": "http://store/x"}] if data else []
    return Manifest.model_validate(
        {"size": len(data), "sha256": sha, "block_size": 1 << 20, "blocks": blocks}
    )


@dataclass
class FakeMover:
    """Moves bytes to and from the fake hub."""

    hub: FakeHub
    error: TransferError | None = None

    def describe(self, source: Callable[[], Any], stop: Any = None) -> Described:
        return describe(source)

    def send_many(self, files: list[Any], ask: Any, stop: Any = None) -> list[Any]:
        if self.error is not None:
            return [self.error for _ in files]
        for file in files:
            with file.open() as source:
                self.hub.blobs[file.described.sha256] = source.read()
        return [file.described.sha256[:32] for file in files]

    def fetch(self, file: Any, stop: Any = None) -> None:
        [data] = [d for d in self.hub.coming.values() if manifest(d).sha256 == file.manifest.sha256]
        part = file.target.with_name(f".{file.target.name}.part")
        part.write_bytes(data)
        part.replace(file.target)


class Folders:
    """There is room."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def path(self, attempt: str) -> Path:
        return self.base / attempt

    def no_room(self, wanted: int = 0) -> None:
        return None


@dataclass
class Bench:
    """One attempt with one channel, and an agent that may be started anew."""

    base: Path
    schema: dict[str, Any] = field(default_factory=lambda: SCHEMA)
    rule: release.Rule = release.FREE
    max_bytes: int | None = None
    charter: str | None = None  # its digest
    hub: FakeHub = field(default_factory=FakeHub)
    lines: list[str] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.folder = self.base / "a1"
        (self.folder / "root").mkdir(parents=True)
        with Root(self.folder / "root") as root:
            spool.make(self.folder, root, ["sums"])
        self.spool = self.folder / "root" / "channel" / "sums"
        self.task = Channel("sums", self.spool.parent)
        self.mover = FakeMover(self.hub)
        self.start()

    def start(self) -> Desk:
        """A process of the agent, after whatever the last one left."""
        self.book = Book(self.base)
        tools = Tools(
            book=self.book,
            hub=self.hub,  # type: ignore[arg-type]
            files=HubFiles(httpx.Client()),
            mover=self.mover,  # type: ignore[arg-type]
            folders=Folders(self.base),  # type: ignore[arg-type]
            say=lambda attempt, line: self.lines.append(line),
            charters=Charters(self.base),
            site="norte",
            signer=SIGNER,
            max_bytes=self.max_bytes,
            clock=lambda: self.now,
        )
        use = ChannelUse(
            name="sums", rules=read_schema(self.schema), sends=True, reads=True,
            charter=self.charter,
        )  # fmt: skip
        given = assignment("a1").model_copy(update={"channels": [use]})
        self.desk = Desk(Spot(tools, given, use, self.folder, lambda: self.rule))
        return self.desk

    def send(self, *, last: bool = False) -> None:
        self.desk.outbox.send(threading.Event(), last=last)

    def place(self, *messages: Incoming) -> None:
        for message in messages:
            self.desk.inbox.place(message, threading.Event())

    def write(self, name: str, text: str, blob: bytes | None = None) -> None:
        """As a shell script would."""
        if blob is not None:
            (self.spool / "out" / f"{name}.blob").write_bytes(blob)
        (self.spool / "out" / f"{name}.json").write_text(text)

    @property
    def said(self) -> list[int]:
        """The fields `n` of what the hub has, in its order."""
        return [message.body["n"] for message in self.hub.posted]

    @property
    def errors(self) -> list[dict[str, str]]:
        return self.task.errors()

    def left(self) -> list[str]:
        return sorted(p.name for p in (self.spool / "out").iterdir())

    def beside(self) -> list[str]:
        folder = self.folder / spool.BESIDE / "sums"
        return sorted(p.name for p in folder.iterdir() if p.name != "errors")


def incoming(sequence: int, n: int = 0, blob: bytes | None = None) -> Incoming:
    told = None if blob is None else manifest(blob)
    return Incoming(
        attempt="a1",
        channel="sums",
        sequence=sequence,
        kind="delta" if told else "part",
        body={"n": n or sequence},
        blob=told and {"size": told.size, "sha256": told.sha256},  # type: ignore[arg-type]
        sender=Sender(site="sur", task="t9"),
        sent=1.5,
    )


def part(n: int) -> str:
    return json.dumps({"kind": "part", "body": {"n": n}})


@dataclass
class Steps:
    """Ends the process at the n-th step: before or after a call of the book, the spool or the hub."""

    at: int
    count: int = 0

    def pass_(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Killed

    def around(self, owner: Any, name: str, monkeypatch: Any) -> None:
        whole = getattr(owner, name)

        def stepping(*arguments: Any, **more: Any) -> Any:
            self.pass_()
            found = whole(*arguments, **more)
            self.pass_()
            return found

        monkeypatch.setattr(owner, name, stepping)


WRITES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Book, ("take", "removed", "done", "placing", "placed")),
    (Spool, ("hold_blob", "keep_blob", "remove", "write", "put", "put_blob", "complain")),
    (FakeHub, ("post",)),
    (FakeMover, ("send_many", "fetch")),
)
