"""Many rows in one statement. Django's bulk_update writes one CASE a row, which costs ten times more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import connection

T = TypeVar("T")
LATEST = 32503680000.0  # the year 3000, in Unix seconds


def execute(sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run the statement for each row of parameters; datetimes as this database wants them."""
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql, _adapted(rows))


def run(sql: str, parameters: Sequence[Any]) -> int:
    """Run the statement once; how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, _adapted([parameters])[0])
        return int(cursor.rowcount)


def select(sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, _adapted([parameters])[0])
        return list(cursor.fetchall())


def for_update(of: str, *, skip_locked: bool = False) -> str:
    """The clause that locks rows; on SQLite a write transaction holds the whole database."""
    if connection.vendor != "postgresql":
        return ""
    return f" FOR NO KEY UPDATE OF {of}{' SKIP LOCKED' if skip_locked else ''}"


def marks(values: Sequence[Any]) -> str:
    """`%s, %s, …` for an IN list."""
    return ", ".join(["%s"] * len(values))


def parts(values: Iterable[T], size: int = 900) -> Iterator[list[T]]:
    """Lists of at most `size`, so that IN lists stay within what every database takes."""
    part: list[T] = []
    for value in values:
        part.append(value)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def moment(seconds: float | None) -> datetime | None:
    """The time of Unix seconds that a stranger sent; None where they are no time."""
    if seconds is None or not 0 <= seconds <= LATEST:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def read_moment(value: datetime | str | None) -> datetime | None:
    """A time from a raw query: PostgreSQL knows its zone, SQLite gives UTC without saying so."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def _adapted(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Datetimes as SQLite keeps them. (`connection` is looked up once: that is the costly part.)"""
    if connection.vendor != "sqlite":
        return rows
    adapt = connection.ops.adapt_datetimefield_value
    return [[adapt(v) if isinstance(v, datetime) else v for v in row] for row in rows]
