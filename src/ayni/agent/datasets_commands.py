"""`ayni site dataset add|ls|rm`: what the site's own store offers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from ayni.agent.config import load
from ayni.agent.datasets import Card, Datasets
from ayni.agent.options import Config, Json
from ayni.errors import UserError
from ayni.tes.units import show_size


def register(app: typer.Typer) -> None:
    """Add the commands to `ayni site dataset`."""
    app.command("add")(add)
    app.command("ls")(ls)
    app.command("rm")(rm)


def _store(config: Path | None) -> Datasets:
    return Datasets(load(config).store_folder)


def add(
    paths: Annotated[
        list[Path], typer.Argument(help="A folder to a dataset; its files stay where they are.")
    ],
    version: Annotated[str, typer.Option(help="Of the data, as in 2026-03.")],
    licence: Annotated[str, typer.Option(help="As in CC-BY-4.0, or a name of your own.")],
    name: Annotated[
        str | None,
        typer.Option(help="How tasks call it, where one is added; by default the folder's name."),
    ] = None,
    title: Annotated[str, typer.Option(help="For people.")] = "",
    residency: Annotated[
        str, typer.Option(help="Where the bytes may be: site, member or any.")
    ] = "site",
    release: Annotated[
        str, typer.Option(help="What may leave a task: nothing, aggregate or anything.")
    ] = "nothing",
    release_limit: Annotated[
        str, typer.Option(help="Bytes a task for aggregates, as in 256KiB.")
    ] = "0",
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROJECT/CHANNEL",
            help="Tasks that read it may send on this channel, and on no other; may be repeated.",
        ),
    ] = None,
    channel_limit: Annotated[
        str, typer.Option(help="Bytes a task by those channels, as in 2GiB.")
    ] = "0",
    inner_network: Annotated[
        bool,
        typer.Option(
            "--inner-network",
            help="Tasks over several nodes that read it have the network between these. Only where "
            "nodes reach nothing outside the cluster.",
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Offer folders as datasets, or describe anew those that are offered.

    Example: ayni site dataset add /data/census --version 2024 --licence CC-BY-4.0 --release aggregate
    --release-limit 256KiB
    """
    if name and len(paths) > 1:
        raise UserError("--name: several folders cannot have one name; leave it out")
    try:
        card = Card.model_validate(
            {
                "version": version,
                "licence": licence,
                "title": title,
                "residency": residency,
                "release": release,
                "release_limit": release_limit,
                "channels": channel or [],
                "channel_limit": channel_limit,
                "inner_network": inner_network,
            }
        )
    except ValidationError as error:
        fault = error.errors()[0]
        option = "--" + "-".join(str(fault["loc"][0]).split("_")) if fault["loc"] else "dataset"
        raise UserError(f"{option}: {fault['msg'].removeprefix('Value error, ')}") from error
    store = _store(config)
    with _shown_progress() as shown:
        step = _steps(shown)
        added = [store.add(p, name or p.absolute().name, card, progress=step) for p in paths]
    if as_json:
        _emit({"datasets": [dataset.status.model_dump() for dataset in added]})
        return
    for dataset in added:
        typer.echo(
            f"{dataset.name} {card.version}: {dataset.files} files, {show_size(dataset.size)}, "
            f"residency {card.residency}, release {card.release}"
        )


def ls(as_json: Json = False, config: Config = None) -> None:
    """Show what is offered, and what is not and why.

    Example: ayni site dataset ls --json
    """
    store = _store(config)
    with _shown_progress() as shown:
        store.scan(progress=_steps(shown))
    cards = store.cards()
    if as_json:
        datasets = [card.model_dump() for card in cards]
        _emit({"datasets": datasets, "problems": store.problems})
        return
    table = Table("dataset", "version", "files", "size", "residency", "release", "licence")
    for card in cards:
        limit = f" ≤ {show_size(card.release_limit)}" if card.release == "aggregate" else ""
        table.add_row(
            card.name,
            card.version,
            str(card.files),
            show_size(card.size),
            card.residency,
            card.release + limit,
            card.licence,
        )
    Console().print(table if cards else "no datasets; add one with 'ayni site dataset add PATH'")
    for name, problem in store.problems.items():
        typer.echo(f"{name} is not offered: {problem}", err=True)


def rm(
    name: Annotated[str, typer.Argument(help="The dataset.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Offer a dataset no more; its files stay.

    Example: ayni site dataset rm census
    """
    folder = _store(config).remove(name)
    if as_json:
        _emit({"removed": name, "folder": str(folder)})
        return
    typer.echo(f"{name} is offered no more; its files stay at {folder}")


def _emit(data: dict[str, Any]) -> None:
    typer.echo(json.dumps(data, indent=2))


def _shown_progress() -> Progress:
    columns = SpinnerColumn(), TextColumn("{task.description}")
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _steps(shown: Progress) -> Callable[[str, int], None]:
    task = shown.add_task("")
    done = 0

    def step(path: str, size: int) -> None:
        nonlocal done
        done += size
        shown.update(task, description=f"{show_size(done)}  {path[-60:]}")

    return step
