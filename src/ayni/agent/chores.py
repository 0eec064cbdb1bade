"""What the agent does now and then and no attempt waits for: sweep, measure, book, prune."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

from ayni.agent.executors.base import Executor, ExecutorUnavailable
from ayni.agent.journal import Journal
from ayni.agent.life import allocation_report
from ayni.agent.offer import Offer
from ayni.agent.staging.folders import Folders
from ayni.agent.volumes import Volumes
from ayni.agent.work import Work

log = logging.getLogger(__name__)

_SWEEP = 10.0  # seconds between two rounds of sweeping
_BOOKS = 2.0  # between two looks at what the scheduler's accounting has
_PRUNE = 60.0  # between two looks for what is too old to be kept


class Chores:
    """Done in the cycle's thread, but for what touches disks."""

    def __init__(
        self,
        work: Work,
        journal: Journal,
        executor: Executor,
        folders: Folders,
        volumes: Volumes,
        offer: Offer,
        in_thread: Callable[[Callable[[], None]], Future[None]],
    ) -> None:
        """Take the parts in hand; `in_thread` does something in a thread of its own."""
        self._work = work
        self._journal = journal
        self._executor = executor
        self._folders = folders
        self._volumes = volumes
        self._offer = offer
        self._in_thread = in_thread
        self._next_sweep = self._next_books = self._next_prune = float("-inf")
        self._sweeping: Future[None] | None = None
        self._measuring: Future[None] | None = None

    def sweep_soon(self) -> None:
        """There is something to remove."""
        self._next_sweep = float("-inf")

    def do_due(self, now: float, wall: float) -> None:
        """Do what is due.

        Args:
            now: monotonic seconds.
            wall: Unix seconds.
        """
        if now >= self._next_sweep and (self._sweeping is None or self._sweeping.done()):
            self._next_sweep = now + _SWEEP
            self._sweeping = self._in_thread(self._sweep)
            if self._measuring is None or self._measuring.done():
                self._measuring = self._in_thread(self._measure)
        if now >= self._next_books:
            self._next_books = now + _BOOKS
            self._book()
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE
            self._journal.prune(wall)

    def _book(self) -> None:
        """Take what the scheduler's accounting has of attempts that are over into their reports."""
        found = self._executor.allocations()
        # Of those whose end is not in the journal yet, the executor will tell again.
        going = self._work.entries.keys() | self._work.told.keys()
        over = {a: given for a, given in found.items() if a not in going}
        self._journal.allocate({a: allocation_report(given) for a, given in over.items()})
        try:
            self._executor.booked(over)
        except ExecutorUnavailable as error:  # it tells them again, which does no harm
            log.warning("the executor cannot be told what is booked: %s", error)

    def _sweep(self) -> None:
        """Remove what was given up, and see which datasets there are."""
        self._offer.disks.look()
        try:
            self._volumes.sweep()
            self._folders.sweep()
            self._offer.datasets.scan()
        except OSError as error:
            log.warning("sweeping failed: %s", error)

    def _measure(self) -> None:
        """See how much volumes hold, which may take long."""
        try:
            self._volumes.measure()
        except OSError as error:
            log.warning("volumes cannot be measured: %s", error)
