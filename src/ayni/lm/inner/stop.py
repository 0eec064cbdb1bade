"""Being told to stop: the site's scheduler warns with USR1 some minutes before the walltime ends."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ayni.lm.inner.progress import GO_ON, Paused

log = logging.getLogger(__name__)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Gives the question whether USR1 came; a `Paused` in the body ends the process with `GO_ON`.

    Only in the main thread (signals come there).
    """
    told = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: told.set())
    try:
        yield told.is_set
    except Paused as paused:
        log.warning("%s: go on in a successor", paused)
        sys.exit(GO_ON)
    finally:
        signal.signal(signal.SIGUSR1, before)
