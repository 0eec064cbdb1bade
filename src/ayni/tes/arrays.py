"""Arrays: many tasks of one shape from one template, an index and a list of parameters.

A template is a TES task whose texts may hold `{{index}}` and `{{name}}` for each parameter's name.
The shape (executors' images, resources) is the same for every task, so it may hold none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from ayni.tes.models import Line, Model, Task, document

MAX_TASKS = 100_000
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class Array(Model):
    """A request for `count` tasks, or for one task to each entry of `parameters`."""

    task: Task
    count: Annotated[int, Field(ge=1, le=MAX_TASKS)] | None = None
    parameters: (
        Annotated[list[dict[ParameterName, Line]], Field(min_length=1, max_length=MAX_TASKS)] | None
    ) = None

    @property
    def size(self) -> int:
        return self.count or len(self.parameters or ())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.count is None) == (self.parameters is None):
            raise ValueError("give either 'count' or 'parameters'")
        template = document(self.task.submitted())
        fixed = {
            "resources": template.get("resources"),
            "images": [e["image"] for e in template["executors"]],
        }
        if placeholders(fixed):
            raise ValueError("resources and images are the array's shape: no {{...}} in them")
        used = placeholders(template) - {"index"}
        for index, values in enumerate(self.parameters or [{}]):
            if "index" in values:
                raise ValueError("a parameter may not be named 'index'; it is the task's number")
            if missing := used - values.keys():
                raise ValueError(
                    f"parameters[{index}] lacks {sorted(missing)}, which the template uses"
                )
        return self


def placeholders(value: Any) -> set[str]:
    """The names in `{{...}}` anywhere in JSON-ready data."""
    if isinstance(value, str):
        return set(_PLACEHOLDER.findall(value))
    if isinstance(value, Mapping):
        return set().union(*(placeholders(v) for v in value.values()), set())
    if isinstance(value, list):
        return set().union(*(placeholders(v) for v in value), set())
    return set()


def fill(value: Any, values: Mapping[str, str]) -> Any:
    """JSON-ready data with every `{{name}}` replaced; names that are not in `values` stay."""
    if isinstance(value, str):
        if "{{" not in value:
            return value
        return _PLACEHOLDER.sub(lambda m: values.get(m.group(1), m.group(0)), value)
    if isinstance(value, Mapping):
        return {k: fill(v, values) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, values) for v in value]
    return value


def expand(
    template: dict[str, Any], index: int, parameters: Mapping[str, str] | None
) -> dict[str, Any]:
    """The document of the array's task `index`.

    Its executors also find AYNI_ARRAY_INDEX and AYNI_PARAM_name in their environment.
    """
    values = {"index": str(index), **(parameters or {})}
    filled: dict[str, Any] = fill(template, values)
    extra = {"AYNI_ARRAY_INDEX": str(index)}
    extra |= {f"AYNI_PARAM_{k}": v for k, v in (parameters or {}).items()}
    filled["executors"] = [
        {**e, "env": {**extra, **(e.get("env") or {})}} for e in filled["executors"]
    ]
    return filled
