"""`ayni site drain`, `undrain` and `maintenance`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from ayni.agent import closures
from ayni.agent.closures import Closures
from ayni.agent.config import load
from ayni.agent.options import Config, Json
from ayni.agent.units import read_time
from ayni.errors import UserError
from ayni.protocol.policy import Window


def register(site: typer.Typer) -> None:
    """Add the commands to `ayni site`."""
    site.command("drain")(drain)
    site.command("undrain")(undrain)
    site.command("maintenance")(maintenance)


def drain(
    why: Annotated[str, typer.Option(help="What people who ask `ayni why` are told.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take no new tasks from now on; what runs here goes on to its end.

    Example: ayni site drain --why "moving to another room"
    """
    folder = load(config).state
    found = closures.read(folder).model_copy(update={"draining": why[:500]})
    closures.write(folder, found)
    _tell(found, as_json)


def undrain(config: Config = None, as_json: Json = False) -> None:
    """Take tasks again.

    Example: ayni site undrain
    """
    folder = load(config).state
    found = closures.read(folder).model_copy(update={"draining": None})
    closures.write(folder, found)
    _tell(found, as_json)


def maintenance(
    begin: Annotated[str | None, typer.Option("--from", help="When it begins.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="When it ends.")] = None,
    why: Annotated[str, typer.Option(help="What people who ask `ayni why` are told.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Forget all that was announced.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Announce a time in which nothing may run here: tasks that would not end before are not taken.

    Without options it shows what is announced. Times are the site's own, as 2026-12-01T08:00.

    Example: ayni site maintenance --from 2026-12-01T08:00 --to 2026-12-01T20:00 --why "new switches"
    """
    folder = load(config).state
    found = closures.read(folder)
    if clear:
        found = found.model_copy(update={"windows": []})
        closures.write(folder, found)
    if (begin is None) != (end is None):
        raise UserError("maintenance has a beginning and an end: give --from and --to")
    if begin is not None and end is not None:
        found = _announced(found, begin, end, why)
        closures.write(folder, found)
    _tell(found, as_json)


def _announced(found: Closures, begin: str, end: str, why: str) -> Closures:
    first = read_time(begin, "--from").timestamp()
    last = read_time(end, "--to").timestamp()
    now = time.time()
    if last <= first:
        raise UserError("--to: must be later than --from")
    if last <= now:
        raise UserError("--to: is past; announce what is to come")
    ahead = [window for window in found.windows if window.end > now]
    if len(ahead) >= closures.MOST:
        raise UserError(f"there are {closures.MOST} announcements already; use --clear")
    window = Window(begin=first, end=last, why=why[:500])
    return found.model_copy(update={"windows": [*ahead, window]})


def _tell(found: Closures, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.model_dump(), indent=2))
        return
    if found.draining is not None:
        typer.echo(f"draining{': ' + found.draining if found.draining else ''}")
    for window in sorted(found.windows, key=lambda window: window.begin):
        if window.end > time.time():
            why = f": {window.why}" if window.why else ""
            typer.echo(f"maintenance from {_shown(window.begin)} to {_shown(window.end)}{why}")
    if found.draining is None and not found.windows:
        typer.echo("open: nothing is announced")


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z")
