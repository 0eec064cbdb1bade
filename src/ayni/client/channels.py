"""A project's channels from outside: make, send, receive. Within a task, see `ayni.channel`."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import Field, ValidationError

from ayni.client.connection import LONG_PATIENCE, MAX_WAIT
from ayni.client.errors import AyniError, NotFound, TransferFailed
from ayni.client.models import Answer
from ayni.transfer import Answer as BlobAnswer
from ayni.transfer import Described, TransferError
from ayni.transfer.blocks import Opener
from ayni.transfer.project import ProjectFiles

if TYPE_CHECKING:
    from ayni.client.network import Network

PAGE = 100  # messages in one answer
_RETENTION = 30  # days


class CharterAnswer(Answer):
    """What a site's operator said of a charter: `accepted`, `refused`, or `asked` where nothing yet."""

    site: str
    state: str
    at: datetime
    why: str = ""


class ChannelInfo(Answer):
    """A channel. `last` is the number of its newest message, `retention` in days.

    `charter_digest`: the SHA-256 of the charter's text, by which operators accept it; None: it has none.
    """

    name: str
    rules: dict[str, Any] = Field(alias="schema")
    retention: int
    charter: str = ""
    charter_digest: str | None = None
    answers: list[CharterAnswer] = []
    last: int
    person: str
    created: datetime


class BlobInfo(Answer):
    size: int
    sha256: str


class ChannelSender(Answer):
    """Who said it: an attempt of a task at a site, or a person."""

    site: str | None = None
    task: str | None = None
    attempt: str | None = None
    person: str | None = None

    def __str__(self) -> str:
        return f"{self.site}/{self.task}" if self.task else str(self.person or "?")


class ChannelMessage(Answer):
    """A message. Its blob, if it has one, is brought by `Channel.fetch`.

    `signature` is the sending site's, and `number` counts its attempt's messages here: see
    `ayni.client.keys`, which checks them.
    """

    sequence: int
    kind: str
    body: dict[str, Any]
    blob: BlobInfo | None = None
    sender: ChannelSender
    created: datetime
    number: int | None = None
    signature: str | None = None


class Channel:
    """A channel of the token's project."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self.name = name
        self._path = f"/channels/{name}"
        self._blobs = f".ayni/channels/{name}/"  # among the project's files

    @property
    def info(self) -> ChannelInfo:
        """What the hub says of it, asked each time."""
        return ChannelInfo.model_validate(self._network.connection.get(self._path))

    def send(
        self,
        kind: str,
        body: Mapping[str, Any] | None = None,
        blob: str | Path | bytes | None = None,
        *,
        key: str | None = None,
    ) -> int:
        """Put a message into the channel; its number there.

        Args:
            kind: as the schema names it.
            body: its fields.
            blob: bytes or a file that goes with it, sent first, in blocks that go on where they were.
            key: your own name of the message: the same again is the same message, so that a process
                that was killed may say again what it is not sure to have said.

        Raises:
            BadRequest: the schema does not list it.
            Conflict: another message had this key.
            TransferFailed: the blob could not be sent.
        """
        said: dict[str, Any] = {"kind": kind, "body": dict(body or {}), "key": key or uuid4().hex}
        if blob is not None:
            said["blob"] = self._send_blob(blob)
        answer = self._network.connection.post(
            f"{self._path}/messages", said, patience=LONG_PATIENCE
        )
        return int(answer["sequence"])

    def _send_blob(self, blob: str | Path | bytes) -> dict[str, Any]:
        source: Path | Opener = _opener(blob) if isinstance(blob, bytes) else Path(blob)
        try:
            with self._network.connection.mover() as mover:
                described = mover.describe(source)
                upload = mover.send(source, described, lambda: self._declare(described))
        except TransferError as error:
            raise TransferFailed(str(error)) from error
        return {"size": described.size, "sha256": described.sha256, "upload": upload}

    def _declare(self, described: Described) -> BlobAnswer:
        answer = self._network.connection.post(f"{self._path}/blobs", asdict(described))
        try:
            return BlobAnswer.model_validate(answer)
        except ValidationError as error:
            raise TransferError(f"the hub's answer cannot be understood: {error}") from error

    def messages(self, after: int = 0) -> Iterator[ChannelMessage]:
        """The messages that there are after a number, in order."""
        while found := self._page(after, 0.0):
            yield from found
            after = found[-1].sequence

    def receive(self, after: int = 0, timeout: float | None = None) -> Iterator[ChannelMessage]:
        """Messages after a number, in order, as they come.

        Args:
            after: where to begin; `channel.info.last` for what is new.
            timeout: seconds without a message after which it ends; None never ends.
        """
        came = time.monotonic()
        while True:
            left = MAX_WAIT if timeout is None else timeout - (time.monotonic() - came)
            found = self._page(after, max(0.0, left))
            for message in found:
                yield message
                after, came = message.sequence, time.monotonic()
            if not found and timeout is not None and time.monotonic() - came >= timeout:
                return

    def fetch(self, message: ChannelMessage, target: str | Path) -> Path:
        """Bring a message's blob to a file.

        It has the SHA-256 that the message names, and so its sender's signature is over it too.

        Raises:
            AyniError: it has none.
            TransferFailed: it did not arrive, or is there no more.
        """
        if message.blob is None:
            raise AyniError(f"message {message.sequence} of channel {self.name} has no blob")
        local = Path(target)
        path = self._blobs + message.blob.sha256
        connection = self._network.connection
        try:
            with connection.mover() as mover:
                files = ProjectFiles(connection.client, mover)
                files.get(path, local, sha256=message.blob.sha256)
        except TransferError as error:
            raise TransferFailed(str(error)) from error
        return local

    def held(self) -> dict[str, int]:
        """The blobs that are at the store: SHA-256 and bytes."""
        found = self._network.store.ls(self._blobs)
        return {file.path.removeprefix(self._blobs): file.size for file in found}

    def drop(self, sha256: str) -> None:
        """Delete a blob before its time; messages that name it stay. What is not there is no error.

        Raises:
            NotAllowed: the token lacks the scope `store:write`.
        """
        with suppress(NotFound):
            self._network.connection.delete("/files", path=self._blobs + sha256)

    def delete(self) -> None:
        """Delete it with all its messages and blobs."""
        self._network.connection.delete(self._path)

    def _page(self, after: int, wait: float) -> list[ChannelMessage]:
        answer = self._network.connection.get(
            f"{self._path}/messages", wait=wait, patience=LONG_PATIENCE, after=after, limit=PAGE
        )
        return [ChannelMessage.model_validate(one) for one in answer["messages"]]

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"


def make(
    network: Network,
    name: str,
    schema: Mapping[str, Any],
    retention: int = _RETENTION,
    charter: str = "",
) -> Channel:
    """Make a channel; the same again is the same channel."""
    asked = {"name": name, "schema": dict(schema), "retention": retention}
    if charter:
        asked["charter"] = charter.replace("\r\n", "\n")
    network.connection.post("/channels", asked)
    return Channel(network, name)


def _opener(data: bytes) -> Callable[[], io.BytesIO]:
    return lambda: io.BytesIO(data)
