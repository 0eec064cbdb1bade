"""`ayni submit`: a task or an array, from a document or from a command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ayni.client.build import words
from ayni.client.commands import console, following
from ayni.client.commands.console import Json
from ayni.client.documents import TASK_SUFFIXES, Parameters, read_parameters, read_task
from ayni.client.draft import Draft, draft
from ayni.client.errors import InvalidTask
from ayni.client.handles import Handle
from ayni.client.network import Network
from ayni.tes.models import Task, document

_DASHES = "ayni.dashes"  # whether "--" stood before the command
EPILOG = console.examples(
    "ayni submit -c 4 -m 8G -t 1h --in a.csv --out result/ -- python3 fit.py a.csv result/",
    "ayni submit --in words.txt --out top.txt -- 'sort words.txt | uniq -c | sort -rn > top.txt'",
    "ayni submit --params cities.csv --in 'data/{{city}}.csv' --out '*.png' -- ./plot {{city}}",
    "ayni submit --array 100 -- ./simulate --seed {{index}}",
    "ayni submit --after ID --in ayni://chile/census/2024/ --wait -- ./summarise 2024",
    "ayni submit task.json --dry-run",
    note="A task works in /work: inputs lie there under the names they have here, outputs are named "
    "relative to it. A name that ends in / is a folder. A single quoted argument is a line for the "
    "shell. Inputs from here are sent to the project's files first, once however often they are used.",
)


class SubmitCommand(TyperCommand):
    """Notes whether `--` was written: after it stands a command, never a task's document."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_DASHES] = "--" in args
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    app.command(cls=SubmitCommand, epilog=EPILOG)(submit)


def submit(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE | -- COMMAND…",
            help="A TES task in JSON or YAML (- reads it from stdin), or after -- a command.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name to find it by.")] = None,
    cores: Annotated[
        int | None, typer.Option("--cores", "-c", help="CPU cores; default 1.")
    ] = None,
    mem: Annotated[
        str | None, typer.Option("--mem", "-m", help="Memory, as 8G or 512MiB; default 1G.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", "-t", help="Longest run, as 30m, 1h30m or 2d; default 1h."),
    ] = None,
    disk: Annotated[str | None, typer.Option(help="Disk, as 20G.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines that work together.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--in", metavar="LOCAL|URL[:PATH]", help="An input: from here, ayni:// or https://."
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            metavar="PATH[:URL]",
            help="An output; may hold wildcards. `ayni fetch` brings it.",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="What the command runs in; default host.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            "-e",
            metavar="NAME[=VALUE]",
            help="An environment variable; without a value, yours.",
        ),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID[:ended]", help="Start when that task or array ended well (or ended at all)."
        ),
    ] = None,
    array: Annotated[
        int | None, typer.Option(metavar="N", help="N tasks, which differ by {{index}}.")
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", help="A task to each row of a .csv, .tsv, .jsonl or .json file."
        ),
    ] = None,
    site: Annotated[str | None, typer.Option(help="Run at this site only.")] = None,
    partition: Annotated[str | None, typer.Option(help="Run in this partition only.")] = None,
    zone: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run in this country or at this site; may be repeated."),
    ] = None,
    network: Annotated[
        bool, typer.Option("--network", help="The command needs the network.", show_default=False)
    ] = False,
    restartable: Annotated[
        bool,
        typer.Option(
            "--restartable",
            help="May be started anew as soon as its site is silent.",
            show_default=False,
        ),
    ] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:in|:out]", help="A channel that it uses; may be repeated."),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:/PATH[:ro]",
            help="Room of the project at the site, that outlives the task; may be repeated.",
        ),
    ] = None,
    chain: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Go on where the walltime ended, from a volume, in at most N links.",
        ),
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(help="Times it is tried at most; default 3.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="A tag.")] = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MAIL|URL", help="Tell this address, or call this webhook, at the end."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say where it could run and what would refuse it.",
            show_default=False,
        ),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until it has ended.", show_default=False)
    ] = False,
    json_: Json = False,
) -> None:
    """Send a task, or an array of tasks, to the network. Its id is printed on stdout.

    Exit code: 0 when it was sent (with --wait: when all ended well), 1 when it failed or no site would
    take it, 2 for a mistake.
    """  # fmt: skip
    what, given = _command(command or [], ctx.meta.get(_DASHES, False))
    if array is not None and array < 1:
        raise InvalidTask("--array: must be 1 or more")
    made = draft(
        given if given is not None else what,
        count=array,
        parameters=None if params is None else _parameters(params),
        name=name, cores=cores, mem=mem, time=time, disk=disk, gpus=gpus, nodes=nodes,
        inputs=inputs or [], outputs=outputs or [], image=image, env=_environment(env or []),
        after=after or [], site=site, partition=partition, zones=zone or [], network=network,
        restartable=restartable, channels=channel or [], volumes=volume or [], chain=chain,
        max_attempts=attempts, tags=_pairs(tag or []), notify=notify or [],
    )  # fmt: skip
    with console.open_network() as hub:
        if dry_run:
            _dry_run(hub, made, json_)
        else:
            _send(hub, made, wait, json_)


def _send(hub: Network, made: Draft, wait: bool, json_: bool) -> None:
    remark = "stopped; nothing was submitted. What was sent of its inputs is kept for the next time"
    with console.interruptible(lambda: remark):
        handle = hub.send(made, progress=True)
    if wait:
        following.await_all([handle], None, json_)
        return
    if json_:
        size = {"size": len(made.rows)} if made.array else {}
        console.emit({"kind": handle.kind, "id": handle.id, **size})
        return
    print(handle.id)
    if sys.stderr.isatty():
        console.say(_next_steps(handle, made))


def _next_steps(handle: Handle, made: Draft) -> str:
    look = "ayni show" if made.array else "ayni logs -f"
    steps = [f"{look} {handle.id}", f"ayni why {handle.id}" if not made.array else ""]
    steps.append(f"ayni fetch {handle.id}" if made.options.outputs else "")
    return "next: " + "  ·  ".join(step for step in steps if step)


def _dry_run(hub: Network, made: Draft, json_: bool) -> None:
    chances = hub.chances(made)
    if json_:
        console.emit({"task": document(hub.preview(made)), **chances.model_dump(mode="json")})
    else:
        out = console.out()
        following.show_verdicts(chances.sites, out)
        said = f"would go to {chances.chosen}" if chances.chosen else "would have to wait"
        possible = any(one.verdict != "ineligible" for one in chances.sites)
        console.say(said if possible else "no site of the network would take it")
    if all(one.verdict == "ineligible" for one in chances.sites):
        raise typer.Exit(console.FAILED)


def _command(arguments: Sequence[str], dashes: bool) -> tuple[tuple[str, ...], Task | None]:
    """The words of a command, or the task in a document."""
    if not arguments:
        raise InvalidTask("give a TES task's file, or -- and a command; see `ayni submit --help`")
    first = arguments[0]
    if dashes or len(arguments) > 1 or not (first == "-" or first.endswith(TASK_SUFFIXES)):
        return words(arguments), None
    return (), task_in(first)


def task_in(name: str) -> Task:
    """The task in a file; `-` is stdin.

    Raises:
        InvalidTask: there is none, or it is not well formed.
    """
    return read_task(_read(name), "stdin" if name == "-" else name)


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidTask(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidTask(f"{name}: is not UTF-8 text") from error


def _parameters(table: Path) -> Parameters:
    return read_parameters(_read(str(table)), str(table))


def _environment(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            raise InvalidTask(
                f"--env {name[:80]!r}: there is no such variable here; write {name[:80]}=VALUE"
            )
        found[name] = value if equals else os.environ[name]
    return found


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InvalidTask(f"--tag {text[:80]!r}: write KEY or KEY=VALUE")
        found[key] = value
    return found
