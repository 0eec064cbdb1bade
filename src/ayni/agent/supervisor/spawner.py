"""The spawner: one small process to a state folder, that forks a supervisor for each job.

It outlives the agent, and its supervisors outlive it: whichever is killed, the next one reads the
files and goes on. Requests and answers are lines of JSON on a Unix socket in the state folder,
which only the agent's user can open.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from ayni.agent.supervisor import cgroup, libc
from ayni.agent.supervisor.capacity import Capacity, Need
from ayni.agent.supervisor.crew import Crew
from ayni.agent.supervisor.jobs import Jobs, Waiting

PROTOCOL = 2  # raised with every change to requests or job files: the agent then starts a new one
SOCKET = "spawner.sock"
LOCK = "spawner.lock"
LOG = "spawner.log"
_IDLE = 10.0  # seconds without a job and without a client after which it leaves
_SEND_TIMEOUT = 10.0


class Spawner:
    """The loop: requests, deaths, starts."""

    def __init__(self, state: str, listener: socket.socket, config: dict[str, Any]) -> None:
        self._state = state
        self._listener = listener
        self._group: str | None = config["cgroup"]
        cpus = sorted(os.sched_getaffinity(0)) if config["pin"] else []
        total = Need(config["cores"], config["memory"], config["gpus"])
        self._crew = Crew(state, self._group, self._close_in_worker, lasting=True)
        self._poller, self._workers = self._crew.poller, self._crew.workers
        self._jobs = Jobs(state, Capacity(total, cpus), self._workers)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._leaving = False
        self._idle_since = time.monotonic()

    def run(self) -> None:
        self._crew.listen_to_signals()
        self._jobs.recover()
        self._crew.freeze()
        self._poller.register(self._listener.fileno(), select.POLLIN)
        while not self._leaving and not self._idle():
            for fd, _ in self._poller.poll(self._pause()):
                if fd == self._crew.wakeup:
                    if signal.SIGTERM in os.read(fd, 4096):
                        return
                elif fd == self._listener.fileno():
                    self._accept()
                elif fd in self._clients:
                    self._serve(fd)
                elif (pid := self._workers.heard(fd)) is not None:
                    self._jobs.done(pid)
            self._jobs.reap()
            self._jobs.look_at_adopted()
            self._jobs.lose()
            try:
                self._jobs.start_waiting()
            except OSError:  # no more processes or memory just now
                sys.excepthook(*sys.exc_info())
            self._workers.dismiss_idle()

    def _pause(self) -> int:
        """Milliseconds until something must be looked at that gives no sign of its own."""
        jobs = self._jobs
        if jobs.losing:
            return 20
        if any(not running.ours for running in jobs.running.values()):
            return 100
        if jobs.waiting and not jobs.running:  # a fork failed
            return 100
        return 1000

    def _idle(self) -> bool:
        jobs = self._jobs
        if self._clients or jobs.waiting or jobs.running or jobs.losing:
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since > _IDLE

    # Requests

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.settimeout(_SEND_TIMEOUT)
        self._clients[client.fileno()] = (client, bytearray())
        self._poller.register(client.fileno(), select.POLLIN)

    def _serve(self, fd: int) -> None:
        client, buffer = self._clients[fd]
        try:
            data = client.recv(1 << 18)
            buffer += data
            while b"\n" in buffer:
                line, _, rest = bytes(buffer).partition(b"\n")
                buffer[:] = rest
                answer = self._answer(json.loads(line))
                client.sendall(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        except (OSError, ValueError, KeyError, TypeError) as error:
            print("client dropped:", repr(error), file=sys.stderr, flush=True)
            data = b""
        if not data:
            self._poller.unregister(fd)
            del self._clients[fd]
            client.close()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["op"]:
            case "hello":
                return {"protocol": PROTOCOL, "pid": os.getpid()}
            case "submit":
                jobs = request["jobs"]
                self._jobs.add(Waiting(job[0], job[1], Need(*job[2])) for job in jobs)
                return {}
            case "poll":
                return self._jobs.changes()
            case "cancel":
                self._jobs.cancel(set(request["ids"]))
                return {}
            case "forget":
                self._jobs.forget(request["ids"])
                return {}
            case "count":
                return self._jobs.count()
            case "leave":
                self._leaving = True
                return {}
            case unknown:
                raise ValueError(f"unknown request: {unknown!r}")

    def _close_in_worker(self) -> None:
        self._listener.close()
        for client, _ in self._clients.values():
            client.close()


def main(state: str, config: dict[str, Any]) -> None:
    """Become the spawner of a state folder; prints `ready`, or `busy` if there is one."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    libc.become_subreaper()
    os.chdir(state)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by supervisors
    except BlockingIOError:
        _report("busy")
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)  # relative: a socket's path may have 107 bytes only
        listener.listen(64)
        os.chdir("/")
        _prepare_cgroup(config)
        spawner = Spawner(state, listener, config)
        _report("ready")
        spawner.run()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(state, SOCKET))


def _prepare_cgroup(config: dict[str, Any]) -> None:
    try:
        if config["cgroup"] is not None:
            cgroup.prepare(config["cgroup"])
    except OSError:  # then the watchers alone must hold the limits
        sys.excepthook(*sys.exc_info())
        config["cgroup"] = None


def _report(word: str) -> None:
    os.write(1, word.encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)
