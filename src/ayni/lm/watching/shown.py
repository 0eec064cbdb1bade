"""A run's status for people: lines and a table that fit their terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.text import Text

from ayni.client.commands.console import Column, on_terminal, out, plain, say, table, when

_COLUMNS = (
    Column("SITE"),
    Column("ROUNDS", right=True),
    Column("LATE", drop=4, right=True),
    Column("REFUSED", drop=5, right=True),
    Column("TOKENS", drop=2, right=True),
    Column("TOKENS/S", drop=1, right=True),
    Column("BUSY", drop=3, right=True),
    Column("UP", drop=6, right=True),
    Column("LOSS", fold=True),
    Column("NOW", fold=True),
)
_MOST = 6  # losses in a cell
_STALE = 60.0  # seconds after which a status is no longer news


def line(found: Mapping[str, Any]) -> str:
    """Where a run is, in a line."""
    left, parts = found["seconds_left"], found.get("fragments", 1)
    each = f" of {parts} fragments" if parts > 1 else ""
    return (
        f"{found['run']}: {found['status']}, version {found['version']}{each}, "
        f"step {found['step']} of {found['steps']}"
        + (f", {span(left)} left" if left else "")
        + (f"; not joined: {', '.join(away)}" if (away := absent(found)) else "")
    )


def absent(found: Mapping[str, Any]) -> list[str]:
    """The sites that have not joined a run that goes on."""
    if found["status"] == "done":
        return []
    return [one["site"] for one in found["sites"] if not one["joined"]]


def shown(found: Mapping[str, Any], console: Console) -> Group:
    """The whole status."""
    rows = [
        (
            one["site"],
            one["rounds"],
            one["late"],
            one["refused"],
            f"{one['tokens']:,}",
            _speed(one["tokens_per_second"]),
            _share(one["utilisation"]),
            decimal(one["bytes"]),
            _losses(one["losses"]),
            one["why"],
        )
        for one in found["sites"]
    ]
    lines = [line(found), _pace(found)]
    if found["losses"]:
        lines.append(f"loss: {_losses(found['losses'])}")
    if found["why"]:
        lines.append(f"paused: {found['why']}")
    alarms = [Text(alarm_line(alarm), style="yellow") for alarm in found["alarms"]]
    stale = _stale(found)
    return Group(*map(plain, lines), table(_COLUMNS, rows, console), *alarms, *stale)


@contextmanager
def showing(*, as_json: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Gives a function that shows a status: a table that lives on a terminal; elsewhere a line for each
    version and whenever a site has joined (with `as_json` all of it) and, on stderr, one for each alarm
    that is new.
    """
    if on_terminal() and not as_json:
        console = out()
        with Live(console=console, auto_refresh=False) as live:
            yield lambda found: live.update(shown(found, console), refresh=True)
        return
    news: tuple[int, list[str]] | None = None  # told last: the version, and who has not joined
    told: set[str] = set()

    def show(found: Mapping[str, Any]) -> None:
        nonlocal news
        new = [alarm for alarm in found["alarms"] if alarm["key"] not in told]
        told.update(alarm["key"] for alarm in new)
        for alarm in new if news is not None else ():  # what was there before is no news
            say(alarm_line(alarm))
        if (found["version"], absent(found)) != news:
            news = found["version"], absent(found)
            print(json.dumps(found) if as_json else plain(line(found)).plain, flush=True)

    yield show


def alarm_line(alarm: Mapping[str, Any]) -> str:
    """An alarm as a line, with its time."""
    at = when(datetime.fromtimestamp(alarm["at"], UTC))
    return plain(f"{at} {alarm['what']}: {alarm['text']}").plain


def span(seconds: float) -> str:
    """A time to wait, roughly."""
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _pace(found: Mapping[str, Any]) -> str:
    parts = [f"{found['tokens']:,} tokens"]
    if found["tokens_per_second"] is not None:
        parts.append(f"{_speed(found['tokens_per_second'])} tokens/s while training")
    if found["utilisation"] is not None:
        parts.append(f"sites busy {_share(found['utilisation'])}")
    moved = found["bytes"]
    return ", ".join([*parts, f"{decimal(moved['up'])} up", f"{decimal(moved['down'])} down"])


def _losses(losses: Mapping[str, float]) -> str:
    """The highest losses first: they are what one looks for."""
    ordered = sorted(losses.items(), key=lambda pair: (-pair[1], pair[0]))
    text = ", ".join(f"{name} {loss:.3f}" for name, loss in ordered[:_MOST])
    rest = len(ordered) - _MOST
    return f"{text} and {rest} lower" if rest > 0 else text


def _speed(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _stale(found: Mapping[str, Any]) -> list[Text]:
    since = time.time() - found.get("at", time.time())
    if found["status"] == "done" or since < _STALE:
        return []
    text = f"as of {span(since)} ago: is the coordinator at work? (ayni lm coordinate)"
    return [Text(text, style="yellow")]
