"""`ayni site volume ls|rm`: what projects keep here between their tasks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ayni.agent.config import load
from ayni.agent.options import Config, Json
from ayni.agent.volume_files import Key, Volume, VolumeFiles
from ayni.errors import UserError
from ayni.tes.units import show_size


def register(app: typer.Typer) -> None:
    """Add the commands to `ayni site volume`."""
    app.command("ls")(ls)
    app.command("rm")(rm)


def ls(config: Config = None, as_json: Json = False) -> None:
    """Show the volumes that projects have here: size, last use, and the data by which they are bounded.

    Example: ayni site volume ls --json
    """
    loaded = load(config)
    found = VolumeFiles(loaded.volumes_folder).look()
    if as_json:
        typer.echo(json.dumps({"volumes": [_shown(*item) for item in found]}, indent=2))
        return
    if not found:
        typer.echo("no project has a volume here")
        return
    table = Table("project", "volume", "size", "last used", "goes", "release")
    for key, volume in found:
        bound = f" ({volume.rule.dataset})" if volume.rule.dataset else ""
        goes = volume.used + loaded.volumes.retention
        table.add_row(
            key.project, key.name, show_size(volume.size), _moment(volume.used), _moment(goes),
            f"{volume.rule.release.value}{bound}",
        )  # fmt: skip
    Console().print(table)


def rm(
    project: Annotated[str, typer.Argument(help="Whose.")],
    name: Annotated[str, typer.Argument(help="The volume.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Delete a volume, with all that is in it, as soon as no task has it. The agent does so.

    Example: ayni site volume rm climate state
    """
    there = VolumeFiles(load(config).volumes_folder)
    known = dict(there.look())
    if Key(project, name) not in known:
        raise UserError(f"project {project} has no volume {name} here; see 'ayni site volume ls'")
    there.ask_to_remove(Key(project, name))
    if as_json:
        typer.echo(json.dumps({"removing": {"project": project, "name": name}}))
        return
    typer.echo(f"{name} of {project} goes as soon as no task has it, while the agent runs")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _shown(key: Key, volume: Volume) -> dict[str, object]:
    return {
        "project": key.project,
        "name": key.name,
        "id": volume.id,
        "size": volume.size,
        "created": volume.created,
        "used": volume.used,
        "release": volume.rule.release.value,
        "release_limit": volume.rule.limit,
        "dataset": volume.rule.dataset,
    }
