"""The types of GA4GH TES 1.1 (`openapi/task_execution_service.openapi.yaml`), strict on the way in.

Field names and optional parts are the standard's. Bounds are ours: they keep one task's document
small enough to store, list and send by the thousand.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

MAX_CONTENT = 1 << 20  # TES asks for at least 128 KiB
MAX_LIST = 10_000
MAX_NAME = 256


class Schema:
    """Says in the JSON Schema what a validator checks."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | self.keywords


class State(StrEnum):
    """TES 1.1 `tesState`. Ayni never shows PAUSED, PREEMPTED or CANCELING (see docs)."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    PREEMPTED = "PREEMPTED"
    CANCELING = "CANCELING"


FINAL_STATES = frozenset({State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR, State.CANCELED})


class FileType(StrEnum):
    FILE = "FILE"
    DIRECTORY = "DIRECTORY"


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("holds a NUL byte; remove it")
    return value


def _printable(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("holds a control character; remove it")
    return value


def _absolute_path(value: str) -> str:
    if _CONTROL.search(value) or "\n" in value:
        raise ValueError("holds a control character; remove it")
    if not value.startswith("/"):
        raise ValueError(f"must be absolute, as in /data/input.txt, not {value[:80]!r}")
    if ".." in value.split("/"):
        raise ValueError("must not hold '..'; name the path directly")
    return value


def _written(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004 (pydantic tells only ValueErrors)
            "must be a time as RFC 3339 writes it, as in 2026-01-31T12:00:00Z"
        )
    return value


Moment = Annotated[datetime, BeforeValidator(_written)]
Text = Annotated[str, AfterValidator(_no_nul), Schema(pattern=r"^[^\x00]*$")]
Truth = Annotated[bool, Field(strict=True)]
_PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Key = Annotated[
    str, StringConstraints(max_length=256), AfterValidator(_printable), Schema(pattern=_PLAIN)
]
Line = Annotated[
    str, StringConstraints(max_length=4096), AfterValidator(_printable), Schema(pattern=_PLAIN)
]
AbsolutePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096),
    AfterValidator(_absolute_path),
    Schema(pattern=r"^(?!.*/\.\.(?:/|$))/[^\x00-\x1f\x7f]*$"),
]


class Model(BaseModel):
    """Unknown fields are refused on the way in: a misspelt field must not be lost in silence."""

    model_config = ConfigDict(extra="forbid")


class Input(Model):
    """`tesInput`: a file or directory to be there, at `path`, before the first executor."""

    name: Line | None = None
    description: Text | None = None
    url: Line | None = None
    path: AbsolutePath
    type: FileType = FileType.FILE
    content: Annotated[str, StringConstraints(max_length=MAX_CONTENT)] | None = None
    streamable: Truth | None = None

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {
                    "required": ["content"],
                    "properties": {"content": {"type": "string"}, "type": {"const": "FILE"}},
                },
                {
                    "required": ["url"],
                    "properties": {
                        "url": {"type": "string", "minLength": 1},
                        "content": {"type": "null"},
                    },
                },
            ]
        },
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.content is None and not self.url:
            raise ValueError("needs 'url' or 'content'")
        if self.content is not None and self.type is FileType.DIRECTORY:
            raise ValueError("'content' makes a file; set type to FILE")
        return self


class Output(Model):
    """`tesOutput`: what is kept when all executors have ended well.

    A `path` with wildcards (POSIX 2.13: `*`, `?`, `[...]`) needs `path_prefix`, which is taken
    off the matched paths before they are put beneath `url` (TES 1.1, tesOutput.path_prefix).
    """

    name: Line | None = None
    description: Text | None = None
    url: Annotated[Line, StringConstraints(min_length=1)]
    path: AbsolutePath
    path_prefix: AbsolutePath | None = None
    type: FileType = FileType.FILE

    @property
    def has_wildcards(self) -> bool:
        return any(c in self.path for c in "*?[")

    @model_validator(mode="after")
    def _prefix(self) -> Self:
        if self.has_wildcards and self.path_prefix is None:
            raise ValueError("a 'path' with wildcards needs 'path_prefix'")
        if self.path_prefix is not None and not self.path.startswith(self.path_prefix):
            raise ValueError("'path_prefix' must be a prefix of 'path'")
        return self


class Executor(Model):
    """`tesExecutor`: one command in one image; executors run in order."""

    image: Annotated[Line, StringConstraints(min_length=1)]
    command: Annotated[list[Text], Field(min_length=1, max_length=MAX_LIST)]
    workdir: AbsolutePath | None = None
    stdin: AbsolutePath | None = None
    stdout: AbsolutePath | None = None
    stderr: AbsolutePath | None = None
    env: Annotated[dict[str, Text], Field(max_length=MAX_LIST)] | None = None
    ignore_error: Truth | None = None

    @field_validator("env")
    @classmethod
    def _names(cls, env: dict[str, str] | None) -> dict[str, str] | None:
        for name in env or {}:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name[:80]!r} is not a name for an environment variable")
        return env


class Resources(Model):
    """`tesResources`: RAM and disk in GB (10⁹ bytes), as the standard counts them."""

    cpu_cores: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    preemptible: Truth | None = None
    ram_gb: Annotated[float, Field(gt=0, le=1e6, strict=True, allow_inf_nan=False)] | None = None
    disk_gb: Annotated[float, Field(ge=0, le=1e9, strict=True, allow_inf_nan=False)] | None = None
    zones: Annotated[list[Line], Field(max_length=100)] | None = None
    backend_parameters: Annotated[dict[Key, Line], Field(max_length=100)] | None = None
    backend_parameters_strict: Truth | None = None


class OutputFileLog(Model):
    url: str
    path: str
    size_bytes: str  # the standard makes this int64 a string


class ExecutorLog(Model):
    start_time: Moment | None = None
    end_time: Moment | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: Annotated[int, Field(strict=True)]


class TaskLog(Model):
    """`tesTaskLog`: one attempt."""

    logs: list[ExecutorLog] = []
    metadata: dict[str, str] | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    outputs: list[OutputFileLog] = []
    system_logs: list[str] | None = None


class Task(Model):
    """`tesTask`. `id`, `state`, `logs` and `creation_time` are the server's: ignored on create."""

    id: str | None = None
    state: State | None = None
    name: Annotated[Line, StringConstraints(max_length=MAX_NAME)] | None = None
    description: Text | None = None
    inputs: Annotated[list[Input], Field(max_length=MAX_LIST)] | None = None
    outputs: Annotated[list[Output], Field(max_length=MAX_LIST)] | None = None
    resources: Resources | None = None
    executors: Annotated[list[Executor], Field(min_length=1, max_length=100)]
    volumes: Annotated[list[AbsolutePath], Field(max_length=100)] | None = None
    tags: Annotated[dict[Key, Line | None], Field(max_length=100)] | None = None
    logs: list[TaskLog] | None = None
    creation_time: Moment | None = None

    @field_validator("tags")
    @classmethod
    def _values(cls, tags: dict[str, str | None] | None) -> dict[str, str | None] | None:
        return None if tags is None else {key: value or "" for key, value in tags.items()}

    def submitted(self) -> Self:
        """The task without what only the server says."""
        return self.model_copy(
            update={"id": None, "state": None, "logs": None, "creation_time": None}
        )


class View(StrEnum):
    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


def document(task: Task) -> dict[str, Any]:
    """The task as JSON-ready data, unset fields left out (old clients fail on unknown ones)."""
    return task.model_dump(mode="json", exclude_none=True)
