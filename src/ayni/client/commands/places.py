"""`ayni sites` and `ayni datasets`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ayni.client.commands import console
from ayni.client.commands.console import Column, Json
from ayni.client.commands.submit import task_in
from ayni.client.draft import draft
from ayni.client.models import Dataset, Site, SiteVerdict
from ayni.tes.units import show_duration, show_size

_AT_ONCE = 5.0  # seconds
_STYLES = {"healthy": "green", "silent": "red", "banned": "red", "ill": "red", "draining": "yellow"}


def register(app: typer.Typer) -> None:
    app.command(
        epilog=console.examples(
            "ayni sites", "ayni sites --for task.json", "ayni sites --json | jq '.sites[].name'"
        )
    )(sites)
    app.command(epilog=console.examples("ayni datasets"))(datasets)


def sites(
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="FILE",
            help="Where a TES task in JSON or YAML (- reads it from stdin) would start first.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """The sites of the network: what they offer and how they are.

    With --for: when the task would start at each, the soonest first. Exit code 1 if no site would take it.
    """
    if for_ is not None:
        _sites_for(for_, json_)
        return
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
        Column("FORESIGHT", 7),
        Column("TITLE", 8, fold=True),
    )
    out.print(console.table(columns, [row for site in found for row in _site_rows(site)], out))
    for site in found:
        if site.takes_you is False:
            console.say(f"{site.name}: does not take your project's tasks, or yours")
        for note in site.health:
            remedy = f" ({note.remedy})" if note.remedy else ""
            console.say(f"{site.name}: {note.message}{remedy}")


_KNOWN_BY = {
    "free": "there is room",
    "scheduler": "its scheduler",
    "history": "earlier waits",
    "queue": "the queue there",
}
_REMARKS = {"chosen": "it would go there", "possible": ""}


def _sites_for(name: str, json_: bool) -> None:
    made = draft(task_in(name))
    with console.open_network() as network:
        chances = network.chances(made)
    if json_:
        console.emit({"sites": chances.in_order, "chosen": chances.chosen})
    else:
        out = console.out()
        columns = (
            Column("SITE"),
            Column("PARTITION", 2),
            Column("WOULD START"),
            Column("KNOWN BY", 1),
            Column("USUAL ERROR", 3),
            Column("REMARK", 4, fold=True),
        )
        rows = [_chance_row(one) for one in chances.in_order]
        out.print(console.table(columns, rows, out))
    if all(one.verdict == "ineligible" for one in chances.sites):
        raise typer.Exit(console.FAILED)


def _chance_row(one: SiteVerdict) -> tuple[str | Text | None, ...]:
    remark = _REMARKS.get(one.verdict, one.message)
    if one.start_in is None:
        return one.site, "", Text("not", style="dim"), "", "", remark
    soon = "at once" if one.start_in < _AT_ONCE else f"in about {show_duration(one.start_in)}"
    off = "" if one.usual_error is None else f"± {show_duration(one.usual_error)}"
    return one.site, one.partition, soon, _KNOWN_BY.get(one.by or "", one.by), off, remark


def _site_rows(site: Site) -> list[tuple[str | Text | None, ...]]:
    state = Text(site.state, style=_STYLES.get(site.state, ""))
    head = (site.name, site.member, state)
    off = f"± {show_duration(site.foresight.error)}" if site.foresight else ""
    if not site.partitions:
        return [(*head, "", "", "", "", "", off, site.title)]
    return [
        (
            *(head if first else ("", "", "")),
            part.name,
            str(part.cores),
            str(part.used_cores),
            _node(part.cores_per_node, part.memory_per_node, part.gpus_per_node),
            show_duration(part.max_walltime) if part.max_walltime else "",
            off if first else "",
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
