"""Stopping a transfer from outside (its user), or from inside (one of its parts failed)."""

from __future__ import annotations

import threading

from ayni.transfer.errors import Stopped


class Halt:
    """Is set by whoever wants the transfer to stop; `outer` belongs to the caller and is only read."""

    def __init__(self, outer: threading.Event | Halt | None = None) -> None:
        self._outer = outer
        self._own = threading.Event()

    def set(self) -> None:
        self._own.set()

    def is_set(self) -> bool:
        return self._own.is_set() or (self._outer is not None and self._outer.is_set())

    def check(self) -> None:
        """
        Raises:
            Stopped: somebody wants it.
        """
        if self.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait, but not on when stopped.

        Raises:
            Stopped: somebody wants it.
        """
        self.check()
        while seconds > 0:
            step = min(seconds, 0.25) if self._outer is not None else seconds
            self._own.wait(step)
            self.check()
            seconds -= step
