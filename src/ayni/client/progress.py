"""Bars on stderr: for waits and transfers. Where stderr is no terminal, nothing is drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

ShowCounts = Callable[[int, int, int, int], None]
Moved = Callable[[int], None]


@contextmanager
def waiting_bar(console: Console | None = None) -> Iterator[ShowCounts]:
    """Gives a function of (all, well, badly, running) that redraws the bar."""
    console = console or Console(stderr=True)
    if not _drawn(console):
        yield lambda total, well, badly, running: None
        return
    bar = Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        line = bar.add_task("", total=1)

        def show(total: int, well: int, badly: int, running: int) -> None:
            words = [f"{running} running"] if running else []
            words += [f"[red]{badly} failed[/red]"] if badly else []
            bar.update(line, total=total, completed=well + badly, description=", ".join(words))

        yield show


@contextmanager
def transfer_bar(
    what: str, total: int, shown: bool, console: Console | None = None
) -> Iterator[Moved]:
    """Gives a function of bytes moved, which may be called from any thread and with less than 0."""
    console = console or Console(stderr=True)
    if not shown or not _drawn(console):
        yield lambda moved: None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    )
    lock, done = threading.Lock(), 0
    with bar:
        line = bar.add_task(what.replace("[", r"\["), total=total)

        def moved(count: int) -> None:
            nonlocal done
            with lock:
                done += count
                bar.update(line, completed=max(0, done))

        yield moved


def _drawn(console: Console) -> bool:
    return console.is_terminal or console.is_jupyter
