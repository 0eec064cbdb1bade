"""The broker's thread: runs cycles when woken, and the hub's housekeeping.

Every hub process has one; on PostgreSQL the one that holds an advisory lock leads, and another takes
over when its connection ends. SQLite has one hub process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.utils import timezone

from ayni.hub.network import asking, bans, bulk, lost, record, waits, wake
from ayni.hub.network.cycle import Broker
from ayni.hub.tasks.idempotency import forget_old

log = logging.getLogger(__name__)

LEADER = 0x61796E69  # "ayni": the advisory lock's number
IDLE = 3.0  # seconds after which a cycle runs although nobody woke the broker
LEAST_GAP = 0.05  # seconds between cycles …
SHARE = 8.0  # … and so many times the last cycle's length, so that cycles take an eighth of a core
MOST_GAP = 1.0
RECALL_EVERY = 10.0
ASK_EVERY = 5.0  # seconds between two looks at whose operators a charter waits for
KEEP_PLACEMENTS = timedelta(days=30)


@dataclass
class Chore:
    """Something done every so often; its failure must not stop the broker."""

    name: str
    every: float  # seconds
    work: Callable[[], object]
    due: float = field(default_factory=time.monotonic)

    def run_if_due(self) -> None:
        if time.monotonic() < self.due:
            return
        self.due = time.monotonic() + self.every
        try:
            self.work()
        except Exception:
            log.exception(
                "housekeeping: %s failed; it is tried again in %.0f s", self.name, self.every
            )
            connection.close()


def _sweep() -> object:
    from ayni.hub.store.sweep import sweep

    return sweep(timezone.now())


def _forget_messages() -> object:
    from ayni.hub.channels.keep import forget_old

    return forget_old(timezone.now())


def _send_notices() -> object:
    from ayni.hub.tasks.notices import send_due

    return send_due()


class Loop:
    """Runs until `stop` is set."""

    def __init__(self, broker: Broker | None = None) -> None:
        self.broker = broker or Broker()
        self.stop = threading.Event()
        self.chores = [
            Chore("lost attempts", 10.0, lambda: lost.give_up_silent(self.broker.settings)),
            Chore("bans", 60.0, bans.enforce),
            Chore("recalls", RECALL_EVERY, self.broker.recall),
            Chore("charters", ASK_EVERY, lambda: asking.refresh(self.broker.loader, time.time())),
            Chore("old placements", 3600.0, lambda: record.prune(timezone.now() - KEEP_PLACEMENTS)),
            Chore("old waits", 3600.0, lambda: waits.forget(timezone.now() - waits.KEEP)),
            Chore("old keys", 3600.0, lambda: forget_old(timezone.now())),
            Chore("old sessions", 86400.0, SessionStore.clear_expired),
        ]
        self.slow_chores = [
            Chore("store", 60.0, _sweep),
            Chore("old messages", 600.0, _forget_messages),
            Chore("notices", 5.0, _send_notices),
        ]
        self._leads = threading.Event()

    def start(self) -> None:
        """Start the broker's thread, and one for chores that talk to other machines."""
        threading.Thread(target=self.run, name="broker", daemon=True).start()
        threading.Thread(target=self.run_slow_chores, name="chores", daemon=True).start()

    def run(self) -> None:
        ear = wake.Ear(wake.BROKER)
        gap = LEAST_GAP
        while not self.stop.wait(gap):
            began = time.monotonic()
            try:
                if self._lead():
                    self.broker.cycle()
                    for chore in self.chores:
                        chore.run_if_due()
            except Exception:
                log.exception("a cycle of the broker failed; the next one is in a second")
                self._step_down()
                gap = MOST_GAP
                continue
            gap = min(max(LEAST_GAP, SHARE * (time.monotonic() - began)), MOST_GAP)
            ear.wait(IDLE)

    def run_slow_chores(self) -> None:
        while not self.stop.wait(1.0):
            if self._leads.is_set():
                for chore in self.slow_chores:
                    chore.run_if_due()

    def _lead(self) -> bool:
        """Whether this process leads. The lock belongs to this thread's connection."""
        if connection.vendor != "postgresql":
            self._leads.set()
        elif not self._leads.is_set() or connection.connection is None:
            [(got,)] = bulk.select("SELECT pg_try_advisory_lock(%s)", [LEADER])
            if got:
                self._leads.set()
            else:
                self._leads.clear()
        return self._leads.is_set()

    def _step_down(self) -> None:
        self._leads.clear()
        connection.close()
