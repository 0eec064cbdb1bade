"""Waking those who wait: a site's open sync, the broker, a client that watches a task.

A ring says only "look again"; what there is to see is in the database. So a lost ring costs a delay,
never a task. Rings go off when the transaction around them has committed. Whoever looks and then waits
takes an `Ear` *before* looking: it hears what rang meanwhile.

Within a process by conditions; between the processes of a hub on PostgreSQL by LISTEN and NOTIFY,
with one listening thread in each process.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable

import psycopg
from django.db import connection, transaction

log = logging.getLogger(__name__)

CHANNEL = "ayni_wake"
BROKER = "b"
_PAYLOAD = 7000  # bytes; PostgreSQL takes fewer than 8000
_RECONNECT = 1.0  # seconds
_LOOK_UP = 2.0  # seconds after which the listener looks whether it is still wanted


class _Bell:
    """A count of rings that threads may wait on."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.rings = 0

    def ring(self) -> None:
        with self.changed:
            self.rings += 1
            self.changed.notify_all()


_bells: dict[str, _Bell] = {}
_bells_lock = threading.Lock()


def _bell(key: str) -> _Bell:
    bell = _bells.get(key)
    if bell is None:
        with _bells_lock:
            bell = _bells.setdefault(key, _Bell())
    return bell


class Ear:
    """Hears every ring after its making."""

    def __init__(self, key: str) -> None:
        _listen()
        self._bell = _bell(key)
        self._heard = self._bell.rings

    def wait(self, seconds: float) -> bool:
        """Wait for a ring not heard yet; False if none came in `seconds`."""
        bell = self._bell
        with bell.changed:
            rang = bell.changed.wait_for(lambda: bell.rings != self._heard, timeout=seconds)
            self._heard = bell.rings
        return rang


def site_key(site_id: int) -> str:
    return f"s{site_id}"


def task_key(project_id: int) -> str:
    return f"t{project_id}"


def channels_key(project_id: int) -> str:
    return f"c{project_id}"


def reader_key(site_id: int) -> str:
    return f"r{site_id}"


def site(*site_ids: int) -> None:
    """There is something to tell these sites."""
    _ring(site_key(i) for i in site_ids)


def broker() -> None:
    """There is something to place, or room to place it in."""
    _ring([BROKER])


def task(*project_ids: int) -> None:
    """A task of these projects changed its state."""
    _ring(task_key(i) for i in project_ids)


def channels(project_id: int, reading_sites: Iterable[int]) -> None:
    """There is a new message in a channel of this project, which tasks at these sites read."""
    _ring([channels_key(project_id), *(reader_key(i) for i in reading_sites)])


def wait_site(site_id: int, seconds: float) -> bool:
    return Ear(site_key(site_id)).wait(seconds)


def wait_broker(seconds: float) -> bool:
    return Ear(BROKER).wait(seconds)


def wait_task(project_id: int, seconds: float) -> bool:
    return Ear(task_key(project_id)).wait(seconds)


def _ring(keys: Iterable[str]) -> None:
    wanted = list(dict.fromkeys(keys))
    if wanted:
        transaction.on_commit(lambda: _ring_now(wanted))


def _ring_now(keys: list[str]) -> None:
    for key in keys:
        _bell(key).ring()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for payload in _payloads(keys):
                cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{_process()} {payload}"])


def _payloads(keys: list[str]) -> Iterable[str]:
    part: list[str] = []
    size = 0
    for key in keys:
        if size + len(key) + 1 > _PAYLOAD:
            yield ",".join(part)
            part, size = [], 0
        part.append(key)
        size += len(key) + 1
    yield ",".join(part)


# --- between processes, on PostgreSQL ---------------------------------------------------------

_listener: tuple[int, str, threading.Thread | None] = (0, "", None)  # process, its name, thread
_listener_lock = threading.Lock()


def _process() -> str:
    """This process's name in notices, so that it passes over its own."""
    global _listener
    if _listener[0] != os.getpid():
        with _listener_lock:
            if _listener[0] != os.getpid():
                _listener = (os.getpid(), secrets.token_hex(8), None)
    return _listener[1]


def _listen() -> None:
    """Start this process's listening thread, if it needs one and has none."""
    global _listener
    if connection.vendor != "postgresql":
        return
    _process()
    if _listener[2] is not None:
        return
    with _listener_lock:
        pid, name, thread = _listener
        if thread is None:
            thread = threading.Thread(target=_hear_others, args=(name,), name="wake", daemon=True)
            _listener = (pid, name, thread)
            thread.start()


def deafen() -> None:
    """End this process's listening thread and its connection; it starts again when it is needed."""
    global _listener
    with _listener_lock:
        pid, name, thread = _listener
        _listener = (0, "", None)
    if thread is not None and pid == os.getpid():
        _retired.add(name)
        thread.join()


_retired: set[str] = set()  # names of listeners that must end


def _hear_others(me: str) -> None:
    # A connection of its own: LISTEN belongs to a connection, and this one must never be closed
    # between requests. Its parameters are Django's, its name in the tests included.
    parameters = {
        key: value
        for key, value in connection.get_connection_params().items()
        if key not in ("context", "cursor_factory", "prepare_threshold")
    }
    while me not in _retired:
        try:
            with psycopg.connect(**parameters, autocommit=True) as conn:
                conn.execute(f"LISTEN {CHANNEL}")
                _ring_all()  # whatever rang while nobody listened
                while me not in _retired:
                    for notice in conn.notifies(timeout=_LOOK_UP):
                        _hear(notice.payload, me)
        except psycopg.Error as error:
            log.warning("lost the database's notices, trying again: %s", error)
            time.sleep(_RECONNECT)


def _hear(payload: str, me: str) -> None:
    sender, _, keys = payload.partition(" ")
    if sender != me:
        for key in keys.split(","):
            _bell(key).ring()


def _ring_all() -> None:
    for bell in list(_bells.values()):
        bell.ring()
