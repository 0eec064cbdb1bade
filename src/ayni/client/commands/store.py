"""`ayni store`: the project's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ayni.client.commands import console
from ayni.client.commands.console import Column, Json
from ayni.client.errors import AyniError
from ayni.client.models import StoredFile
from ayni.client.outputs import folders
from ayni.tes.units import show_size

KEPT = "stopped; what arrived is kept, and the same command goes on where it was"
Remote = Annotated[
    str, typer.Argument(metavar="PATH", help="A path in the project, or its ayni:// URL.")
]

commands = typer.Typer(
    no_args_is_help=True,
    help="The project's files at the hub. `inputs/` and `results/` are where submissions put theirs.",
)


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="store")


@commands.command(epilog=console.examples("ayni store ls", "ayni store ls results/ -r"))
def ls(
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="What the paths begin with; a folder ends in /.")
    ] = "",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="All files, not one level.", show_default=False)
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """List files."""
    with console.open_network() as hub:
        files = hub.store.ls(prefix)
        found: list[StoredFile | str] = list(files if recursive else folders(files, prefix))
        if json_:
            names = [one for one in found if isinstance(one, str)]
            console.emit({"files": [f for f in found if not isinstance(f, str)], "folders": names})
            return
    if not found:
        console.say(f"there is nothing at {prefix or 'this project'}")
        return
    columns = (Column("SIZE", 1, right=True), Column("MODIFIED", 2), Column("PATH", fold=True))
    out = console.out()
    out.print(console.table(columns, [_row(one) for one in found], out))


def _row(one: StoredFile | str) -> tuple[Any, ...]:
    if isinstance(one, str):
        return ("", "", one)
    return (show_size(one.size), console.when(one.modified), one.path)


@commands.command(
    epilog=console.examples(
        "ayni store put data.csv",
        "ayni store put maps/ data/maps",
        "ayni store put a.csv b.csv data/",
    )
)
def put(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="LOCAL… [PATH]", help="Files and folders here, then a name there."),
    ],
    json_: Json = False,
) -> None:
    """Send files and folders. Of several arguments the last is the name there.

    A name that ends in / is a folder to put them into; without any they keep their own.
    """
    local, remote = _split(paths)
    with console.open_network() as hub, console.interruptible(lambda: KEPT):
        sent = [file for path in local for file in hub.store.put(path, remote, progress=True)]
        project = hub.project
    if json_:
        urls = [{**f.model_dump(mode="json"), "url": f"ayni://{project}/{f.path}"} for f in sent]
        console.emit({"files": urls})
        return
    for file in sent:
        print(f"ayni://{project}/{file.path}")


def _split(paths: list[str]) -> tuple[list[str], str]:
    """What is here, and the name it gets there ("": its own)."""
    *local, last = paths
    if not local:
        local, last = paths, ""
    for path in local:
        if not Path(path).exists():
            raise AyniError(f"{path[:200]!r}: there is no such file or folder here")
    if len(local) > 1 and last and not last.endswith("/"):
        raise AyniError(f"{last[:200]!r}: several files go into a folder; write {last}/")
    return local, last


@commands.command(
    epilog=console.examples("ayni store get data.csv", "ayni store get results/fit/ here/")
)
def get(
    path: Remote,
    target: Annotated[
        Path, typer.Argument(metavar="LOCAL", help="A name here, or a folder to put it into.")
    ] = Path(),
    json_: Json = False,
) -> None:  # fmt: skip
    """Bring a file or a folder. What is here already, the same, is left alone."""
    with console.open_network() as hub, console.interruptible(lambda: KEPT):
        files = hub.store.get(path, target, progress=True)
    if json_:
        sizes = [{"path": str(file), "size": file.stat().st_size} for file in files]
        console.emit({"files": sizes})
        return
    for file in files:
        print(file)


@commands.command(
    epilog=console.examples("ayni store rm data.csv", "ayni store rm -r results/old/")
)
def rm(
    path: Remote,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="A folder, with all beneath it.", show_default=False),
    ] = False,
    json_: Json = False,
) -> None:  # fmt: skip
    """Remove a file or a folder."""
    if recursive and not path.strip("/"):
        raise AyniError("that would remove all of the project's files; name a folder")
    with console.open_network() as hub:
        count = hub.store.rm(path, recursive=recursive)
    if json_:
        console.emit({"removed": count})
        return
    console.say(f"removed {count} file{'' if count == 1 else 's'}")
