"""Long polls: look, and look again whenever something of the project changed, until there is news.

Whoever waits holds a thread of the hub, so only so many wait at once, and so many of one project:
nobody keeps the sites and the other projects out by asking.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ayni.hub.http import ProblemError
from ayni.hub.network import wake

T = TypeVar("T")
_PAUSE = 0.1  # seconds between two looks: a burst of changes is looked at once
MOST = 64  # who wait at once, in one process
MOST_OF_A_PROJECT = 32
_AGAIN = 5  # seconds

_lock = threading.Lock()
_waiting: Counter[int] = Counter()  # by project


def look_until(
    project: int,
    seconds: float,
    look: Callable[[], T],
    is_news: Callable[[T], bool],
    key: str | None = None,
) -> T:
    """The first look that is news, or the last one in time.

    Args:
        project: whose seat it is.
        seconds: how long to wait.
        look: what there is now.
        is_news: whether that is worth an answer.
        key: what rings when there may be news; by default, what a change of a task rings.

    Raises:
        ProblemError: 429, there is no news yet and too many wait already.
    """
    if seconds <= 0:
        return look()
    deadline = time.monotonic() + seconds
    key = key or wake.task_key(project)
    ear = wake.Ear(key)  # before looking
    found = look()
    if is_news(found):
        return found
    with _seat(project):
        while (left := deadline - time.monotonic()) > 0:
            ear.wait(left)
            time.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))
            ear = wake.Ear(key)
            found = look()
            if is_news(found):
                break
    return found


@contextmanager
def _seat(project: int) -> Iterator[None]:
    with _lock:
        if _waiting.total() >= MOST or _waiting[project] >= MOST_OF_A_PROJECT:
            raise ProblemError(
                429,
                "Too many wait",
                f"ask again in {_AGAIN} s, or without 'wait'",
                headers={"Retry-After": str(_AGAIN)},
            )
        _waiting[project] += 1
    try:
        yield
    finally:
        with _lock:
            _waiting[project] -= 1
            if not _waiting[project]:
                del _waiting[project]
