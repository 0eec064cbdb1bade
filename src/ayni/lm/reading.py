"""What the commands that read texts have in common: options, a bar, the account of what was not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ayni.client.commands.console import say
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
    typer.Option("--rule", help="How to read, as KEY=VALUE, before corpus.toml; may be repeated."),
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


@contextmanager
def documents(found: Sequence[Source], tally: Tally) -> Iterator[Iterator[Document]]:
    """All documents, with a bar for the bytes of files that are read; then what could not be read.

    Raises:
        UserError: there is none.
    """
    from ayni.lm.corpus import read

    def each() -> Iterator[Document]:
        for source in found:
            yield from read.documents(source, tally)
            moved(source.size)
        if not tally.documents:
            raise UserError(read.nothing(found, tally))

    with transfer_bar("reading", sum(s.size for s in found), shown=True) as moved:
        yield each()
    losses(tally)


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
