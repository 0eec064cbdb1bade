"""The line to the hub: one exchange open at nearly every moment, tried again with patience.

The cycle builds requests and takes answers in its own thread; here only the waiting is done
elsewhere. A request that the hub holds open is overtaken by the next one as soon as there is
something to say; the hub lets the older one go, and its answer is dropped (`AgentSide.hear`).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ayni.agent.hub import HubError
from ayni.protocol.exchange import AgentSide
from ayni.protocol.messages import SyncReply, SyncRequest

log = logging.getLogger(__name__)

APART = 0.05  # seconds between two requests …
APART_BUSY = 0.2  # … when the last one told something: then changes travel together
OVERTAKE = 0.3  # seconds after which a request that told something is no longer waited for
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_REFUSED_PAUSE = 60.0  # when the key is not accepted: an operator has to act, so slowly


class Fenced(Exception):
    """The hub does not listen to this process any more: another one speaks for the site."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of request `number`."""

    number: int
    reply: SyncReply | None = None
    error: HubError | None = None


@dataclass(slots=True)
class Flight:
    """The newest request, on its way or held by the hub."""

    number: int
    through: int
    sent: float
    told: bool  # it carries reports or a status: its answer comes soon


class Line:
    """Sends, waits, tells what came (from a thread of its own), and says when to send again.

    Times are monotonic seconds.
    """

    def __init__(
        self,
        sync: Callable[[SyncRequest], SyncReply],
        side: AgentSide,
        tell: Callable[[Answered], None],
        rng: random.Random | None = None,
    ) -> None:
        self._sync = sync
        self._side = side
        self._tell = tell
        self._rng = rng or random.Random()  # noqa: S311  (jitter, no secret)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="ayni-line")
        self._flight: Flight | None = None
        self._open = 0  # requests without an answer yet, overtaken ones included
        self._failures = 0
        self._last_sent = float("-inf")
        self._apart = APART
        self._not_before = float("-inf")
        self.trouble = ""  # why the hub is not heard, in words; empty if it is
        self.heard: float | None = None  # when it was heard last, in Unix seconds

    def ready(self, now: float, newest: int) -> bool:
        """Whether a request should go out now.

        Args:
            now: the time.
            newest: the journal's newest number, so that it is known whether there is news.
        """
        if self._open >= 2 or now < max(self._not_before, self._last_sent + self._apart):
            return False
        flight = self._flight
        if flight is None:
            return True
        news = newest > flight.through or self._side.status_due or self._side.inventory_due
        return news and (not flight.told or now - flight.sent > OVERTAKE)

    def send(self, request: SyncRequest, now: float) -> None:
        told = bool(request.reports) or request.status is not None
        self._flight = Flight(request.number, request.through, now, told)
        self._last_sent, self._apart = now, APART_BUSY if told else APART
        self._open += 1
        self._threads.submit(self._call, request)

    def _call(self, request: SyncRequest) -> None:
        try:
            answer = Answered(request.number, self._sync(request))
        except HubError as error:
            answer = Answered(request.number, error=error)
        except Exception as error:  # a fault of ours must not end the line in silence
            log.exception("the exchange with the hub failed")
            answer = Answered(request.number, error=HubError(f"{type(error).__name__}: {error}"))
        self._tell(answer)

    def take(self, answer: Answered, now: float) -> SyncReply | None:
        """The reply in an answer, if it is one to act on.

        Raises:
            Fenced: this process must stop.
        """
        self._open -= 1
        if answer.error is not None and answer.error.status == 409:
            raise Fenced(str(answer.error))
        if self._flight is None or answer.number != self._flight.number:
            return None  # overtaken
        self._flight = None
        if answer.error is not None:
            self._failed(answer.error, now)
            return None
        if self.trouble:
            log.info("the hub is heard again")
        self.trouble, self._failures, self.heard = "", 0, time.time()
        return answer.reply

    def _failed(self, error: HubError, now: float) -> None:
        self._failures += 1
        pause = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 20), _LONGEST_PAUSE)
        trouble = str(error)
        if error.status in (401, 403, 426):
            pause = _REFUSED_PAUSE
            trouble = f"{error}; {_REMEDIES[error.status]}. Running tasks go on"
        self._not_before = now + pause * self._rng.uniform(0.5, 1.0)
        if trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


_REMEDIES = {
    401: "the site's key is not accepted: register again with a new code (ayni site register)",
    403: "the site is not allowed to take part: ask the hub's operator",
    426: "upgrade this agent or the hub",
}
