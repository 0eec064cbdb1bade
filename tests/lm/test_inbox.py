"""Messages are heard in the order of each site, and who waits for a blob waits alone."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ayni.client.channels import BlobInfo, ChannelMessage, ChannelSender
from ayni.client.errors import TransferFailed
from ayni.lm import wire
from ayni.lm.inbox import Inbox, Said
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.messages import Contributed, Failed, Joined

HEX = "0123456789abcdef" * 4


class Line:
    """A channel, and a clock that stands until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.said: list[ChannelMessage] = []
        self.now = 0.0
        self.there = False  # whether blobs come
        self.tried: list[float] = []
        self.store = FolderStore(folder / "blobs")

    def messages(self, after: int = 0) -> list[ChannelMessage]:
        return self.said[after:]

    def fetch(self, message: ChannelMessage, target: Path) -> Path:
        self.tried.append(self.now)
        if not self.there:
            raise TransferFailed("the blob is not there")
        target.write_bytes(message.kind.encode())
        return target

    def inbox(self) -> Inbox:
        return Inbox(self, self.store, self._read, lambda: self.now)  # type: ignore[arg-type]

    def say(self, site: str, event: Contributed | Failed | Joined) -> None:
        kind, body = wire.said(event)
        blob = None
        if isinstance(event, Contributed):
            blob = BlobInfo(size=event.size, sha256=event.blob)
        self.said.append(
            ChannelMessage(
                sequence=len(self.said) + 1,
                kind=kind,
                body=body,
                blob=blob,
                sender=ChannelSender(site=site, task="t", attempt="a"),
                created=datetime.now(UTC),
            )
        )

    def _read(self, message: ChannelMessage) -> Said:
        return wire.heard(message.kind, message.body, run="prueba", site=message.sender.site)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A contribution of norte, then a word of sur and another one of norte."""
    line = Line(tmp_path)
    ref = hashlib.sha256(b"contributed").hexdigest()
    plain = {"fragment": "all", "base": 0, "attempt": 0}
    brought = Contributed(
        run="prueba", site="norte", digest=HEX, nonce=HEX, blob=ref, size=11, tokens=1, steps=1,
        **plain,
    )  # fmt: skip
    line.say("norte", brought)
    line.say("sur", Failed(site="sur", reason=wire.CANNOT, **plain))
    line.say("norte", Joined(site="norte", tokens_per_step=1))
    return line


def kinds(heard: list[Said]) -> list[str]:
    return [str(getattr(one, "kind", "losses")) for one in heard]


def test_who_waits_for_a_blob_waits_alone_and_in_order(line: Line) -> None:
    inbox = line.inbox()
    heard, up_to = inbox.take(0)
    assert (kinds(heard), up_to) == (["failed"], 0)
    inbox.taken()
    line.say("sur", Joined(site="sur", tokens_per_step=1))
    heard, up_to = inbox.take(0)
    assert (kinds(heard), up_to, inbox.last) == (["joined"], 0, 4)
    inbox.taken()
    assert inbox.take(0) == ([], 0)
    line.now, line.there = 60.0, True
    heard, up_to = inbox.take(0)
    assert (kinds(heard), up_to) == (["contributed", "joined"], 4)
    inbox.taken()
    assert inbox.take(4) == ([], 4)


def test_what_was_not_written_down_comes_again(line: Line) -> None:
    inbox = line.inbox()
    assert kinds(inbox.take(0)[0]) == ["failed"]
    assert kinds(inbox.take(0)[0]) == ["failed"]
    assert kinds(line.inbox().take(0)[0]) == ["failed"]


def test_the_pauses_between_tries_grow_and_then_it_is_heard_without_its_blob(line: Line) -> None:
    inbox, heard = line.inbox(), list[Said]()
    while "contributed" not in kinds(heard):
        heard, up_to = inbox.take(0)
        inbox.taken()
        line.now += 0.5
    assert line.tried == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert (kinds(heard), up_to) == (["contributed", "joined"], 3)
    assert not list(line.store.folder.iterdir())
