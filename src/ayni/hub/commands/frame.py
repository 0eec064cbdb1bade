"""What all `ayni hub` commands share: Django set up late, names looked up, one way to print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ayni.errors import UserError

if TYPE_CHECKING:
    from django.db.models import Model

    M = TypeVar("M", bound=Model)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def use_state(state: Path | None) -> None:
    """Take this folder for the hub's; before Django is set up."""
    if state is not None:
        os.environ["AYNI_HUB_STATE"] = str(state.expanduser().resolve())


def django(*, ready: bool = True) -> None:
    """Set Django up.

    Args:
        ready: the database must be there and up to date.

    Raises:
        UserError: it is not.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ayni.hub.settings")
    os.environ.setdefault("AYNI_LOG_LEVEL", "WARNING")
    # The database holds the secret that signs URLs: whatever folder it is in, it is this user's only.
    os.umask(os.umask(0o077) | 0o077)
    import django as module

    module.setup()
    if ready:
        _check_ready()


def _check_ready() -> None:
    from django.conf import settings
    from django.db import DatabaseError, connection

    path = settings.DATABASES["default"]["NAME"]
    if settings.IS_SQLITE and not str(path).startswith("file:") and not Path(path).exists():
        raise UserError(f"there is no hub in {settings.STATE}; make one with 'ayni hub init'")
    try:
        tables = connection.introspection.table_names()
    except DatabaseError as error:
        raise UserError(f"the database cannot be used: {error}; see AYNI_DATABASE_URL") from error
    if "tasks_task" not in tables:
        raise UserError("the database is empty; make the hub with 'ayni hub init'")


def find(model: type[M], what: str, how: str, **by: Any) -> M:
    """The one row.

    Raises:
        UserError: there is none; `how` says how to see or make one.
    """
    found = model._default_manager.filter(**by).first()
    if found is None:
        value = next(iter(by.values()))
        raise UserError(f"there is no {what} {value!r}; {how}")
    return found


def emit(data: Any, as_json: bool, text: str) -> None:
    """Print a result: JSON for programs, a sentence for people."""
    print(json.dumps(data, ensure_ascii=False, default=str) if as_json else text)


def table(rows: Sequence[Mapping[str, Any]], as_json: bool, key: str, empty: str) -> None:
    """Print rows: `{key: rows}` for programs, columns for people."""
    if as_json:
        print(json.dumps({key: list(rows)}, ensure_ascii=False, default=str))
        return
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        grid.add_column(name.replace("_", " "))
    for row in rows:
        grid.add_row(*(Text("" if v is None else str(v)) for v in row.values()))
    # A program that reads the table gets each row on one line, however long.
    Console(width=None if sys.stdout.isatty() else 10_000).print(grid)
