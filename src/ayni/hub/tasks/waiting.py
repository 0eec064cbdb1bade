"""Long polls: look, and look again whenever something of the project changed, until there is news."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ayni.hub.network import wake

T = TypeVar("T")
_PAUSE = 0.1  # seconds between two looks: a burst of changes is looked at once


def look_until(
    project: int, seconds: float, look: Callable[[], T], is_news: Callable[[T], bool]
) -> T:
    """The first look that is news, or the last one in time."""
    deadline = time.monotonic() + seconds
    while True:
        ear = wake.Ear(wake.task_key(project)) if seconds > 0 else None  # before looking
        found = look()
        left = deadline - time.monotonic()
        if ear is None or left <= 0 or is_news(found):
            return found
        ear.wait(left)
        time.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))
