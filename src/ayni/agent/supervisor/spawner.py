"""The spawner: one small process to a state folder, that forks a supervisor for each job.

It outlives the agent, and its supervisors outlive it: whichever is killed, the next one reads the
files and goes on. Requests and answers are lines of JSON on a Unix socket in the state folder,
which only the agent's user can open.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from ayni.agent.supervisor import cgroup, libc, worker
from ayni.agent.supervisor.capacity import Capacity, Need, Share
from ayni.agent.supervisor.jobs import Jobs, Waiting
from ayni.agent.supervisor.workers import Workers

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
        self._poller = select.poll()
        self._workers = Workers(self._fork, self._poller)
        self._jobs = Jobs(state, Capacity(total, cpus), self._workers)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._wakeup, self._wakeup_target = os.pipe()
        self._leaving = False
        self._idle_since = time.monotonic()

    def run(self) -> None:
        self._listen_to_signals()
        self._jobs.recover()
        gc.collect()
        gc.freeze()  # so that a supervisor's collector does not touch, and so copy, these pages
        for fd in (self._listener.fileno(), self._wakeup):
            self._poller.register(fd, select.POLLIN)
        while not self._leaving and not self._idle():
            for fd, _ in self._poller.poll(self._pause()):
                if fd == self._wakeup:
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

    def _listen_to_signals(self) -> None:
        for fd in (self._wakeup, self._wakeup_target):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup_target, warn_on_full_buffer=False)
        for number in worker.SIGNALS:
            signal.signal(number, lambda *_: None)

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

    # Supervisors

    def _fork(self, job: Waiting, share: Share) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        signal.pthread_sigmask(signal.SIG_BLOCK, worker.SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_worker(job, share, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, worker.SIGNALS)
            theirs.close()
        return pid, ours

    def _become_worker(self, job: Waiting, share: Share, line: socket.socket) -> NoReturn:
        code = 1
        try:
            gc.disable()  # makes no cycles to speak of, and looking for some would copy pages
            signal.set_wakeup_fd(-1)
            self._listener.close()
            for client, _ in self._clients.values():
                client.close()
            self._workers.close()
            os.close(self._wakeup)
            os.close(self._wakeup_target)
            os.setsid()
            libc.become_subreaper()
            order = worker.order(job.id, share.cpus, share.gpus)
            worker.work(self._state, order, worker.Line(line), self._group)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(code)


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
