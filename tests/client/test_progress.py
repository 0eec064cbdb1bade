"""Bars on terminals, and silence elsewhere."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from ayni.client.progress import transfer_bar, waiting_bar


def _console(terminal: bool) -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    return Console(file=shown, force_terminal=terminal, width=100), shown


def test_a_wait_shows_how_many_have_ended_and_failed() -> None:
    console, shown = _console(True)
    with waiting_bar(console) as show:
        show(10, 3, 1, 2)
    assert "4/10" in shown.getvalue()
    assert "2 running" in shown.getvalue()
    assert "1 failed" in shown.getvalue()


def test_a_transfer_counts_from_several_threads() -> None:
    console, shown = _console(True)
    with transfer_bar("sending [x]", 4 << 20, True, console) as moved:
        threads = [threading.Thread(target=moved, args=(1 << 20,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        moved(-(1 << 20))
    assert "sending [x]" in shown.getvalue()
    assert "3.0/4.0 MiB" in shown.getvalue()


def test_nothing_is_drawn_where_nobody_looks() -> None:
    console, shown = _console(False)
    with waiting_bar(console) as show, transfer_bar("x", 1, True, console) as moved:
        show(1, 0, 0, 1)
        moved(1)
    assert shown.getvalue() == ""
