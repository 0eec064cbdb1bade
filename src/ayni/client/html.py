"""How things look in a notebook: small plain tables. Everything that is shown is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ayni.tes.units import show_duration, show_size

if TYPE_CHECKING:
    from ayni.client.models import ArrayInfo, Dataset, Me, Site, TaskInfo

_CELL = 'style="text-align:left;padding:2px 10px 2px 0"'
_COLOURS = {
    "COMPLETE": "#1a7f37",
    "EXECUTOR_ERROR": "#c62828",
    "SYSTEM_ERROR": "#c62828",
    "CANCELED": "#8a6d00",
    "RUNNING": "#0b5cad",
}


class Markup(str):
    """HTML already; not escaped again."""

    __slots__ = ()


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th {_CELL}>{escape(h)}</th>" for h in headers)
    body = "".join(
        "<tr>" + "".join(f"<td {_CELL}>{_cell(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    body = "".join(
        f"<tr><th {_CELL}>{escape(name)}</th><td {_CELL}>{_cell(value)}</td></tr>"
        for name, value in rows
        if value not in (None, "", [], {})
    )
    return f"<table><tbody>{body}</tbody></table>"


def state(name: str) -> Markup:
    colour = _COLOURS.get(name, "inherit")
    return Markup(f'<span style="color:{colour}">{escape(name)}</span>')


def answer(found: BaseModel) -> str:
    """Whatever the hub said, field by field; what it lists is a table within."""
    return pairs((name.replace("_", " "), _field(value)) for name, value in found)


def _field(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return Markup(answer(value))
    if isinstance(value, list) and value and all(isinstance(one, BaseModel) for one in value):
        names = [
            name for name in type(value[0]).model_fields if any(_plain(one, name) for one in value)
        ]
        return Markup(table(names, [[getattr(one, name) for name in names] for one in value]))
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value


def _plain(one: BaseModel, name: str) -> bool:
    """Whether a field is worth a column."""
    value = getattr(one, name)
    return value not in (None, "") and not isinstance(value, list | dict | BaseModel)


def task(info: TaskInfo) -> str:
    reason = info.reason.message if info.reason else None
    ran = show_duration(info.seconds) if info.seconds is not None else None
    return pairs(
        [
            ("task", _id(info.id)),
            ("name", info.name),
            ("state", state(info.state.value)),
            ("site", info.site),
            ("reason", reason),
            ("ran", ran),
            ("array", info.array and f"{info.array}, index {info.index}"),
            ("created", info.created),
        ]
    )


def array(info: ArrayInfo) -> str:
    counts = Markup(", ".join(f"{n} {state(s)}" for s, n in sorted(info.counts.items()) if n))
    return pairs(
        [
            ("array", _id(info.id)),
            ("name", info.name),
            ("tasks", info.size),
            ("states", counts),
            ("created", info.created),
        ]
    )


def me(info: Me) -> str:
    return pairs(
        [
            ("person", f"{info.person.name} <{info.person.email}>"),
            ("project", info.project.name),
            ("scopes", " ".join(info.scopes)),
            ("expires", info.expires),
        ]
    )


def sites(found: Iterable[Site]) -> str:
    rows = [
        (
            site.name,
            site.member,
            site.title,
            site.state,
            sum(p.cores for p in site.partitions),
            sum(p.used_cores for p in site.partitions),
        )
        for site in found
    ]
    return table(("site", "member", "title", "state", "cores", "in use"), rows)


def datasets(found: Iterable[Dataset]) -> str:
    rows = [
        (
            one.url,
            one.version,
            show_size(one.size),
            one.residency,
            one.release,
            one.licence,
            one.title,
        )
        for one in found
    ]
    return table(("url", "version", "size", "residency", "release", "licence", "title"), rows)


def _id(text: str) -> Markup:
    return Markup(f"<code>{escape(text)}</code>")


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    if isinstance(value, datetime):
        return escape(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    return "" if value is None else escape(str(value))
