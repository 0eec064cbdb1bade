"""What a site hears of the run: its heads, and the weights and updates that they name."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ayni.channel import Message
from ayni.errors import UserError
from ayni.lm import wire
from ayni.lm.beside import Beside
from ayni.lm.files import consumed
from ayni.lm.outer.catchup import CatchUp
from ayni.lm.outer.codec import decode
from ayni.lm.outer.messages import Head
from ayni.lm.parameters import Named, Shapes, arrays, count

log = logging.getLogger(__name__)
_PATIENCE = 600.0  # seconds for a blob to come


class Down(Protocol):
    """The channel to the sites, as `ayni.channel.Channel` has it."""

    def receive(self, timeout: float | None = None) -> Iterator[Message]: ...

    def ask(self, message: Message, /) -> None: ...

    def fetch(self, message: Message, timeout: float | None = None) -> Path: ...


class Incoming:
    """The newest head of each fragment, and the blobs that are offered."""

    def __init__(self, run: str, down: Down, shapes: Mapping[str, Shapes], beside: Beside) -> None:
        self.heads: dict[str, Head] = {}
        self._run, self._down, self._shapes, self._beside = run, down, shapes, beside
        self._blobs: dict[str, Message] = {}
        self._next: Message | None = None  # the update to a version that is being made

    def listen(self) -> None:
        """Take in what has come, but from other sites' tasks: these announce nothing.

        Raises:
            UserError: the run is of another model than the one here.
        """
        for message in self._down.receive(timeout=0):
            if message.sender.get("task"):
                log.warning("task %s announces something: passed over", message.sender["task"])
            elif message.kind == wire.BLOB:
                self._blobs[message.body["ref"]] = message
                self._next = message if message.body.get("next") else self._next
            elif message.kind == wire.HEAD:
                head = wire.heard_head(message.body, run=self._run)
                self.heads[head.fragment] = self._checked(head)
                self._next = None

    def ask_ahead(self) -> None:
        """Have the update brought that the next head will name, if it is offered by now."""
        if self._next is not None:
            self._down.ask(self._next)
            self._next = None

    def _checked(self, head: Head) -> Head:
        shapes = self._shapes.get(head.fragment)
        own = count(shapes) if shapes else 0
        if head.count != own:
            raise UserError(
                f"the run's model has {head.count} values in the fragment {head.fragment} and this one "
                f"{own}: give the site the run's own configuration"
            )
        return head

    @property
    def complete(self) -> bool:
        """Whether every fragment's head was heard."""
        return len(self.heads) == len(self._shapes)

    def offers(self, ref: str) -> bool:
        return ref in self._blobs

    def has(self, way: CatchUp) -> bool:
        """Whether all that a way needs is here, or can be fetched now."""
        refs = [way.snapshot, *(link.update for link in way.links)]
        return all(
            ref in self._blobs and (self._beside.is_done(ref) or not self._beside.knows(ref))
            for ref in refs
            if ref is not None
        )

    def fetch_ahead(self, fragment: str, way: CatchUp) -> None:
        """Bring and decode the updates of a way, while the site trains on."""
        for ref in (link.update for link in way.links):
            if ref is not None and ref in self._blobs:
                self._beside.do(ref, lambda ref=ref: list(self._decoded(fragment, ref)))  # type: ignore[misc]

    def vector(self, fragment: str, ref: str) -> Named:
        """The tensors in an encoded blob.

        Raises:
            Refused, TimeoutError: it does not come.
            CodecError, BlocksError: it is not what it must be.
        """
        return self._beside.take(ref) if self._beside.knows(ref) else self._decoded(fragment, ref)

    def _decoded(self, fragment: str, ref: str) -> Named:
        shapes = self._shapes[fragment]
        with self.blob(ref) as path, path.open("rb") as blob:
            yield from arrays(decode(blob, count(shapes)), shapes)

    @contextmanager
    def blob(self, ref: str) -> Iterator[Path]:
        """A blob's file, which goes when it was used.

        Raises:
            Refused, TimeoutError: it does not come.
        """
        with consumed(self._down.fetch(self._blobs[ref], timeout=_PATIENCE)) as path:
            yield path
