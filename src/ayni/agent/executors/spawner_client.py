"""The agent's end of the spawner's socket: starts the spawner when there is none."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ayni.agent.executors.base import ExecutorUnavailable
from ayni.agent.supervisor import boot
from ayni.agent.supervisor.spawner import LOG, PROTOCOL, SOCKET

_TIMEOUT = 30.0  # seconds for an answer
_START_TIMEOUT = 20.0
_LOG_LIMIT = 1 << 20
_ATTEMPTS = 3


class SpawnerClient:
    """Requests to the spawner of a state folder. Every request may be repeated."""

    def __init__(self, state: Path, config: dict[str, Any]) -> None:
        self._state = state
        self._config = config
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self.connections = 0  # raised each time that what was heard before may be incomplete

    def submit(self, jobs: Sequence[tuple[str, str, tuple[int, int, int]]]) -> None:
        self._ask({"op": "submit", "jobs": jobs})

    def poll(self) -> dict[str, Any]:
        return self._ask({"op": "poll"})

    def cancel(self, ids: Collection[str]) -> None:
        self._ask({"op": "cancel", "ids": list(ids)})

    def forget(self, ids: Collection[str]) -> None:
        self._ask({"op": "forget", "ids": list(ids)})

    def count(self) -> dict[str, Any]:
        return self._ask({"op": "count"})

    def leave(self) -> None:
        self._ask({"op": "leave"})
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(_ATTEMPTS):
            try:
                if self._socket is None:
                    self._connect()
                return self._exchange(request)
            except (OSError, ValueError, EOFError) as error:
                self.close()
                if attempt + 1 == _ATTEMPTS:
                    raise ExecutorUnavailable(f"the spawner does not answer: {error}") from error
        raise AssertionError

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._socket is not None
        self._socket.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        while b"\n" not in self._buffer:
            data = self._socket.recv(1 << 20)
            if not data:
                raise EOFError("it closed the connection")
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _connect(self) -> None:
        self.connections += 1
        until = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                self._open()
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until:
                    raise
                self._start()
        if self._exchange({"op": "hello"})["protocol"] != PROTOCOL:
            # An earlier version: its supervisors go on, and the next spawner adopts them.
            self._exchange({"op": "leave"})
            raise EOFError("a spawner of another version is leaving")

    def _open(self) -> None:
        self._buffer.clear()
        folder = os.open(self._state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_TIMEOUT)
            # By the descriptor: a socket's path may have 107 bytes only.
            connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        except BaseException:
            connection.close()
            raise
        finally:
            os.close(folder)
        self._socket = connection

    def _start(self) -> None:
        log = self._state / LOG
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.write_bytes(b"")
        words = boot.command("spawner", str(self._state), self._config)
        with (
            log.open("ab") as errors,
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath},
            ) as process,
        ):
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT)
            word = process.stdout.readline() if ready else b""
        if word == b"busy\n":
            time.sleep(0.05)  # it has the lock and is about to listen
        elif word != b"ready\n":
            raise ExecutorUnavailable(f"the spawner did not start; see {log}")
