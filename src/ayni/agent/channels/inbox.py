"""What a task hears: a message is laid ready beside the root, noted, and renamed to where the task looks.
That it does not lie ready any more shows, after a kill, that it was put down."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

from ayni.agent.channels.spot import Later, Spot
from ayni.agent.hub import HubError
from ayni.protocol import channels as words
from ayni.transfer import Incoming, Manifest, TransferError


@dataclass(frozen=True, slots=True)
class Inbox:
    """`want` and `place` are called by one thread at a time, `answer` beside them."""

    spot: Spot

    def want(self) -> words.Want | None:
        """What to ask the hub for now, if anything: finishes what a kill left half done."""
        if self.spot.broken or not self.spot.use.reads:
            return None
        try:
            after = self._heard()
            room = self.spot.spool.room()
        except OSError as error:
            self.spot.give_up(f"its folders cannot be used: {error.strerror or error}")
            return None
        return (
            words.Want(attempt=self.spot.attempt, channel=self.spot.use.name, after=after)
            if room
            else None
        )

    def _heard(self) -> int:
        heard = self.spot.tools.book.heard(*self.spot.place)
        if heard.placing <= heard.last:
            return heard.last
        # That it does not lie ready any more shows that it was put down.
        if self.spot.spool.ready(heard.placing).exists():
            self.spot.spool.put(heard.placing)
        self.spot.tools.book.placed(*self.spot.place, heard.placing)
        return heard.placing

    def place(self, message: words.Incoming, stop: threading.Event) -> None:
        """Put a message down for the task, unless it has it.

        Raises:
            Later, Stopped: not now.
        """
        try:
            if self.spot.broken or message.sequence <= self._heard():
                return
            shown = _shown(message)
            if message.blob is not None:
                later = self.spot.use.rules.is_on_request(message.kind)
                if later or not self._bring(message.sequence, message.blob, stop):
                    shown["blob"] |= {"file": None}
            self.spot.spool.write(message.sequence, shown)
            self.spot.tools.book.placing(*self.spot.place, message.sequence)
            self.spot.spool.put(message.sequence)
            self.spot.tools.book.placed(*self.spot.place, message.sequence)
        except TransferError as error:
            raise Later(str(error)) from error
        except OSError as error:
            self.spot.give_up(f"its folders cannot be used: {error.strerror or error}")

    @property
    def may_ask(self) -> bool:
        """Whether a task may ask for blobs here at all."""
        return self.spot.use.reads and any(
            map(self.spot.use.rules.is_on_request, self.spot.use.rules.kinds)
        )

    def answer(self, stop: threading.Event) -> int:
        """Bring the blobs that the task asks for; how many it asked for.

        Raises:
            Later, Stopped: not now.
        """
        if self.spot.broken:
            return 0
        try:
            return self.spot.guarded(partial(self._answer, stop))
        except TransferError as error:
            raise Later(str(error)) from error

    def _answer(self, stop: threading.Event) -> int:
        asked = self.spot.spool.asked()
        for sequence in asked:
            heard = self.spot.tools.book.heard(*self.spot.place).last
            if sequence > heard or not self._bring(sequence, None, stop):
                self.spot.complain(
                    str(sequence), "blob", f"message {sequence} has no blob (any more)"
                )
            self.spot.spool.answered(sequence)
        return len(asked)

    def _bring(self, sequence: int, blob: words.Blob | None, stop: threading.Event) -> bool:
        """Bring a message's blob, which must be the one that it names; False if there is none any more."""
        spool = self.spot.spool
        if blob is not None and spool.has_blob(sequence, blob.size):
            return True
        if not spool.arriving(sequence).exists():
            manifest = self._manifest(sequence)
            if manifest is None:
                return False
            if blob is not None and (manifest.size, manifest.sha256) != (blob.size, blob.sha256):
                raise Later("the hub's blob is not the one that its message names")
            if (no := self.spot.tools.folders.no_room(manifest.size)) is not None:
                raise Later(no.message)
            refresh = partial(self._fresh, sequence)
            coming = Incoming(manifest, spool.arriving(sequence), refresh)
            self.spot.tools.mover.fetch(coming, stop=stop)
        spool.put_blob(sequence)
        return True

    def _manifest(self, sequence: int) -> Manifest | None:
        try:
            return self.spot.tools.hub.blob(self.spot.attempt, self.spot.use.name, sequence)
        except HubError as error:
            if error.status == 404:
                return None
            raise Later(str(error)) from error

    def _fresh(self, sequence: int) -> Manifest:
        manifest = self._manifest(sequence)
        if manifest is None:
            raise TransferError("the blob was deleted meanwhile", code="changed", retryable=True)
        return manifest


def _shown(message: words.Incoming) -> dict[str, Any]:
    """A message as the task reads it."""
    blob = message.blob
    return {
        "sequence": message.sequence,
        "kind": message.kind,
        "body": message.body,
        "blob": blob
        and {"file": f"{message.sequence:020}.blob", "size": blob.size, "sha256": blob.sha256},
        "sender": message.sender.model_dump(exclude_none=True),
        "sent": message.sent,
    }
