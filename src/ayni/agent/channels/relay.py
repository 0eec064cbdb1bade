"""The relay of an agent: it looks after the desks of all attempts that use channels.

Three kinds of threads beside the cycle's: one looks at what tasks have written, one waits at the hub
for what they are to hear, and a few do the work of one desk each. What goes wrong passes: it is
tried again, later and later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ayni.agent.channels.desk import Desk
from ayni.agent.channels.spot import Later, Spot, Tools
from ayni.agent.hub import HubError
from ayni.agent.staging.errors import StagingError
from ayni.protocol import channels as words
from ayni.protocol import release
from ayni.protocol.messages import Assignment
from ayni.transfer import Stopped

log = logging.getLogger(__name__)

THREADS = 8
_PAUSE = 0.2  # seconds between two looks at the spools …
_QUICK = 0.05  # … and while messages move, since an answer often follows
_MOVING = 5.0  # seconds after a message for which they do
_WAIT = 5.0  # seconds that the hub may hold a question: a new task is in the next one
_BUSY_WAIT = 1.0  # … while some desk is at work, and so not in the question
_LONGEST_PAUSE = 30.0
_AT_ONCE = 1000  # desks in one question

RuleOf = Callable[[Assignment], release.Rule]
Key = tuple[str, str]  # attempt and channel


@dataclass(slots=True)
class _Work:
    """A desk, what is being done for it, and when it is looked at again."""

    desk: Desk
    sending: bool = False
    answering: bool = False
    placing: bool = False
    fresh: bool = True  # has not asked the hub yet
    failures: int = 0
    not_before: float = float("-inf")

    def failed(self, now: float) -> None:
        self.failures += 1
        self.not_before = now + min(0.5 * 2.0 ** min(self.failures, 10), _LONGEST_PAUSE)


class Relay:
    """One to an agent.

    Args:
        tools: what the desks use. Its book stays open: a thread may be at it when the process ends.
        rule_of: what may leave an attempt.
    """

    def __init__(self, tools: Tools, rule_of: RuleOf) -> None:
        self._tools = tools
        self._rule_of = rule_of
        self._lock = threading.Lock()
        self._works: dict[Key, _Work] = {}
        self._running: set[str] = set()
        self._kept: frozenset[str] | None = None
        self._moved = float("-inf")  # when a message or a blob last went or came
        self._stop = threading.Event()
        self._some = threading.Event()  # there is an attempt to look after
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ayni-channel")
        self._threads = [
            threading.Thread(target=self._look_out, name="ayni-channels-out", daemon=True),
            threading.Thread(target=self._listen, name="ayni-channels-in", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Leave off; nothing is waited for but the threads' next step."""
        self._stop.set()
        self._some.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- what the cycle says ---

    def follow(self, running: Iterable[Assignment], live: Collection[str]) -> None:
        """Look after these attempts, whose jobs are there; forget all but the live ones."""
        wanted = list(running)
        ids = {a.attempt for a in wanted}
        if ids:
            self._some.set()
        if ids == self._running and self._kept == frozenset(live):
            return
        with self._lock:
            for key in [key for key in self._works if key[0] not in live]:
                del self._works[key]
        for assignment in wanted:
            if assignment.attempt not in self._running:
                for use in assignment.channels:
                    self._work(assignment, use)
        self._running = ids
        self._kept = frozenset(live)
        self._tools.book.keep(live, time.time())

    def drain(self, assignment: Assignment, stop: threading.Event) -> None:
        """The job has ended: post all that it has left.

        Raises:
            StagingError: not now; to be tried again.
        """
        for use in assignment.channels:
            if not use.sends:
                continue
            try:
                self._work(assignment, use).desk.outbox.send(stop, last=True)
            except (Later, Stopped) as error:
                message = f"messages on channel {use.name} could not be sent: {error}"
                raise StagingError("channel", message, retryable=True) from error

    def _work(self, assignment: Assignment, use: words.ChannelUse) -> _Work:
        key = assignment.attempt, use.name
        with self._lock:
            found = self._works.get(key)
        if found is None:
            folder = self._tools.folders.path(assignment.attempt)
            rule_of = partial(self._rule_of, assignment)
            desk = Desk(Spot(self._tools, assignment, use, folder, rule_of))
            with self._lock:
                found = self._works.setdefault(key, _Work(desk))
        return found

    def _here(self) -> list[_Work]:
        """Those of running attempts."""
        with self._lock:
            return [w for (attempt, _), w in self._works.items() if attempt in self._running]

    @property
    def _pause(self) -> float:
        return _QUICK if time.monotonic() - self._moved < _MOVING else _PAUSE

    # --- out ---

    def _look_out(self) -> None:
        while not self._stop.wait(self._pause):
            self._some.wait()
            works = self._here()
            if not works and not self._stop.is_set():
                self._some.clear()
            now = time.monotonic()
            for work in works:
                if work.desk.spot.use.sends and not work.sending and now >= work.not_before:
                    work.sending = True
                    self._start(self._send, work)
                if work.desk.inbox.may_ask and not work.answering and now >= work.not_before:
                    work.answering = True
                    self._start(self._answer, work)

    def _send(self, work: _Work) -> None:
        try:
            self._patiently(work, lambda: work.desk.outbox.send(self._stop))
        finally:
            work.sending = False

    # --- in ---

    def _answer(self, work: _Work) -> None:
        try:
            self._patiently(work, lambda: work.desk.inbox.answer(self._stop))
        finally:
            work.answering = False

    def _listen(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._some.wait()
            try:
                pause = self._ask()
                failures = 0
            except HubError as error:
                failures += 1
                if failures == 1:
                    log.warning("channels cannot be read: %s", error)
                pause = min(0.5 * 2.0 ** min(failures, 10), _LONGEST_PAUSE)
            except Exception:  # a full disk, say: it must not end the thread
                log.exception("channels cannot be read")
                pause = _LONGEST_PAUSE
            self._stop.wait(pause)

    def _ask(self) -> float:
        """Ask the hub for what all idle desks want; seconds until it is asked again."""
        all_ = [w for w in self._here() if w.desk.spot.use.reads]
        now = time.monotonic()
        idle = [w for w in all_ if not w.placing and now >= w.not_before][:_AT_ONCE]
        works = {(w.desk.spot.attempt, w.desk.spot.use.name): w for w in idle}
        wants = [want for work in idle if (want := work.desk.inbox.want()) is not None]
        if not wants:
            return _PAUSE
        fresh, busy = any(w.fresh for w in idle), len(idle) < len(all_)
        reply = self._tools.hub.read(wants, 0.0 if fresh else _BUSY_WAIT if busy else _WAIT)
        for work in idle:
            work.fresh = False
        self._hand_out(reply, works)
        return 0.0

    def _hand_out(self, reply: words.ReadReply, works: dict[Key, _Work]) -> None:
        heard: dict[Key, list[words.Incoming]] = {}
        for message in reply.messages:
            heard.setdefault((message.attempt, message.channel), []).append(message)
        for key, messages in heard.items():
            if (work := works.get(key)) is not None:
                work.placing = True
                messages.sort(key=lambda message: message.sequence)
                self._start(partial(self._place, messages), work)
        for name, problem in reply.problems.items():
            attempt, _, channel = name.partition("/")
            if (work := works.get((attempt, channel))) is not None:
                log.info("channel %s cannot be read: %s", name, problem.message)
                work.failed(time.monotonic())

    def _place(self, messages: list[words.Incoming], work: _Work) -> None:
        def place_all() -> int:
            for message in messages:
                if self._stop.is_set():
                    break
                work.desk.inbox.place(message, self._stop)
            return len(messages)

        try:
            self._patiently(work, place_all)
        finally:
            work.placing = False

    # --- both ---

    def _start(self, action: Callable[[_Work], None], work: _Work) -> None:
        try:
            self._pool.submit(action, work)
        except RuntimeError:  # closed meanwhile
            self._stop.set()

    def _patiently(self, work: _Work, action: Callable[[], int]) -> None:
        """Do it; it says how many messages or blobs it moved. What fails is tried again."""
        try:
            if action():
                self._moved = time.monotonic()
            work.failures = 0
        except Later as error:
            if work.failures == 0:
                log.info(
                    "channel %s of %s: %s", work.desk.spot.use.name, work.desk.spot.attempt, error
                )
            work.failed(time.monotonic())
        except Stopped:
            return
        except Exception:  # a fault of ours, or a full disk: it must not end the relay in silence
            log.exception(
                "channel %s of %s failed", work.desk.spot.use.name, work.desk.spot.attempt
            )
            work.failed(time.monotonic())
