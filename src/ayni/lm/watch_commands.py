"""What watches a run: `ayni lm status`, `curves` and `log`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ayni.client.commands.console import (
    Json,
    emit,
    examples,
    interruptible,
    out,
    say,
)
from ayni.lm.run_commands import Configuration, Folder, read_run

_PAUSE = 1.0  # seconds between two looks


def register(lm: typer.Typer) -> None:
    """Add the commands to `ayni lm`."""
    lm.command(epilog=examples("ayni lm status run.toml", "ayni lm status run.toml --follow"))(
        status
    )
    lm.command(
        epilog=examples("ayni lm curves run.toml", "ayni lm curves run.toml --against time")
    )(curves)
    lm.command(
        epilog=examples(
            "ayni lm log run.toml",
            "ayni lm log run.toml --parquet run.parquet",
            "ayni lm log run.toml --tensorboard logs/",
        )
    )(log)


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


def curves(
    configuration: Configuration,
    folder: Folder = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Where they go; by default `curves` in the run's folder."),
    ] = None,
    against: Annotated[
        Literal["tokens", "steps", "time"], typer.Option(help="The horizontal axis.")
    ] = "tokens",
    as_json: Json = False,
) -> None:
    """Draw the run's curves as SVG: losses by language and by site, tokens, bytes, cosines, norms."""
    from ayni.lm.files import written
    from ayni.lm.watching.curves import Against
    from ayni.lm.watching.curves import curves as drawn
    from ayni.lm.watching.record import History
    from ayni.lm.watching.svg import draw

    run, place = read_run(configuration, folder)
    made = {}
    for name, chart in drawn(History.read(place), Against(against)).items():
        path = made[name] = (out_folder or place / "curves") / f"{name}.svg"
        with written(path) as file:
            file.write(draw(chart).encode())
    if as_json:
        emit({"run": run.run, "curves": {name: str(path) for name, path in made.items()}})
        return
    for path in made.values():
        typer.echo(path)
    if not made:
        say(f"run {run.run} has no round yet: nothing to draw")


def log(
    configuration: Configuration,
    folder: Folder = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write one table, a value a line.", metavar="FILE")
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Write event files, a folder for each site.", metavar="FOLDER"),
    ] = None,
    as_json: Json = False,
) -> None:
    """The run's record for other programs: Parquet, TensorBoard; without either, lines of JSON.

    It holds every loss by site and language, tokens, bytes, weights, norms and cosines.
    """
    from ayni.lm.watching import export
    from ayni.lm.watching.record import History

    run, place = read_run(configuration, folder)
    rows = list(History.read(place).rows())
    files: list[Path] = []
    if parquet is not None:
        export.write_parquet(parquet, run.run, rows)
        files.append(parquet)
    if tensorboard is not None:
        files += export.write_tensorboard(tensorboard, rows)
    if as_json:
        shown = {} if files else {"rows": [asdict(row) for row in rows]}
        emit({"run": run.run, "values": len(rows), "files": list(map(str, files)), **shown})
    elif files:
        for path in files:
            typer.echo(path)
    else:
        for row in rows:
            typer.echo(json.dumps(asdict(row)))
