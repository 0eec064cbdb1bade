"""What a run's blobs take of the project's quota: on its channels stay those that somebody can need.

A contribution's only reader is the coordinator, which has it in its own store before it counts as heard.
What was offered to the sites stays with the messages, since every round can be exported from it; in a run
without history only as long as a head can name it (`outer.lineage.referenced`), and a while longer for
those that are fetching it. Messages stay; they are small.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Set

from ayni.client.errors import NotAllowed
from ayni.lm.lines import Line
from ayni.lm.outer.lineage import referenced
from ayni.lm.outer.state import State

log = logging.getLogger(__name__)
_EVERY = 60.0  # seconds between two looks
_GRACE = 900.0  # seconds in which a site may still fetch what the head before named


class Room:
    """The blobs on the channels from and to the sites. `offered`: bytes, each blob once."""

    def __init__(self, up: Line, down: Line, *, history: bool) -> None:
        self._up, self._down, self._history = up, down, history
        self._sent: dict[str, int] = {}
        self._gone: set[str] = set()
        self._spare: dict[str, float] = {}  # to the sites: since when nobody needs it
        self._looked, self._may = float("-inf"), True

    @property
    def offered(self) -> int:
        return sum(self._sent.values())

    def has(self, ref: str) -> bool:
        """Whether the sites can have a blob."""
        return ref in self._sent and ref not in self._gone

    def add(self, ref: str, size: int) -> None:
        """A blob was offered to the sites."""
        self._sent[ref] = size
        self._gone.discard(ref)

    def look(self) -> None:
        """Which of the blobs that were added are there no more: after a start, all that is known."""
        try:
            self._gone = self._sent.keys() - self._down.held().keys()
        except NotAllowed as error:
            self._give_up(error)

    def make(self, state: State, heard: int) -> None:
        """Delete what nobody can need, if it is time to look.

        Args:
            state: the coordinator's, as it is written down.
            heard: the number of the last message of a site that the state knows.

        Raises:
            AyniError: the network cannot be reached now.
        """
        now = time.monotonic()
        if not self._may or now - self._looked < _EVERY:
            return
        try:
            self._clear(referenced(state), heard, now)
        except NotAllowed as error:
            self._give_up(error)
        self._looked = now

    def _clear(self, needed: Set[str], heard: int, now: float) -> None:
        here = self._up.held().keys()  # and then what was not heard yet, which is of these or newer
        waiting = {one.blob.sha256 for one in self._up.messages(heard) if one.blob is not None}
        for ref in sorted(here - needed - waiting):
            self._up.drop(ref)
        if not self._history:
            self._clear_down(needed, now)

    def _clear_down(self, needed: Set[str], now: float) -> None:
        spare = (self._down.held().keys() & self._sent.keys()) - needed
        self._spare = {ref: self._spare.get(ref, now) for ref in sorted(spare)}
        for ref, since in self._spare.items():
            if now - since >= _GRACE:
                self._down.drop(ref)
                self._gone.add(ref)

    def _give_up(self, error: NotAllowed) -> None:
        self._may = False
        log.warning("blobs stay at the store until the run's retention is over: %s", error)
