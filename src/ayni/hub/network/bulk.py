"""Many rows in one statement. Django's bulk_update writes one CASE a row, which costs ten times more."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
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


@dataclass(frozen=True, slots=True)
class Update:
    """Sets columns of many rows, each found by its `id`, which is the last value given for it.

    PostgreSQL is quickest with one statement for all rows, SQLite with a prepared statement for one.
    """

    table: str
    columns: Mapping[str, str]  # to their types on PostgreSQL
    keep: Collection[str] = ()  # of these, NULL leaves what is there

    def __call__(self, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        if connection.vendor == "postgresql":
            sets = ", ".join(f"{c} = {self._value(c, f'v.{c}')}" for c in self.columns)
            source, records = _records({**self.columns, "id": "bigint"}, rows)
            sql = f"UPDATE {self.table} AS t SET {sets} FROM {source} WHERE t.id = v.id"  # noqa: S608
            run(sql, [records])
            return
        sets = ", ".join(f"{c} = {self._value(c, '%s')}" for c in self.columns)
        execute(f"UPDATE {self.table} AS t SET {sets} WHERE t.id = %s", rows)  # noqa: S608

    def _value(self, column: str, new: str) -> str:
        return f"COALESCE({new}, t.{column})" if column in self.keep else new


@dataclass(frozen=True, slots=True)
class Insert:
    """Makes many rows, in one statement where that is quicker (see `Update`)."""

    table: str
    columns: Mapping[str, str]  # to their types on PostgreSQL
    conflict: str = ""  # the clause on what is there already

    def __call__(self, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        into = f"INSERT INTO {self.table} ({', '.join(self.columns)})"
        if connection.vendor == "postgresql":
            source, records = _records(self.columns, rows)
            run(f"{into} SELECT * FROM {source} {self.conflict}", [records])  # noqa: S608
            return
        execute(f"{into} VALUES ({marks([*self.columns])}) {self.conflict}", rows)


def _records(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> tuple[str, str]:
    """The rows as a table `v` of PostgreSQL, and its parameter. (Arrays are quoted value by value.)"""
    json_at = [n for n, kind in enumerate(columns.values()) if kind == "jsonb"]
    records = []
    for row in rows:
        values = list(row)
        for n in json_at:
            values[n] = None if row[n] is None else orjson.Fragment(row[n])
        records.append(dict(zip(columns, values, strict=True)))
    fields = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(%s::json) AS v({fields})", orjson.dumps(records).decode()


def among(column: str) -> str:
    """The condition that a column is one of the numbers given as one parameter, `these(numbers)`."""
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s::bigint[])"
    return f"{column} IN (SELECT value FROM json_each(%s))"  # noqa: S608


def these(numbers: Iterable[int]) -> list[int] | str:
    """The parameter of `among`. However many there are, the statement's text stays the same."""
    wanted = list(numbers)
    return wanted if connection.vendor == "postgresql" else json.dumps(wanted)


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


def read_json(value: Any) -> Any:
    """JSON from a raw query: parsed by one database, text in the other."""
    return json.loads(value) if isinstance(value, str) else value


def _adapted(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Datetimes as SQLite keeps them. (`connection` is looked up once: that is the costly part.)"""
    if connection.vendor != "sqlite":
        return rows
    adapt = connection.ops.adapt_datetimefield_value
    return [[adapt(v) if isinstance(v, datetime) else v for v in row] for row in rows]
