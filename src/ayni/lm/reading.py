"""What the commands that read texts have in common: options, a bar, the account of what was not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ayni.client.commands.console import Column, out, say, table
from ayni.client.progress import transfer_bar
from ayni.errors import UserError

if TYPE_CHECKING:
    from ayni.lm.corpus.documents import Document, Tally
    from ayni.lm.corpus.read import Source

SHOWN = 10  # broken documents that are named on the terminal

Paths = Annotated[
    list[Path],
    typer.Argument(
        help="Files and folders: text, HTML, JSONL, Parquet, zip and tar.", metavar="PATH"
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--rule", metavar="KEY=VALUE", help="How to read, before corpus.toml; may be repeated."
    ),
]
File = Annotated[
    Path | None,
    typer.Option("--rules", help="Read by this file in place of the folders' corpus.toml."),
]
Share = Annotated[
    float,
    typer.Option(
        "--held-out", min=0, max=0.5, help="The part that is held out; the same at all sites."
    ),
]


def sources(paths: list[Path], given: list[str] | None, file: Path | None) -> list[Source]:
    """The files that the options name.

    Raises:
        UserError: a rule that is none, a path that is not there.
    """
    from ayni.lm.corpus import read

    rules = {}
    for rule in given or []:
        key, equals, value = rule.partition("=")
        if not equals:
            raise UserError(f"--rule {rule}: write KEY=VALUE, as in --rule language=quy")
        rules[key.strip()] = value.strip()
    return read.sources(paths, rules, file)


def apart(out: Path, paths: Sequence[Path]) -> None:
    """See to it that what is written is not read as text the next time.

    Raises:
        UserError: `out` lies within one of the folders.
    """
    for path in paths:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise UserError(f"--out: {out} lies within {path}, among the texts; name another place")


@contextmanager
def documents(found: Sequence[Source], tally: Tally) -> Iterator[Iterator[Document]]:
    """All documents, with a bar for the bytes of files that are read; then what could not be read.

    Raises:
        UserError: there is none.
    """
    from ayni.lm.corpus import read

    with transfer_bar("reading", sum(s.size for s in found), shown=True) as moved:
        yield read.read(found, tally, moved)
    losses(tally)


def show(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people: the first column is text, the others are numbers."""
    console = out()
    columns = [Column(name, right=place > 0) for place, name in enumerate(names)]
    console.print(table(columns, rows, console))


def losses(tally: Tally) -> None:
    """Say what was not read, and why."""
    named = list(dict.fromkeys(tally.named))[:SHOWN]
    for source, why in named:
        say(f"not read: {source}: {why}")
    if tally.broken > len(named):
        say(f"not read: {tally.broken} in all")
    if tally.skipped:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(tally.skipped.items()))
        say(f"no format of texts: {kinds}")
