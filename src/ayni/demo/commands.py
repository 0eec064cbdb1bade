"""`ayni demo`: the main job on real data."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ayni.errors import UserError
from ayni.terminal import lines

if TYPE_CHECKING:
    from ayni.demo.model.story import ModelStory

# Looked for, not imported: they are slow to load. Without them `ayni` says that the demo is not installed.
for _library in ("django", "gflanguages", "numpy", "vl_convert"):
    if find_spec(_library) is None:
        raise ModuleNotFoundError(f"No module named {_library!r}", name=_library)

_REMEDY = "'make demo' brings it, or: pip install torch==2.13.0 && pip install 'ayni[demo,lm]'"


def register(app: typer.Typer) -> None:
    """Add the command to `ayni`."""
    app.command(
        epilog="Examples:\n\n  ayni demo\n\n  ayni demo --keep --state /tmp/red --port 8080"
    )(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the hub and its sites up until Ctrl-C.")
    ] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The hub's port.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep everything in this folder; it must be empty.")
    ] = None,
    facts: Annotated[
        Path | None, typer.Option("--json", help="Write what happened here, for programs.")
    ] = None,
    slurm: Annotated[
        Path | None,
        typer.Option(help="Run the sites' tasks on Slurm: clusters.json of the three clusters."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the pictures and the model go.")] = Path(
        "out/atlas"
    ),
    atlas: Annotated[
        bool, typer.Option("--atlas", help="Only the atlas, without the model.")
    ] = False,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Train the model on this collection of texts, dealt to the three sites."),
    ] = None,
) -> None:
    """An atlas of the Americas' languages and a language model, made by three countries' machines.

    Starts a hub and three sites as real processes on this machine. Each country's own texts stay at its
    site. What travels are profiles, which become one picture, and what a model learnt, which becomes one
    model.
    """
    from ayni.demo.alliance import clusters
    from ayni.demo.stage import StageError, stage_folder
    from ayni.demo.story import Story

    _check_corpus(corpus, atlas, slurm, {"--state": state, "--out": out})
    _check(port, state, facts, out)
    console = Console()
    engines = None if slurm is None else clusters(slurm)
    second = _second(console, corpus, atlas, slurm)
    with stage_folder(state) as folder:
        story = Story(folder, console, port, engines, second)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            story.tell(out)
            path = story.credentials()
            if facts is not None:
                facts.write_text(json.dumps(story.facts, indent=2))
            story.say(f"Done in {story.facts['seconds']:.0f} s")
            if keep:
                story.say(f"The network stays up at {story.stage.url}; tokens are in {path}")
                story.say("Ctrl-C ends it.")
                while story.stage.hub.alive:
                    time.sleep(1)
                raise StageError(f"the hub ended:\n{story.stage.hub.tail()}")
        except StageError as error:
            console.print("[red]The demo failed:[/red]", Text(lines(str(error))))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            if not (keep and "seconds" in story.facts):
                raise
        finally:
            story.stage.stop()


def _second(
    console: Console, corpus: Path | None, atlas: bool, slurm: Path | None
) -> ModelStory | None:
    """The model's part; None where it is not wanted or cannot be had here, which is said.

    Raises:
        UserError: it cannot be had here, and a collection was given for it.
    """
    from ayni.demo.model.story import ModelStory, missing

    if atlas:
        return None
    if slurm is not None:
        console.print("Over Slurm the demo is the atlas; the model's part runs without --slurm.")
        return None
    library = missing()
    if library and corpus is not None:
        raise UserError(
            f"--corpus: is for the model, which needs {library}, and that is not installed; {_REMEDY}"
        )
    if library:
        console.print(
            f"Only the atlas: the model needs {library}, which is not installed. {_REMEDY}",
            markup=False,
        )
        return None
    return ModelStory(corpus)


def _check_corpus(
    corpus: Path | None, atlas: bool, slurm: Path | None, made: Mapping[str, Path | None]
) -> None:
    """What can be said of a collection without reading it; `made`: folders that are written, by option.

    Raises:
        UserError: it cannot be had, and the remedy.
    """
    if corpus is None:
        return
    for option, given in (("--atlas", atlas), ("--slurm", slurm is not None)):
        if given:
            raise UserError(
                f"--corpus: is for the model, which {option} leaves out; give one of them"
            )
    try:
        empty = not any(corpus.iterdir())
    except OSError as error:
        raise UserError(
            f"--corpus: {corpus} cannot be read ({error.strerror}); name a folder with texts"
        ) from error
    if empty:
        raise UserError(f"--corpus: {corpus} is empty; put texts there, or name another folder")
    for option, folder in made.items():
        if folder is not None and folder.resolve().is_relative_to(corpus.resolve()):
            raise UserError(
                f"{option}: {folder} lies within {corpus}, among the texts; name another place"
            )


def _check(port: int | None, state: Path | None, facts: Path | None, out: Path) -> None:
    """Say a mistake now, not when the work is done.

    Raises:
        UserError: the option that cannot be, and the remedy.
    """
    if state is not None and state.is_dir() and any(state.iterdir()):
        raise UserError(f"--state: {state} is not empty; name a new folder")
    if facts is not None and (facts.is_dir() or not facts.absolute().parent.is_dir()):
        raise UserError(f"--json: {facts} cannot be written; name a file in a folder that is there")
    if port is not None:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            raise UserError(
                f"--port: {port} cannot be had ({error.strerror}); name another, or leave it out"
            ) from error
    for option, folder in (("--state", state), ("--out", out)):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{option}: {folder} cannot be a folder ({error.strerror}); name another"
            ) from error
