"""Who may steer a run. A person's key signs each wish; the coordinator hears those of the keys in its file.

Only the hub says who put a message into a channel, so that word counts for nothing here. A signature binds
a wish to its run and to the moment at which it was given. Wishes are heard in the order of these moments,
one of all people, and the last one is remembered with the coordinator's state: what is repeated, or comes
in another order, is no newer than that and is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ayni.client import credentials
from ayni.client.channels import Channel, ChannelMessage
from ayni.client.errors import AyniError
from ayni.client.keys import read_keys, write_keys
from ayni.lm import wire
from ayni.lm.config import Run
from ayni.lm.outer.messages import Event, Wish
from ayni.signatures import Signer, Wished, holds, signer_at
from ayni.terminal import one_line

log = logging.getLogger(__name__)
KEYS = "steering-keys.json"
#: Of the coordinator's cursor: the last message that was read, and when the last wish heard was signed.
READ, LAST = "steering", "signed"
_KEY = "signing.key"
_HOLDS = 24 * 3600 * 1_000_000  # microseconds: what was held back for longer is not wished any more
_AHEAD = 60 * 1_000_000  # … that a person's clock may be ahead; others wait for it
_TOLD = 5  # refused wishes of many at once that are answered: who floods a run does not hold it up
_ANSWER = 10.0  # seconds that a person waits for the coordinator's answer

#: What people are told: the number of a wish, and why it was refused, if it was.
Answer = dict[str, Any]


class Unheard(ValueError):
    """A wish that is not heard; the text is one of `wire`'s."""


def clock() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def own_key() -> Signer:
    """This person's key, for all runs, beside their tokens; made when it is wanted for the first time.

    Raises:
        UserError: it is damaged, cannot be kept, or others may read it.
    """
    path = credentials.path().with_name(_KEY)
    return signer_at(
        path, "remove it: a new one is made, which each run's coordinator must be told"
    )


def sign(signer: Signer, project: str, run: Run, wish: Wish) -> tuple[str, dict[str, Any]]:
    """A wish as kind and body, signed now."""
    kind, body = wire.said(wish)
    at = clock()
    signature = signer.sign(Wished(project, run.steering, at, kind, body))
    return kind, {**body, "key": signer.public, "at": at, "signature": signature}


def answer_to(channel: Channel, wish: int) -> Answer | None:
    """What the coordinator says of a wish, by its number; None: nothing yet. It is the hub's word."""
    for message in channel.receive(after=wish, timeout=_ANSWER):
        if message.kind == wire.ANSWER and message.body.get("wish") == wish:
            return message.body
    return None


@dataclass(frozen=True)
class Steering:
    """Whose wishes a run's coordinator hears.

    Attributes:
        keys: the file of public keys, `{"NAME": "64 hexadecimal digits", …}`, read at each wish.
    """

    project: str
    run: Run
    keys: Path

    def begin(self) -> None:
        """Where nobody said who may steer, it is the person who coordinates.

        Raises:
            UserError, AyniError: their key cannot be used; the file cannot be written.
        """
        if not self.keys.exists():
            write_keys(self.keys, {"coordinator": own_key().public})

    def hear(
        self, messages: Iterable[ChannelMessage], cursor: dict[str, int]
    ) -> tuple[list[Event], list[Answer]]:
        """What people wish, and what they are answered; the cursor is moved on."""
        events: list[Event] = []
        heard: list[Answer] = []
        refused: list[Answer] = []
        for message in messages:
            cursor[READ] = message.sequence
            if message.kind == wire.ANSWER:
                continue
            try:
                event, cursor[LAST] = self._heard(message, cursor[LAST])
                heard.append({"wish": message.sequence})
            except Unheard as why:
                key = str(message.body.get("key"))[:64]
                told = one_line(f"{message.kind[:64]}, by key {key}: {why}")
                log.warning("wish %s was refused: %s", message.sequence, told)
                event = wire.rejected(message, told)
                if len(refused) < _TOLD:
                    refused.append({"wish": message.sequence, "refused": str(why)})
            events.append(event)
        return events, heard + refused

    def _heard(self, message: ChannelMessage, last: int) -> tuple[Event, int]:
        """The wish in a message, and when it was signed."""
        body = dict(message.body)
        key, at, signature = (body.pop(name, None) for name in ("key", "at", "signature"))
        if not (isinstance(key, str) and type(at) is int and isinstance(signature, str)):
            raise Unheard(wire.UNSIGNED)
        if key not in self._known():
            raise Unheard(wire.FOREIGN)
        wished = Wished(self.project, self.run.steering, at, message.kind, body)
        if not holds(wished, signature, key):
            raise Unheard(wire.FORGED)
        if at <= last:
            raise Unheard(wire.STALE)
        if not -_HOLDS <= at - clock() <= _AHEAD:
            raise Unheard(wire.LATE if at < clock() else wire.EARLY)
        try:
            return wire.heard(message.kind, body, run=self.run.run), at
        except ValueError as error:
            raise Unheard(wire.STRANGE) from error

    def _known(self) -> set[str]:
        """The keys in the file. One that somebody spoilt ends no run."""
        try:
            return set(read_keys(self.keys).values())
        except AyniError as error:
            log.warning("%s", error)
            raise Unheard(wire.UNREADABLE) from error
