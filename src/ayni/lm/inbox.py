"""The sites' messages on their way to the coordinator: each site's in its order, with the blobs they name."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ayni.client.channels import ChannelMessage
from ayni.client.errors import TransferFailed
from ayni.errors import NoRoom, is_full
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.messages import Contributed, Event
from ayni.lm.watching.record import Report

log = logging.getLogger(__name__)
Said = Event | Report
_AT_ONCE = 100  # messages between two commits
_ABREAST = 4  # contributions that are brought at a time
_TRIES = 5  # to bring a blob, before a contribution is taken to be without one
_PAUSE = 1.0  # seconds before the second try, and twice as long before each after it
_ARRIVING = ".part-arriving"  # swept, like all that a killed process leaves


class Up(Protocol):
    """The channel from the sites, as `ayni.client.channels.Channel` has it."""

    def messages(self, after: int = 0) -> Iterator[ChannelMessage]: ...

    def fetch(self, message: ChannelMessage, target: Path) -> Path: ...


@dataclass(frozen=True)
class _Late:
    """A contribution whose blob did not come."""

    site: str
    tries: int
    again: float


class Inbox:
    """What sites said and is not yet heard.

    A contribution is heard when its blob is here. Until then its site's later messages wait behind it,
    and nobody else's.

    Attributes:
        last: the number of the last message that was looked at.
    """

    def __init__(
        self,
        up: Up,
        store: FolderStore,
        read: Callable[[ChannelMessage], Said],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read`: what a message says; of one that cannot be believed, that."""
        self._up, self._store, self._read, self._clock = up, store, read, clock
        self._late: dict[int, _Late] = {}  # by the message's number
        self._ahead: set[int] = set()  # heard, though one before was not
        self._taking: set[int] = set()
        self.last = 0

    def take(self, after: int) -> tuple[list[Said], int]:
        """What can be heard now, and up to which number all is heard then; the same again, until `taken`.

        Raises:
            NoRoom: the disk is full.
            AyniError: the network cannot be reached.
        """
        self.last, waiting, fresh = after, list[int](), list[tuple[ChannelMessage, Said]]()
        now = self._clock()
        behind = {late.site for late in self._late.values() if now < late.again}
        for message in self._up.messages(after):
            self.last = message.sequence
            if message.sequence in self._ahead:
                continue
            if message.sender.site in behind:
                waiting.append(message.sequence)
                continue
            fresh.append((message, self._read(message)))
            if len(fresh) == _AT_ONCE:
                break
        heard, held = self._in_order(fresh)
        up_to = min([*waiting, *held], default=self.last + 1) - 1
        numbers = {message.sequence for message, _ in heard}
        self._taking = {number for number in self._ahead | numbers if number > up_to}
        return [said for _, said in heard], up_to

    def taken(self) -> None:
        """What `take` gave is remembered, and need not come again."""
        self._ahead = self._taking

    def _in_order(
        self, fresh: Sequence[tuple[ChannelMessage, Said]]
    ) -> tuple[list[tuple[ChannelMessage, Said]], list[int]]:
        """What can be heard of it, and the numbers of what waits."""
        late = self._bring([(m, said) for m, said in fresh if isinstance(said, Contributed)])
        behind: set[str | None] = set()
        heard, held = [], []
        for message, said in fresh:
            if message.sequence in late or message.sender.site in behind:
                behind.add(message.sender.site)
                held.append(message.sequence)
            else:
                heard.append((message, said))
        return heard, held

    def _bring(self, said: Sequence[tuple[ChannelMessage, Contributed]]) -> set[int]:
        """Bring blobs to the store, several at a time; the numbers of those that are not here."""
        with ThreadPoolExecutor(_ABREAST, thread_name_prefix="contribution") as pool:
            here = list(pool.map(lambda one: self._brought(*one), said))
        numbers = [message.sequence for message, _ in said]
        return {number for number, there in zip(numbers, here, strict=True) if not there}

    def _brought(self, message: ChannelMessage, said: Contributed) -> bool:
        """Bring a contribution's blob to the store, under the address of what is in it.

        False: it did not come, and will be tried again. Where it never comes, the message is heard
        without it: the inspection then finds no blob.
        """
        number, late = message.sequence, self._late.pop(message.sequence, None)
        if self._store.path(said.blob).exists():
            return True
        try:
            aside = self._store.folder / f"{_ARRIVING}-{number}"
            self._store.adopt(self._up.fetch(message, aside), said.blob)
        except TransferFailed as error:
            if is_full(error):
                raise NoRoom(f"{self._store.folder}: {error}; make room there") from error
            tries = late.tries + 1 if late else 1
            log.warning("the contribution of %s has not arrived: %s", said.site, error)
            again = self._clock() + _PAUSE * 2 ** (tries - 1)
            if tries < _TRIES:
                self._late[number] = _Late(said.site, tries, again)
            return tries >= _TRIES
        return True
