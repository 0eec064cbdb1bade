"""How commands speak: results on stdout, everything else on stderr; tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ayni.client.network import Network
from ayni.terminal import one_line
from ayni.tes.models import State

FAILED = 1
INTERRUPTED = 130
UNLIMITED = 100_000  # columns, where the output is read by a program
GAP = 2
NARROW = 16  # columns that a text which may be folded needs at least

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs, not a table.", show_default=False)
]

_STATES = {
    State.COMPLETE: ("✓", "+", "green"),
    State.RUNNING: ("▶", ">", "cyan"),
    State.INITIALIZING: ("▷", ">", "cyan"),
    State.QUEUED: ("·", ".", "dim"),
    State.EXECUTOR_ERROR: ("✗", "x", "red"),
    State.SYSTEM_ERROR: ("✗", "x", "red"),
    State.CANCELED: ("⊘", "-", "yellow"),
}
_VERDICTS = {
    "chosen": ("✓", "+", "green"),
    "possible": ("○", "o", "green"),
    "held": ("◷", "~", "yellow"),
    "full": ("◷", "~", "yellow"),
    "ineligible": ("✗", "x", "red"),
}


def examples(*lines: str, note: str = "") -> str:
    """What stands beneath a command's help."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines), *([note] if note else [])])


def open_network() -> Network:
    """The hub and token of whoever runs the command."""
    return Network()


def out() -> Console:
    """stdout: as wide as the terminal; without bounds where a program reads it."""
    _forgive(sys.stdout)
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=UNLIMITED)


def err() -> Console:
    _forgive(sys.stderr)
    return Console(stderr=True, highlight=False, soft_wrap=True)


def on_terminal() -> bool:
    """Whether a person's terminal gets what is written to stdout."""
    return sys.stdout.isatty()


def _forgive(stream: Any) -> None:
    """A terminal that cannot show a letter shows a question mark."""
    if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def say(message: str) -> None:
    """A remark for the person, on stderr."""
    err().print(plain(message))


def emit(data: Any) -> None:
    """The result as JSON."""
    print(json.dumps(_ready(data), indent=2))


def _ready(data: Any) -> Any:
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json")
    if isinstance(data, dict):
        return {key: _ready(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_ready(value) for value in data]
    return data


def plain(value: Any) -> Text:
    """A text as it is: no markup, and no control characters that could play with the terminal."""
    return Text("" if value is None else one_line(str(value)))


def state(name: str, console: Console) -> Text:
    return _marked(_STATES.get(name), name, console)  # type: ignore[call-overload]


def verdict(name: str, text: str, console: Console) -> Text:
    return _marked(_VERDICTS.get(name, ("?", "?", "dim")), text, console)


def _marked(mark: tuple[str, str, str] | None, text: str, console: Console) -> Text:
    symbol, ascii_, style = mark or ("?", "?", "dim")
    shown = ascii_ if console.options.ascii_only else symbol
    return Text.assemble((f"{shown} ", style), (one_line(text), style))


def when(moment: datetime | None) -> str:
    """A moment in local time; the day only where it is not today."""
    if moment is None:
        return ""
    local = moment.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


@dataclass(frozen=True, slots=True)
class Column:
    """`drop`: columns of the highest number go first where the terminal is narrow; 0 stays."""

    header: str
    drop: int = 0
    right: bool = False
    fold: bool = False  # may be broken over several lines; else it stands whole


def table(columns: Sequence[Column], rows: Sequence[Sequence[Any]], console: Console) -> Table:
    """A table that fits: ids and numbers stand whole, texts are folded, the least needed go."""
    cells = [[v if isinstance(v, Text) else plain(v) for v in row] for row in rows]
    kept = _fitting(columns, cells, console.width)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index in kept:
        column = columns[index]
        grid.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold",
            min_width=None if column.fold else _width(columns, cells, index),
        )
    for row in cells:
        grid.add_row(*(row[index] for index in kept))
    return grid


def _width(columns: Sequence[Column], cells: Sequence[Sequence[Text]], index: int) -> int:
    widest = max((cell_len(row[index].plain) for row in cells), default=0)
    return max(widest, cell_len(columns[index].header))


def _fitting(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int
) -> Sequence[int]:
    """Which columns stay, in their order. Those that are empty in every row go too."""
    kept = [
        i
        for i, column in enumerate(columns)
        if not column.drop or not cells or any(row[i].plain for row in cells)
    ]
    needs = {i: _width(columns, cells, i) for i in kept}
    needs |= {i: min(needs[i], NARROW) for i in kept if columns[i].fold}
    while sum(needs[i] + GAP for i in kept) - GAP > width:
        droppable = [i for i in kept if columns[i].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda i: (columns[i].drop, i)))
    return kept


def pairs(rows: Sequence[tuple[str, Any]], console: Console) -> Table:
    """Names and values, those without a value left out."""
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        shown = value if isinstance(value, Text) else plain(value)
        if shown.plain:
            grid.add_row(name, shown)
    return grid


@contextmanager
def interruptible(remark: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C ends the command with exit code 130, and says what goes on without it."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\n{remark()}".strip())
        raise typer.Exit(INTERRUPTED) from None
