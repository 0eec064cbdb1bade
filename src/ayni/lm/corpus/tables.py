"""Documents out of records: JSON lines, and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ayni.lm.corpus.documents import Unreadable
from ayni.lm.corpus.rules import Fields

MAX_LINE = 64 << 20  # bytes of one record
ROWS = 256  # of a Parquet file that are in memory at once
_SHOWN = 12  # fields named in a message


@dataclass(frozen=True, slots=True)
class Record:
    """What a record says; `language` and `group` None where it says nothing."""

    text: str
    language: str | None
    group: str | None


#: The record with that number, from 1, or why there is none.
Numbered = tuple[int, Record | Unreadable]


def json_lines(stream: BinaryIO, fields: Fields) -> Iterator[Numbered]:
    """One JSON object to a line; empty lines are passed over. A dot in a field's name goes a level down.

    Raises:
        Unreadable: a line longer than any record: what follows cannot be read either.
    """
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise Unreadable(f"line {number} is longer than {MAX_LINE} bytes; is this JSON lines?")
        if line.strip():
            yield number, _tried(line, fields)


def parquet(file: BinaryIO, fields: Fields) -> Iterator[Numbered]:
    """The rows of a Parquet file, in batches.

    Raises:
        Unreadable: it is none, or has no column of texts.
    """
    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        if fields.text not in names:
            raise Unreadable(_missing(fields.text, names))
        wanted = [n for n in (fields.text, fields.language, fields.group) if n in names]
        number = 0
        for batch in table.iter_batches(batch_size=ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield number, _record_of(row, fields)
    except (pa.ArrowException, ValueError) as error:  # the latter: bytes that are not UTF-8
        raise Unreadable(f"no Parquet file that can be read ({error}); write it again") from error


def _tried(line: bytes, fields: Fields) -> Record | Unreadable:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"no JSON ({error}); write one object to a line, in UTF-8")
    if not isinstance(found, dict):
        return Unreadable("not a JSON object; write one object to a line")
    return _record_of(found, fields)


def _record_of(found: dict[str, Any], fields: Fields) -> Record | Unreadable:
    text = _value(found, fields.text)
    if text is None:
        return Unreadable(_missing(fields.text, found))
    if not isinstance(text, str):
        return Unreadable(
            f"field {fields.text!r} is no text; name another with --rule fields.text=NAME"
        )
    language, group = _value(found, fields.language), _value(found, fields.group)
    if not isinstance(language, str | None):
        return Unreadable(
            f"field {fields.language!r} is no text; name another with --rule fields.language=NAME"
        )
    if not isinstance(group, str | int | None):
        return Unreadable(
            f"field {fields.group!r} is no text; name another with --rule fields.group=NAME"
        )
    return Record(text, language or None, None if group in (None, "") else str(group))


def _value(found: dict[str, Any], name: str) -> Any:
    if name in found:
        return found[name]
    value: Any = found
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _missing(field: str, there: Any) -> str:
    shown = ", ".join(sorted(map(str, there))[:_SHOWN])
    return f"no field {field!r} (there are: {shown}); name the text's with --rule fields.text=NAME"
