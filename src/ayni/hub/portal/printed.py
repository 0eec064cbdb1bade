"""What a task's commands printed, for the page: the tail of one log, and the others to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext

from ayni.hub.portal.reading import Try
from ayni.hub.tasks import ids
from ayni.hub.tasks.logs import read_log
from ayni.hub.tasks.models import Task
from ayni.tes.urls import SCHEME

STREAMS = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Tab:
    key: str
    name: str
    size: int
    address: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Printed:
    tabs: list[Tab]
    text: str
    offset: int
    size: int
    live: bool
    full: str  # its path in the project, once it is stored whole
    withheld: str
    address: str  # of the part that shows it


def wanted(query: Mapping[str, str]) -> tuple[int, str]:
    """Command and stream, from the address; the first one's output where it makes no sense."""
    command, stream = query.get("comando", "0"), query.get("flujo", STREAMS[0])
    number = int(command) if command.isascii() and command.isdigit() and len(command) < 5 else 0
    return number, stream if stream in STREAMS else STREAMS[0]


def of(task: Task, tries: Sequence[Try], command: int, stream: str) -> Printed:
    told = read_log(task, command, stream)
    shown = ids.show(task.pk)
    report: Mapping[str, Any] = (tries[-1].attempt.report or {}) if tries else {}
    page = reverse("portal:task", args=[shown])
    tabs = [
        Tab(
            key=f"{log['command']}-{log['stream']}",
            name=_name(log["command"], log["stream"]),
            size=log["size"],
            address=f"{page}?{_query(log['command'], log['stream'])}",
            chosen=(log["command"], log["stream"]) == (command, stream),
        )
        for log in report.get("logs") or ()
    ]
    return Printed(
        tabs=tabs,
        text=told["text"],
        offset=told["offset"],
        size=told["size"],
        live=not told["ended"],
        full=(told["full"] or "").removeprefix(f"{SCHEME}{task.project.name}/"),
        withheld=_withheld(told["withheld"]),
        address=f"{reverse('portal:log', args=[shown])}?{_query(command, stream)}",
    )


def _query(command: int, stream: str) -> str:
    return urlencode([("comando", str(command)), ("flujo", stream)])


def _name(command: int, stream: str) -> str:
    text = gettext("Errores") if stream == "stderr" else gettext("Salida")
    return text if command == 0 else f"{text} {command + 1}"


def _withheld(reason: Mapping[str, Any] | None) -> str:
    if reason is None:
        return ""
    return gettext(
        "La tarea lee el conjunto de datos %(dataset)s, que no deja salir sus registros, o solo al "
        "final: mientras tanto se quedan en el sitio."
    ) % {"dataset": reason["parameters"].get("dataset", "")}
