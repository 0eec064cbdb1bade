"""Inserting tasks by the hundred thousand: executemany on SQLite, COPY on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from django.db import connection

TASK = (
    "id", "project_id", "person_id", "group_id", "array_id", "index", "parameters", "name",
    "state", "tries", "links", "reason", "created", "ended",
)  # fmt: skip
TAG = ("task_id", "project_id", "key", "value")
BODY = ("task_id", "document")

_COPY_FROM = 1000  # rows; below, one statement a row is quicker


def insert(table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], count: int) -> None:
    """Insert `count` rows, whose JSON is text and whose times `moment` made; within a transaction."""
    names = ", ".join(f'"{c}"' for c in columns)
    if connection.vendor == "postgresql" and count >= _COPY_FROM:
        with (
            connection.cursor() as cursor,
            cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy,
        ):
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join(["%s"] * len(columns))
    statement = f'INSERT INTO "{table}" ({names}) VALUES ({marks})'  # noqa: S608
    with connection.cursor() as cursor:
        # any iterable will do, whatever the stub says; a list would be a copy of everything
        cursor.executemany(statement, cast(Sequence[Any], rows))


def moment(value: datetime) -> Any:
    """A time as this database wants it in a plain statement."""
    return connection.ops.adapt_datetimefield_value(value)
