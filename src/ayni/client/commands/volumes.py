"""`ayni volumes`: what sites keep for the project between its tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from ayni.client.commands import console
from ayni.client.commands.console import Column, Json
from ayni.client.models import Volume
from ayni.tes.units import show_size


def register(app: typer.Typer) -> None:
    volumes = typer.Typer(
        invoke_without_command=True,
        help="What sites keep for your project between its tasks; a volume never leaves its site.",
        epilog=console.examples("ayni volumes", "ayni volumes rm santiago state"),
    )
    volumes.callback()(ls)
    volumes.command("rm", epilog=console.examples("ayni volumes rm santiago state"))(rm)
    app.add_typer(volumes, name="volumes")


def ls(ctx: typer.Context, json_: Json = False) -> None:
    """The volumes of your project: where they are, how large, when they were used last."""
    if ctx.invoked_subcommand is not None:
        return
    with console.open_network() as network:
        found = network.volumes()
    if json_:
        console.emit({"volumes": found})
        return
    if not found:
        console.say("no site keeps a volume for this project")
        return
    out = console.out()
    columns = (
        Column("VOLUME"),
        Column("SITE"),
        Column("SIZE", 1, right=True),
        Column("USED", 2),
        Column("EXPIRES", 4),
        Column("RELEASE", 3),
        Column("STATE", 5),
    )
    out.print(console.table(columns, [_row(one) for one in found], out))


def _row(one: Volume) -> tuple[str, ...]:
    state = "being deleted" if one.removing else "in use" if one.mounted else ""
    bound = f" ({one.dataset})" if one.dataset else ""
    limit = f"up to {show_size(one.release_limit)}" if one.release == "aggregate" else one.release
    return (
        one.name,
        one.site,
        show_size(one.size),
        console.when(one.used),
        console.when(one.expires),
        f"{limit}{bound}",
        state,
    )


def rm(
    site: Annotated[str, typer.Argument(help="Where it is.")],
    name: Annotated[str, typer.Argument(help="The volume.")],
    json_: Json = False,
) -> None:
    """Have a volume deleted, with all that is in it. Its site does so as soon as it hears of it."""
    with console.open_network() as network:
        gone = network.remove_volume(site, name)
    if json_:
        console.emit({"removing": gone})
        return
    console.say(f"{name} at {site} is being deleted")
