"""Sizes and durations as an operator writes them in TOML."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from ayni.tes.shape import parse_duration
from ayni.tes.units import parse_size


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[int, BeforeValidator(_seconds)]
