"""What `GET /tasks` may be asked (TES 1.1, ListTasks): filters, view, page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ayni.tes.models import State, View

DEFAULT_PAGE = 256
MAX_PAGE = 2047  # "must be less than 2048"
MAX_TAGS = 10

E = TypeVar("E", State, View)
Parameters = Mapping[str, Sequence[str]]


class QueryError(ValueError):
    """A parameter that cannot be understood; `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Filters:
    """Which tasks: all of these must hold. A tag's value None matches any value."""

    name_prefix: str = ""
    state: State | None = None
    tags: tuple[tuple[str, str | None], ...] = ()

    def fingerprint(self, scope: str) -> str:
        """What a page token is bound to, so that it does not continue another question."""
        text = json.dumps([scope, self.name_prefix, self.state, self.tags])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Query:
    filters: Filters
    view: View = View.MINIMAL
    page_size: int = DEFAULT_PAGE
    page_token: str = ""


def parse_query(parameters: Parameters) -> Query:
    """The query of a request's parameters; unknown ones are passed over, as TES clients differ.

    Raises:
        QueryError: a parameter has a value that it may not have.
    """
    return Query(
        filters=parse_filters(parameters),
        view=parse_view(parameters),
        page_size=parse_page_size(_last(parameters, "page_size")),
        page_token=_last(parameters, "page_token"),
    )


def parse_filters(parameters: Parameters) -> Filters:
    state = _last(parameters, "state")
    return Filters(
        name_prefix=_text("name_prefix", _last(parameters, "name_prefix")),
        state=_member("state", state, State) if state else None,
        tags=parse_tags(parameters.get("tag_key", ()), parameters.get("tag_value", ())),
    )


def parse_view(parameters: Parameters) -> View:
    view = _last(parameters, "view")
    return _member("view", view, View) if view else View.MINIMAL


def parse_page_size(text: str) -> int:
    if not text:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_PAGE):
        raise QueryError("page_size", f"must be a whole number from 1 to {MAX_PAGE}")
    return int(text)


def parse_tags(keys: Sequence[str], values: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """Keys and values, zipped in order; a value that is missing or empty matches any."""
    if len(values) > len(keys):
        raise QueryError("tag_value", "there are more values than keys; give each its tag_key")
    if len(keys) > MAX_TAGS:
        raise QueryError("tag_key", f"at most {MAX_TAGS} tags at once")
    padded = [*values, *[""] * (len(keys) - len(values))]
    return tuple(
        (_text("tag_key", k), _text("tag_value", v) or None)
        for k, v in zip(keys, padded, strict=True)
    )


def _last(parameters: Parameters, name: str) -> str:
    values = parameters.get(name) or [""]
    return values[-1]


def _text(field: str, value: str) -> str:
    if "\x00" in value:
        raise QueryError(field, "holds a NUL byte; remove it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise QueryError(field, "is not valid UTF-8") from None
    return value


def _member(field: str, text: str, kind: type[E]) -> E:
    try:
        return kind(text)
    except ValueError:
        raise QueryError(field, f"must be one of {', '.join(kind)}") from None
