"""Channels in memory, which hold to their schemas; and a run over them in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ayni.channel import Message
from ayni.client.channels import BlobInfo, ChannelMessage, ChannelSender
from ayni.client.errors import TransferFailed
from ayni.client.keys import SiteKeys, write_keys
from ayni.lm.config import Run
from ayni.lm.steering import KEYS, Steering
from ayni.protocol.channels import canonical, read_schema
from ayni.signatures import Said, Signer, new_secret


class Line:
    """A channel: all that was said, and the blobs."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.rules = read_schema(schema)
        self.said: list[ChannelMessage] = []
        self.blobs: dict[int, bytes] = {}
        self.lost: set[int] = set()  # blobs that do not arrive

    def put(
        self,
        kind: str,
        body: Any,
        blob: bytes | None,
        sender: ChannelSender,
        signed: tuple[int, str] | None = None,
    ) -> int:
        fit = self.rules.check(kind, body, None if blob is None else len(blob))
        assert canonical(fit) == canonical(body)
        number = len(self.said) + 1
        info = None
        if blob is not None:
            self.blobs[number] = blob
            info = BlobInfo(size=len(blob), sha256=hashlib.sha256(blob).hexdigest())
        self.said.append(
            ChannelMessage(
                sequence=number,
                kind=kind,
                body=fit,
                blob=info,
                sender=sender,
                created=datetime.now(UTC),
                number=signed[0] if signed else None,
                signature=signed[1] if signed else None,
            )
        )
        return number

    # --- from outside ---

    def messages(self, after: int = 0) -> Iterator[ChannelMessage]:
        yield from list(self.said[after:])

    def send(self, kind: str, body: Any = None, blob: Path | None = None) -> int:
        data = None if blob is None else blob.read_bytes()
        return self.put(kind, dict(body or {}), data, ChannelSender(person="ana@norte.example"))

    def fetch(self, message: ChannelMessage, target: Path) -> Path:
        if message.sequence in self.lost:
            raise TransferFailed("the blob is not there")
        if message.sequence not in self.blobs:
            raise TransferFailed("there is no such file")
        target.write_bytes(self.blobs[message.sequence])
        return target

    def held(self) -> dict[str, int]:
        ours = [one for one in self.said if one.blob and one.sequence in self.blobs]
        return {one.blob.sha256: one.blob.size for one in ours if one.blob}

    def drop(self, sha256: str) -> None:
        for one in self.said:
            if one.blob and one.blob.sha256 == sha256:
                self.blobs.pop(one.sequence, None)


PROJECT, CHANNEL = "quinua", "prueba-up"
PERSON = Signer(new_secret())  # who may steer
SIGNERS: dict[str, Signer] = {}  # of the sites


def signer(site: str) -> Signer:
    return SIGNERS.setdefault(site, Signer(new_secret()))


def keys(folder: Path) -> SiteKeys:
    """A coordinator's, which pins what the hub says."""
    return SiteKeys(folder / "site-keys.json", lambda site: signer(site).public)


def steering(run: Run, folder: Path) -> Steering:
    """A coordinator's, whose file names one person."""
    path = folder / KEYS
    write_keys(path, {"ana": PERSON.public})
    return Steering(PROJECT, run, path)


class Up:
    """What an attempt at a site sends by, and what its agent signs."""

    def __init__(self, line: Line, site: str) -> None:
        self._line, self._site, self._attempt, self._number = line, site, uuid4().hex, 0

    def send(
        self, kind: str, body: dict[str, Any], blob: Path | None = None, *, move: bool = False
    ) -> str:
        sender = ChannelSender(site=self._site, task="t", attempt=self._attempt)
        data = None if blob is None else blob.read_bytes()
        if blob is not None and move:
            blob.unlink()
        self._number += 1
        said = Said(
            PROJECT, CHANNEL, self._site, "t", self._attempt, self._number, kind, body,
            None if data is None else hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
        signed = self._number, signer(self._site).sign(said)
        return str(self._line.put(kind, body, data, sender, signed))

    def waiting(self) -> list[str]:
        return []

    def refusal(self, name: str, /) -> str | None:
        return None


class Down:
    """What a task at a site hears by: from the first message on, as a new attempt does."""

    def __init__(self, line: Line, folder: Path) -> None:
        self._line, self._folder, self._at = line, folder, 0
        self.fetched = 0
        self.asked: list[int] = []  # messages whose blobs were wanted before a head named them
        folder.mkdir(parents=True, exist_ok=True)

    def receive(self, timeout: float | None = None) -> Iterator[Message]:
        while self._at < len(self._line.said):
            one = self._line.said[self._at]
            self._at += 1
            sender = one.sender.model_dump(exclude_none=True)
            yield Message(one.sequence, one.kind, one.body, None, sender, 0.0)

    def ask(self, message: Message, /) -> None:
        self.asked.append(message.sequence)

    def fetch(self, message: Message, timeout: float | None = None) -> Path:
        self.fetched += 1
        path = self._folder / f"{message.sequence}.blob"
        path.write_bytes(self._line.blobs[message.sequence])
        return path
