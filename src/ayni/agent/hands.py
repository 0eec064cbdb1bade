"""The threads that stage and deliver, batch by batch, while the cycle goes on deciding."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.finish import Ended, Finished, Finisher
from ayni.agent.staging.inputs import Prepared, Stager
from ayni.protocol.messages import Assignment

log = logging.getLogger(__name__)

THREADS = 4  # for batches; transfers have threads of their own
_BATCH = 25  # attempts at least, where there are so many: a thread's start costs something
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Staged:
    """A folder is ready for its job, or why not."""

    attempt: str
    result: Prepared | StagingError


class Hands:
    """Starts work on folders; what becomes of each attempt is told, once, from a thread."""

    def __init__(
        self,
        stager: Stager,
        finisher: Finisher,
        tell: Callable[[Staged | Finished], None],
        drain: Callable[[Assignment, threading.Event], None] = lambda assignment, stop: None,
    ) -> None:
        """
        Args:
            stager: makes folders and brings inputs.
            finisher: brings outputs and logs out.
            tell: is told what became of each attempt.
            drain: relays what an ended job has left in its channels.
        """
        self._stager = stager
        self._finisher = finisher
        self._tell = tell
        self._drain = drain
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ayni-batch")
        self._stops: dict[str, threading.Event] = {}

    def stage(self, assignments: Sequence[Assignment]) -> None:
        """Make folders and bring inputs."""
        self._start([a.attempt for a in assignments])
        for batch in _batches(assignments):
            self._threads.submit(self._stage, batch)

    def deliver(self, ended: Sequence[Ended]) -> None:
        """Bring outputs and logs out."""
        self._start([one.assignment.attempt for one in ended])
        speaking = [one for one in ended if one.relayed and one.assignment.channels]
        for one in speaking:
            self._threads.submit(self._deliver_speaking, one)
        for batch in _batches([one for one in ended if one not in speaking]):
            self._threads.submit(self._deliver, batch)

    def do(self, work: Callable[[], None]) -> Future[None]:
        """Anything else that takes its time."""
        return self._threads.submit(work)

    def stop(self, attempts: Iterable[str]) -> None:
        """Let the threads leave off; they still tell."""
        for attempt in attempts:
            if (event := self._stops.get(attempt)) is not None:
                event.set()

    def took(self, attempt: str) -> None:
        """What was told of an attempt has been taken in."""
        self._stops.pop(attempt, None)

    def close(self) -> None:
        """Let go; nothing is waited for, since everything may be repeated."""
        self.stop(list(self._stops))
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, attempts: Iterable[str]) -> None:
        for attempt in attempts:
            self._stops[attempt] = threading.Event()

    def _stage(self, batch: Sequence[Assignment]) -> None:
        waiting = {a.attempt: self._stops[a.attempt] for a in batch}
        try:
            for attempt, result in self._stager.prepare(batch, dict(waiting)):
                waiting.pop(attempt, None)
                self._tell(Staged(attempt, result))
        except Exception as error:
            for attempt in waiting:
                self._tell(Staged(attempt, _fault(error)))

    def _deliver_speaking(self, ended: Ended) -> None:
        """First what the job said, since its outputs end the task."""
        attempt = ended.assignment.attempt
        try:
            self._drain(ended.assignment, self._stops[attempt])
        except StagingError as error:
            self._tell(Finished(attempt, error=error))
        except Exception as error:
            self._tell(Finished(attempt, error=_fault(error)))
        else:
            self._deliver([ended])

    def _deliver(self, batch: Sequence[Ended]) -> None:
        waiting = {e.assignment.attempt: self._stops[e.assignment.attempt] for e in batch}
        try:
            for finished in self._finisher.finish(batch, stops=dict(waiting)):
                waiting.pop(finished.attempt, None)
                self._tell(finished)
        except Exception as error:
            for attempt in waiting:
                self._tell(Finished(attempt, error=_fault(error)))


def _fault(error: Exception) -> StagingError:
    """A fault of ours: it must neither end the agent nor leave an attempt without an answer."""
    log.error("a fault in staging", exc_info=error)
    return StagingError("agent", "a fault in the site's agent; see its log", retryable=True)


def _batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """A few, so that many items use several threads."""
    size = max(_BATCH, -(-len(items) // THREADS))
    return [items[start : start + size] for start in range(0, len(items), size)]
