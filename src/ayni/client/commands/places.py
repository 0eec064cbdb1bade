"""`ayni sites` and `ayni datasets`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.text import Text

from ayni.client.commands import console
from ayni.client.commands.console import Column, Json
from ayni.client.models import Dataset, Site
from ayni.tes.units import show_duration, show_size

_STYLES = {"healthy": "green", "silent": "red", "banned": "red", "ill": "red", "draining": "yellow"}


def register(app: typer.Typer) -> None:
    app.command(epilog=console.examples("ayni sites", "ayni sites --json | jq '.sites[].name'"))(
        sites
    )
    app.command(epilog=console.examples("ayni datasets"))(datasets)


def sites(json_: Json = False) -> None:
    """The sites of the network: what they offer and how they are."""
    with console.open_network() as network:
        found = network.sites()
    if json_:
        console.emit({"sites": found})
        return
    out = console.out()
    columns = (
        Column("SITE"),
        Column("COUNTRY", 3),
        Column("STATE"),
        Column("PARTITION", 4),
        Column("CORES", 1, right=True),
        Column("IN USE", 2, right=True),
        Column("NODE", 5),
        Column("LONGEST", 6),
        Column("TITLE", 7, fold=True),
    )
    out.print(console.table(columns, [row for site in found for row in _site_rows(site)], out))
    for site in found:
        if site.takes_you is False:
            console.say(f"{site.name}: does not take your project's tasks, or yours")
        for note in site.health:
            remedy = f" ({note.remedy})" if note.remedy else ""
            console.say(f"{site.name}: {note.message}{remedy}")


def _site_rows(site: Site) -> list[tuple[str | Text | None, ...]]:
    state = Text(site.state, style=_STYLES.get(site.state, ""))
    head = (site.name, site.member, state)
    if not site.partitions:
        return [(*head, "", "", "", "", "", site.title)]
    return [
        (
            *(head if first else ("", "", "")),
            part.name,
            str(part.cores),
            str(part.used_cores),
            _node(part.cores_per_node, part.memory_per_node, part.gpus_per_node),
            show_duration(part.max_walltime) if part.max_walltime else "",
            site.title if first else "",
        )
        for first, part in zip(
            [True] + [False] * len(site.partitions), site.partitions, strict=False
        )
    ]


def _node(cores: int, memory: int, gpus: int) -> str:
    words = [f"{cores} core{'' if cores == 1 else 's'}", show_size(memory)]
    words += [f"{gpus} GPU{'' if gpus == 1 else 's'}"] if gpus else []
    return ", ".join(words)


def datasets(json_: Json = False) -> None:
    """The datasets that your project may read, and what may leave a task that reads them."""
    with console.open_network() as network:
        found = network.datasets()
    if json_:
        console.emit({"datasets": found})
        return
    if not found:
        console.say("there are no datasets that this project may read")
        return
    out = console.out()
    out.print(_datasets(found, out))


def _datasets(found: list[Dataset], out: Console) -> object:
    columns = (
        Column("URL"),
        Column("VERSION", 5),
        Column("SIZE", 3, right=True),
        Column("STAYS", 2),
        Column("RELEASE", 1),
        Column("LICENCE", 6, fold=True),
        Column("TITLE", 7, fold=True),
    )
    rows = [
        (
            one.url or f"ayni://{one.site or one.project}/{one.name}/",
            one.version,
            show_size(one.size),
            _residency(one),
            _release(one),
            one.licence,
            one.title,
        )
        for one in found
    ]
    return console.table(columns, rows, out)


def _residency(one: Dataset) -> str:
    return {"site": "at its site", "member": "in its country", "any": "anywhere"}.get(
        one.residency, one.residency
    )


def _release(one: Dataset) -> str:
    return f"up to {show_size(one.release_limit)}" if one.release == "aggregate" else one.release
