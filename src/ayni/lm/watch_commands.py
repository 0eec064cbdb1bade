"""What watches a run: `ayni lm status`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ayni.client.commands.console import (
    Json,
    emit,
    examples,
    interruptible,
    out,
)
from ayni.lm.run_commands import Configuration, Folder, read_run

_PAUSE = 1.0  # seconds between two looks


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    lm.command(epilog=examples("ayni lm status run.toml", "ayni lm status run.toml --follow"))(
        status
    )


def status(
    configuration: Configuration,
    folder: Folder = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing it, until the run is over.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show rounds, losses, speed, who is late and why, and alarms, as the coordinator saw it last."""
    from ayni.lm.coordinate import read_status
    from ayni.lm.watching.shown import showing, shown

    _, place = read_run(configuration, folder)
    found = read_status(place)
    if follow:
        with interruptible(lambda: "the run goes on"), showing(as_json=as_json) as show:
            show(found)
            while found["status"] != "done":
                time.sleep(_PAUSE)
                found = read_status(place)
                show(found)
        return
    if as_json:
        emit(found)
    else:
        console = out()
        console.print(shown(found, console))
