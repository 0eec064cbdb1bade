"""Task documents and parameter tables as people write them: JSON, YAML, CSV, TSV, JSON lines. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from ayni.client.build import validated
from ayni.client.errors import InvalidTask
from ayni.tes.models import Task

TASK_SUFFIXES = (".json", ".yaml", ".yml")
Parameters = list[dict[str, str]]


def read_task(text: str, name: str) -> Task:
    """A TES task from JSON or YAML. `name` is the file's, for messages and the kind.

    Raises:
        InvalidTask: the message says where it is wrong.
    """
    data = _json(text, name) if name.endswith(".json") else _yaml(text, name)
    if not isinstance(data, dict):
        raise InvalidTask(f"{name}: a task is a mapping with 'executors', not {_kind(data)}")
    return validated(data, f"{name}: ")


def read_parameters(text: str, name: str) -> Parameters:
    """One mapping to each row. CSV and TSV begin with the names; JSON lines hold an object each.

    Raises:
        InvalidTask: the message names the row.
    """
    for suffixes, read in _PARAMETER_READERS:
        if name.lower().endswith(suffixes):
            rows = read(text, name)
            if not rows:
                raise InvalidTask(f"{name}: holds no row of parameters")
            return rows
    raise InvalidTask(f"{name}: parameters come from a .csv, .tsv, .jsonl or .json file")


def as_parameters(rows: Sequence[Mapping[str, Any]], what: str = "parameters") -> Parameters:
    """Values as texts, as they will stand in the command: numbers and truths as JSON writes them."""
    return [
        {str(key): _text(value, f"{what}, row {number}, {key}") for key, value in row.items()}
        for number, row in enumerate(rows, 1)
    ]


def _csv(text: str, name: str, delimiter: str = ",") -> Parameters:
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise InvalidTask(f"{name}: {error}") from error
    if not rows:
        return []
    header, *values = [[cell.strip() for cell in row] for row in rows]
    if len(set(header)) != len(header):
        raise InvalidTask(f"{name}: two columns have the same name")
    for number, row in enumerate(values, 2):
        if len(row) != len(header):
            raise InvalidTask(f"{name}: row {number} has {len(row)} cells, not {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in values]


def _tsv(text: str, name: str) -> Parameters:
    return _csv(text, name, "\t")


def _json_lines(text: str, name: str) -> Parameters:
    rows = [
        _json(line, f"{name}, line {number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    return _objects(rows, name)


def _json_list(text: str, name: str) -> Parameters:
    data = _json(text, name)
    if not isinstance(data, list):
        raise InvalidTask(f"{name}: parameters are a list of objects, not {_kind(data)}")
    return _objects(data, name)


def _objects(rows: list[Any], name: str) -> Parameters:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InvalidTask(f"{name}: row {number} is {_kind(row)}, not an object")
    return as_parameters(rows, name)


_PARAMETER_READERS: Sequence[tuple[tuple[str, ...], Callable[[str, str], Parameters]]] = (
    ((".csv",), _csv),
    ((".tsv", ".tab"), _tsv),
    ((".jsonl", ".ndjson"), _json_lines),
    ((".json",), _json_list),
)


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise InvalidTask(f"{where}: a value is a text, a number or a truth, not {_kind(value)}")


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidTask(f"{name}: is no JSON: {error}") from error


def _yaml(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise InvalidTask(f"{name}{where}: is no YAML: {problem}") from error


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    return kinds.get(type(value), "a number")
