"""Sizes, durations and times as an operator writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from ayni.errors import UserError
from ayni.tes.shape import parse_duration
from ayni.tes.units import parse_size


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size)]
Duration = Annotated[int, BeforeValidator(_seconds)]


def read_time(text: str, option: str) -> datetime:
    """A day or a time, in the site's own time where it names no zone.

    Raises:
        UserError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"{option} {text[:40]!r}: write a day or a time, as in 2026-11-01 or 2026-11-01T08:00"
        ) from error
    return found.astimezone(UTC)
