"""`ayni hub run`: the hub's processes. One serves HTTP and holds the broker's thread (several on
PostgreSQL), one serves the files of a folder store. Whatever kills this process ends them all.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from ayni.errors import UserError
from ayni.hub.sockets import allow_open_files

log = logging.getLogger(__name__)

BROKER = "AYNI_HUB_BROKER"  # set for the processes that serve: they run the broker's thread
PARENT = "AYNI_HUB_PARENT"  # the process whose death ends them
THREADS = "AYNI_HUB_THREADS"  # of each of them
LOCK = "hub.lock"
STORE_SECRET = "store-secret"  # noqa: S105 (a file's name)
SQLITE_THREADS = 160  # each site and each watcher holds one while it waits
POSTGRES_THREADS = 96  # in each process
CONNECTIONS = 4000  # in each; idle and slow ones too, so few would be easy to take up
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    port: int
    files_port: int
    workers: int | None = None
    threads: int | None = None


def run(options: Options) -> None:
    """Serve until SIGTERM or Ctrl-C. Django must be set up.

    Raises:
        UserError: the state is held by another hub, a port is taken, the database is not ready,
            AYNI_STORE_URL names no store.
    """
    from django.conf import settings

    from ayni.hub.store.backends import FolderStore, store

    listening = f"{options.host}:{options.port}"
    lock = hold(settings.STATE) if settings.IS_SQLITE else None
    if lock is not None:
        _note(lock, settings.HUB_URL, listening)
    _check_database()
    backend = store()
    _check_port(options.host, options.port)
    workers = 1 if settings.IS_SQLITE else options.workers or 2
    threads = options.threads or (SQLITE_THREADS if settings.IS_SQLITE else POSTGRES_THREADS)
    os.environ[BROKER] = "1"
    os.environ[PARENT] = str(os.getpid())
    os.environ[THREADS] = str(threads)
    others = 4 * threads + 100  # a database's files to a thread, and what else there is
    room = allow_open_files(CONNECTIONS + others) - others
    files = None
    if isinstance(backend, FolderStore):
        secret = _store_secret(settings.STATE)
        files = FileServer(backend.folder, secret, options.host, options.files_port)
        files.start()
    print(f"ayni hub: {settings.HUB_URL} (listening on {listening}, state in {settings.STATE})",
          flush=True)  # fmt: skip
    try:
        Granian(
            "ayni.hub.wsgi:front",
            address=options.host,
            port=options.port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            workers=workers,
            backpressure=min(CONNECTIONS, max(room, threads)),
            respawn_failed_workers=True,
            workers_kill_timeout=5,
            log_enabled=True,
            log_level=LogLevels.error,
        ).serve()
    finally:
        if files is not None:
            files.stop()
        if lock is not None:
            lock.close()


def hold(state: Path) -> IO[str]:
    """The lock that one hub process has on its state folder; held until it is closed.

    Raises:
        UserError: another process holds it.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (state / LOCK).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UserError(f"a hub is running on {state} already; stop it first") from error
    return file


def _note(lock: IO[str], url: str, listening: str) -> None:
    """Keep in the lock where this hub is: other commands know only their own environment."""
    lock.truncate(0)
    json.dump({"hub": url, "listening": listening}, lock)
    lock.flush()


def whereabouts(state: Path) -> dict[str, str] | None:
    """Where the hub that runs on this folder is, as `hub` and `listening`; None if none runs."""
    try:
        hold(state).close()
    except UserError:
        text = (state / LOCK).read_text()
        where: dict[str, str] = json.loads(text) if text else {}  # empty: it is just starting
        return where
    return None


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone (Linux)."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it was gone before
        os._exit(1)


def _check_database() -> None:
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise UserError(f"the database cannot be used: {error}; see AYNI_DATABASE_URL") from error
    if behind:
        raise UserError("the database is not up to date; run 'ayni hub init'")


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or error
            raise UserError(
                f"cannot listen on {host}:{port}: {why}; choose another --host or --port"
            ) from error


def _store_secret(state: Path) -> Path:
    """The file from which the file server reads what the hub signs with."""
    from ayni.hub.network.hub import this_hub

    path = state / STORE_SECRET
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(this_hub().secret)
    return path


class FileServer:
    """The file server's process, started again if it ends unasked."""

    def __init__(self, folder: Path, secret: Path, host: str, port: int) -> None:
        self._command = [
            sys.executable, "-m", "ayni.hub.store.fileserver", "--folder", str(folder),
            "--secret-file", str(secret), "--host", host, "--port", str(port),
            "--parent", str(os.getpid()),
        ]  # fmt: skip
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it from the main thread: its death is tied to the thread that starts it."""
        self._process = subprocess.Popen(self._command)
        threading.Thread(target=self._watch, name="file server", daemon=True).start()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            process = self._process
            if process is None:
                return
            code = process.wait()
            if self._stopping.wait(1.0):
                return
            log.error("the file server ended with %d; it is started again", code)
            self._process = subprocess.Popen(self._command)

    def stop(self) -> None:
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
