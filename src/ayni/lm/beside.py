"""Work beside the training, which goes on meanwhile: encoding, fetching, decoding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any


class Beside:
    """Work by what it is for. Without `apart` it is done at once, by whoever asks for it.

    A process that ends does not wait for it: what comes by a channel may take long.
    """

    def __init__(self, *, apart: bool) -> None:
        self.apart = apart
        self._work: dict[str, Future[Any]] = {}

    def do(self, name: str, work: Callable[[], Any]) -> None:
        """Begin something, unless it was begun before."""
        if name in self._work:
            return
        found: Future[Any] = Future()
        self._work[name] = found
        if self.apart:
            Thread(target=_into, args=(found, work), name=name, daemon=True).start()
        else:
            _into(found, work)

    def knows(self, name: str) -> bool:
        """Whether it was begun, and nobody has taken what came of it."""
        return name in self._work

    def is_done(self, name: str) -> bool:
        return name in self._work and self._work[name].done()

    def take(self, name: str) -> Any:
        """What came of it; waits for it if need be. It is forgotten then.

        Raises:
            KeyError: it was not begun.
            Exception: what the work raised.
        """
        return self._work.pop(name).result()


def _into(found: Future[Any], work: Callable[[], Any]) -> None:
    try:
        found.set_result(work())
    except BaseException as error:
        found.set_exception(error)  # raised where it is taken
