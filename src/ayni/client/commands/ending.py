"""`ayni cancel`, `ayni rerun`, `ayni fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ayni.client.commands import console
from ayni.client.commands.console import Json

Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="Tasks and arrays.")]


def register(app: typer.Typer) -> None:
    app.command(epilog=console.examples("ayni cancel ID"))(cancel)
    app.command(epilog=console.examples("ayni rerun ARRAY", "ayni wait $(ayni rerun ARRAY)"))(rerun)
    app.command(epilog=console.examples("ayni fetch ID", "ayni fetch ID results/"))(fetch)


def cancel(ids: Ids, json_: Json = False) -> None:
    """End tasks and arrays. Those that have ended already are left as they are."""
    with console.open_network() as hub:
        handles = [hub.find(id_).cancel() for id_ in ids]
        told = [{"kind": h.kind, "id": h.id, "summary": h.summary()} for h in handles]
    if json_:
        console.emit({"canceled": told})
        return
    out = console.out()
    for one in told:
        out.print(console.plain(f"{one['id']}  {one['summary']}"), soft_wrap=True)


def rerun(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An array, or a task.")],
    json_: Json = False,
) -> None:
    """Send again what did not end well of an array, or a task that has ended. Prints the new id."""
    with console.open_network() as hub:
        new = hub.find(id_).rerun()
        size = len(new) if new.kind == "array" else 1  # type: ignore[arg-type]
    if json_:
        console.emit({"kind": new.kind, "id": new.id, "size": size, "rerun_of": id_})
        return
    print(new.id)
    console.say(f"{size} of {id_} again" if new.kind == "array" else f"{id_} again")


def fetch(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A task or an array.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Where to; default a folder named by the id."),
    ] = None,
    json_: Json = False,
) -> None:
    """Bring the outputs of a task or an array here. What is here already, the same, is left alone."""
    remark = "stopped; what arrived is kept, and the same command goes on where it was"
    with console.open_network() as hub, console.interruptible(lambda: remark):
        found = hub.find(id_)
        files = found.fetch(folder, progress=True)
        state = found.summary()
    if json_:
        sizes = [{"path": str(file), "size": file.stat().st_size} for file in files]
        console.emit({"id": found.id, "folder": str(folder or found.id), "files": sizes})
        return
    for file in files:
        print(file)
    if not files:
        console.say(f"{found.id} has left no files in the project ({state})")
    elif not found.ok:
        console.say(f"not all of it ended well: {state}")
