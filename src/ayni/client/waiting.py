"""Waiting for many at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ayni.client.connection import MAX_WAIT
from ayni.client.errors import WaitTimeout
from ayni.client.handles import ArrayHandle, Handle, OnChange
from ayni.client.progress import waiting_bar
from ayni.tes.models import State

SHARED_WAIT = 2.0  # seconds for one question, where several are waited for in turn


def wait_all(
    handles: Sequence[Handle],
    *,
    timeout: float | None = None,
    progress: bool | OnChange = False,
) -> None:
    """Until all have ended, well or badly.

    Args:
        timeout: seconds.
        progress: True shows a bar on stderr; a function is called with a handle at its changes.

    Raises:
        WaitTimeout: some have not; they go on.
    """
    if progress is True:
        with waiting_bar() as show:
            _wait(handles, timeout, lambda _: show(*_counts(handles)))
    else:
        _wait(handles, timeout, progress or (lambda _: None))


def _wait(handles: Sequence[Handle], timeout: float | None, on_change: OnChange) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    told: dict[str, str] = {}

    def ask(handle: Handle, seconds: float) -> None:
        handle.refresh(wait=seconds)
        if told.get(handle.id) != (now := handle.summary()):
            told[handle.id] = now
            on_change(handle)

    for handle in handles:
        ask(handle, 0.0)
    while pending := [handle for handle in handles if not handle.final]:
        rest = MAX_WAIT if deadline is None else deadline - time.monotonic()
        if rest <= 0:
            many = f"{len(pending)} of {len(handles)}" if len(handles) > 1 else pending[0].id
            raise WaitTimeout(f"{many} not ended after {timeout:g} s; what runs goes on")
        first, *others = pending
        ask(first, min(rest, SHARED_WAIT if others else MAX_WAIT))
        for handle in others:
            ask(handle, 0.0)


def _counts(handles: Sequence[Handle]) -> tuple[int, int, int, int]:
    """Of all tasks: how many there are, ended well, ended badly, running."""
    total = well = badly = running = 0
    for handle in handles:
        if isinstance(handle, ArrayHandle):
            total += handle.info.size
            well += handle.info.complete
            badly += handle.info.done - handle.info.complete
            running += handle.info.counts.get(State.RUNNING, 0)
        else:
            total += 1
            well += handle.ok
            badly += handle.final and not handle.ok
            running += State.RUNNING in handle.summary().split()
    return total, well, badly, running
