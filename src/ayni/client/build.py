"""From what a person says to a TES document. Pure: no file is read and nothing is sent.

A task works in `/work`. An input lies there under the relative name it has on the person's machine,
an output is named relative to it, so that a command reads the same here and there. Outputs without a
URL of their own go to `ayni://PROJECT/results/RUN/…`; the tasks of an array each to a folder of
their index. A re-run array writes where the first one did: its results complete the others.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ayni.client.errors import InvalidTask
from ayni.client.specs import InputSpec, OutputSpec
from ayni.tes.arrays import Array
from ayni.tes.models import FileType, Task, document
from ayni.tes.shape import GB, ShapeError, shape_of

WORKDIR = "/work"
DEFAULT_IMAGE = "host"
TO_BE_UPLOADED = "ayni://to-be/uploaded"
_SHELL = re.compile(r"[\s;|&<>$`*?()]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a submission says beside the task's document. Sizes in bytes, times in seconds."""

    command: tuple[str, ...] = ()
    name: str | None = None
    image: str | None = None
    cores: int | None = None
    memory: int | None = None
    disk: int | None = None
    walltime: int | None = None
    gpus: int | None = None
    nodes: int | None = None
    site: str | None = None
    partition: str | None = None
    zones: tuple[str, ...] = ()
    network: bool = False
    restartable: bool = False
    channels: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    chain: int | None = None
    warning: int | None = None  # seconds
    max_attempts: int | None = None
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def argv(command: str | Sequence[str]) -> tuple[str, ...]:
    """A list is taken as it is; one text is a line for `sh -c`."""
    return ("sh", "-c", command) if isinstance(command, str) else tuple(command)


def words(arguments: Sequence[str]) -> tuple[str, ...]:
    """As `argv`, for a command line: one quoted argument with spaces or shell signs is a shell line."""
    if len(arguments) == 1 and _SHELL.search(arguments[0]):
        return argv(arguments[0])
    return tuple(arguments)


def build(
    options: Options,
    *,
    results: str,
    urls: Mapping[str, str] | None = None,
    base: Task | None = None,
    array: bool = False,
) -> Task:
    """The TES task that `options` describe, on top of `base` where a document was given.

    Args:
        results: the URL beneath which outputs without one of their own are put.
        urls: where each local source was or will be uploaded.
        array: whether it is the template of an array.

    Raises:
        InvalidTask: the message names the option or field, and the remedy.
    """
    if base is None and not options.command:
        raise InvalidTask("give a command to run, or a task document")
    if base is not None and options.command:
        raise InvalidTask("give either a task document or a command, not both")
    given: dict[str, Any] = {"name": _default_name(options.command)} if base is None else {}
    if base is not None:
        given = document(base.submitted())
    asked = {
        **given,
        "name": options.name or given.get("name"),
        "inputs": [*given.get("inputs", ()), *_inputs(options, urls or {})] or None,
        "outputs": [*given.get("outputs", ()), *_outputs(options, results, array)] or None,
        "resources": _resources(options, given.get("resources") or {}) or None,
        "executors": _executors(options, given.get("executors")),
        "tags": {**given.get("tags", {}), **options.tags} or None,
    }
    return validated(asked)


def validated(data: Any, what: str = "") -> Task:
    """JSON-like data as a TES task, with what Ayni asks beyond the standard's types.

    Raises:
        InvalidTask: the message begins with `what` and names the field.
    """
    try:
        task = Task.model_validate(data)
        shape_of(task)
    except ValidationError as error:
        raise InvalidTask(f"{what}{explain(error)}") from error
    except ShapeError as error:
        raise InvalidTask(f"{what}{error}") from error
    _distinct_paths(task, what)
    return task


def build_array(
    task: Task, count: int | None, parameters: Sequence[Mapping[str, str]] | None
) -> Array:
    """The request for an array of `count` tasks, or of one task to each of `parameters`.

    Raises:
        InvalidTask: the template and the parameters do not go together.
    """
    if count is None and parameters is not None and not parameters:
        raise InvalidTask("parameters: there are none; give at least one")
    try:
        request = Array(
            task=task,
            count=count,
            parameters=None if parameters is None else [dict(p) for p in parameters],
        )
    except ValidationError as error:
        raise InvalidTask(explain(error)) from error
    if request.size > 1:
        for number, output in enumerate(task.outputs or ()):
            if "{{" not in output.url:
                raise InvalidTask(
                    f"outputs.{number}.url: every task of the array would write to {output.url}; "
                    "put {{index}} or a parameter in it"
                )
    return request


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, on one line, with the path of its field."""
    first, *others = error.errors(include_url=False, include_input=False)
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"


def _default_name(command: Sequence[str]) -> str:
    line = show_command(command) if command[0] == "sh" else command[0]
    first = re.split(r"\s", line.strip(), maxsplit=1)[0]
    return re.sub(r"[^\w.+-]", "", posixpath.basename(first))[:64] or "task"


def _executors(options: Options, given: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if given is None:
        given = [{"image": DEFAULT_IMAGE, "command": list(options.command), "workdir": WORKDIR}]
    return [
        {
            **executor,
            "image": executor["image"] if options.image is None else options.image,
            "env": {**(executor.get("env") or {}), **options.env} or None,
        }
        for executor in given
    ]


def _resources(options: Options, given: Mapping[str, Any]) -> dict[str, Any]:
    said = {
        "cpu_cores": options.cores,
        "ram_gb": None if options.memory is None else options.memory / GB,
        "disk_gb": None if options.disk is None else options.disk / GB,
        "zones": list(options.zones) or None,
    }
    backend = {
        "walltime": options.walltime,
        "gpus": options.gpus,
        "nodes": options.nodes,
        "site": options.site,
        "partition": options.partition,
        "max_attempts": options.max_attempts,
        "network": "true" if options.network else None,
        "restartable": "true" if options.restartable else None,
        "channels": ",".join(options.channels) or None,
        "volume": ",".join(options.volumes) or None,
        "chain": options.chain,
        "warning": options.warning,
    }
    merged = {**given, **{k: v for k, v in said.items() if v is not None}}
    asked = {k: str(v) for k, v in backend.items() if v is not None}
    if asked:
        merged["backend_parameters"] = {**(given.get("backend_parameters") or {}), **asked}
        merged.setdefault("backend_parameters_strict", True)
    return merged


def _inputs(options: Options, urls: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "url": urls.get(spec.source, TO_BE_UPLOADED) if spec.local else spec.source,
            "path": spec.path,
            "type": FileType.DIRECTORY if spec.directory else FileType.FILE,
        }
        for spec in options.inputs
    ]


def _outputs(options: Options, results: str, array: bool) -> list[dict[str, Any]]:
    root = results.rstrip("/") + ("/{{index}}" if array else "")
    return [
        {
            "url": spec.url or spec.default_url(root, WORKDIR),
            "path": spec.path,
            "path_prefix": spec.prefix(WORKDIR),
            "type": FileType.DIRECTORY if spec.directory else FileType.FILE,
        }
        for spec in options.outputs
    ]


def _distinct_paths(task: Task, what: str) -> None:
    seen: set[str] = set()
    for one in task.inputs or ():
        if one.path in seen:
            raise InvalidTask(f"{what}inputs: two would lie at {one.path}; give one another path")
        seen.add(one.path)


def show_command(command: Sequence[str]) -> str:
    """The command as one would type it."""
    shell = len(command) == 3 and tuple(command[:2]) == ("sh", "-c")
    return command[2] if shell else shlex.join(command)
