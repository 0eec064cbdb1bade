"""A process that forks supervisors: what the spawner of a machine and the pilot of a batch job share."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from ayni.agent.supervisor import libc, worker
from ayni.agent.supervisor.capacity import Share
from ayni.agent.supervisor.jobs import Waiting
from ayni.agent.supervisor.workers import Workers


class Crew:
    """Workers, the poller that hears of them, and signals that come as bytes on a descriptor."""

    def __init__(
        self, state: str, cgroup: str | None, close_in_worker: Callable[[], None], *, lasting: bool
    ) -> None:
        """Start with nobody.

        Args:
            state: the executor's state folder.
            cgroup: in which the jobs' own groups are made; None for none.
            close_in_worker: closes what a forked worker must not keep.
            lasting: a spawner's workers claim their jobs and outlive it. A pilot's do neither: when
                the scheduler kills its batch job, nothing must be taken for a task's own end.
        """
        self._state = state
        self._cgroup = cgroup
        self._close = close_in_worker
        self._lasting = lasting
        self._pid = os.getpid()
        self.poller = select.poll()
        self.workers = Workers(self._fork, self.poller)
        self.wakeup, self._wakeup_target = os.pipe()

    def listen_to_signals(self) -> None:
        for fd in (self.wakeup, self._wakeup_target):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup_target, warn_on_full_buffer=False)
        for number in worker.SIGNALS:
            signal.signal(number, lambda *_: None)
        self.poller.register(self.wakeup, select.POLLIN)

    @staticmethod
    def freeze() -> None:
        """All is loaded: let no supervisor's collector touch, and so copy, these pages."""
        gc.collect()
        gc.freeze()

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
            self._close()
            self.workers.close()
            os.close(self.wakeup)
            os.close(self._wakeup_target)
            os.setsid()
            libc.become_subreaper()
            if not self._lasting:
                libc.die_with_parent()
                if os.getppid() != self._pid:
                    os._exit(code)
            order = worker.order(job.id, share.cpus, share.gpus)
            worker.work(self._state, order, worker.Line(line), self._cgroup, lasting=self._lasting)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(code)
