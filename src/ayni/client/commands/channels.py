"""`ayni channels`: messages between a project's tasks and its processes outside."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ayni.client.channels import ChannelMessage
from ayni.client.commands import console
from ayni.client.commands.console import Column, Json
from ayni.client.errors import AyniError
from ayni.terminal import one_line
from ayni.tes.units import show_size

commands = typer.Typer(
    no_args_is_help=True,
    help="Messages between the project's tasks at different sites, and yours. docs/users/channels.md",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A channel of the project.")]
After = Annotated[int, typer.Option(min=0, help="Only messages after this number.")]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="channels")


@commands.command(
    epilog=console.examples(
        "ayni channels create sums --schema sums.toml",
        "ayni channels create deltas --schema deltas.toml --charter charter.md",
    )
)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens.")],
    schema: Annotated[
        Path, typer.Option(help="What may be said on it: a .toml, .yaml or .json file.")
    ],
    retention: Annotated[int, typer.Option(help="Days that messages are kept.")] = 30,
    charter: Annotated[
        Path | None,
        typer.Option(
            help="A text that each site's operator must accept before a task uses it there."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Make a channel. Its schema is never changed: what it does not list never leaves a site."""
    document = _document(schema)
    text = "" if charter is None else _text(charter)
    with console.open_network() as hub:
        made = hub.make_channel(name, document, retention=retention, charter=text)
        if json_:
            console.emit(made.info)
            return
    print(made.name)


@commands.command("list", epilog=console.examples("ayni channels list"))
def list_(json_: Json = False) -> None:
    """The project's channels."""
    with console.open_network() as hub:
        found = hub.channels()
    if json_:
        console.emit({"channels": found})
        return
    if not found:
        console.say("the project has no channels; `ayni channels create` makes one")
        return
    columns = (
        Column("NAME"), Column("MESSAGES", right=True), Column("KINDS", 1, fold=True),
        Column("DAYS", 2, right=True), Column("MADE BY", 3),
    )  # fmt: skip
    rows = [
        (c.name, c.last, ", ".join(c.rules.get("kinds", {})), c.retention, c.person) for c in found
    ]
    out = console.out()
    out.print(console.table(columns, rows, out))


@commands.command(epilog=console.examples("ayni channels show sums"))
def show(name: Name, json_: Json = False) -> None:
    """A channel with its schema, its charter, and which sites accepted that."""
    with console.open_network() as hub:
        info = hub.channel(name).info
    whole = {**info.model_dump(mode="json", exclude={"rules"}), "schema": info.rules}
    if json_:
        console.emit(whole)
        return
    print(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), end="")


@commands.command(
    epilog=console.examples("ayni channels tail sums", "ayni channels tail sums -f --json")
)
def tail(
    name: Name,
    after: After = 0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they come.", show_default=False)
    ] = False,
    json_: Json = False,
) -> None:
    """Messages in order, a line each. With --json, each as a line of JSON."""
    with (
        console.open_network() as hub,
        console.interruptible(lambda: "stopped; the channel goes on"),
    ):
        channel = hub.channel(name)
        for message in channel.receive(after) if follow else channel.messages(after):
            print(message.model_dump_json() if json_ else _line(message), flush=True)


def _line(message: ChannelMessage) -> str:
    body = json.dumps(message.body, ensure_ascii=False)
    blob = f" + {show_size(message.blob.size)}" if message.blob else ""
    moment = console.when(message.created)
    return one_line(f"{message.sequence}  {moment}  {message.sender}  {message.kind}  {body}{blob}")


@commands.command(
    epilog=console.examples(
        "ayni channels send means mean --body '{\"mean\": 4.2}'",
        "ayni channels send model weights --blob model.safetensors --key round-3",
    )
)
def send(
    name: Name,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="As the schema names it.")],
    body: Annotated[
        str, typer.Option(metavar="JSON", help="Its fields; - reads them from stdin.")
    ] = "{}",
    blob: Annotated[Path | None, typer.Option(help="A file that goes with it.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Your name of it: the same again is the same message.")
    ] = None,
    json_: Json = False,
) -> None:
    """Put a message into a channel. Its number is printed."""
    fields = _fields(sys.stdin.read() if body == "-" else body)
    with console.open_network() as hub:
        number = hub.channel(name).send(kind, fields, blob, key=key)
    if json_:
        console.emit({"channel": name, "sequence": number})
        return
    print(number)


@commands.command(epilog=console.examples("ayni channels fetch model 12 model.safetensors"))
def fetch(
    name: Name,
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="The message's number.")],
    target: Annotated[Path, typer.Argument(metavar="LOCAL", help="The file's name here.")],
    json_: Json = False,
) -> None:
    """Bring the blob of a message."""
    with console.open_network() as hub:
        channel = hub.channel(name)
        message = next(channel.messages(number - 1), None)
        if message is None or message.sequence != number:
            raise AyniError(f"channel {name} has no message {number}")
        brought = channel.fetch(message, target)
    if json_:
        console.emit({"channel": name, "sequence": number, "file": str(brought)})
        return
    print(brought)


@commands.command(epilog=console.examples("ayni channels delete sums"))
def delete(name: Name, json_: Json = False) -> None:
    """Delete a channel with all its messages and blobs."""
    with console.open_network() as hub:
        hub.channel(name).delete()
    if json_:
        console.emit({"deleted": name})
        return
    console.say(f"channel {name} is deleted")


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise AyniError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise AyniError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise AyniError(f"{path} holds no schema; see docs/users/channels.md")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AyniError(f"--charter: {path} cannot be read: {error}") from error


def _fields(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AyniError(f"--body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise AyniError('--body: must be an object, as {"mean": 4.2}')
    return found
