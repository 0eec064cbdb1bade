"""What is wrong with the operator's TOML: each fault by its key, with the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def described(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """Each fault as `key: what is wrong, and the remedy`; `model` is of the whole file."""
    for fault in error.errors():
        where = [str(part) for part in fault["loc"]]
        key = ".".join(where)
        message = fault["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
        if fault["type"] == "extra_forbidden":
            message = _unknown(model, where)
        elif fault["type"] == "missing":
            message = "is missing; add it"
        yield f"{key}: {message}" if key else message


def _unknown(model: type[BaseModel], where: list[str]) -> str:
    for part in where[:-1]:
        if (field := model.model_fields.get(part)) is not None:  # else a name, as of an image
            model = _section(field.annotation) or model
    close = difflib.get_close_matches(where[-1], model.model_fields, 1)
    if close:
        return f"unknown key; did you mean {close[0]!r}?"
    return f"unknown key; known here are {', '.join(model.model_fields)}"


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds: itself, or None, or by names, or several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)
