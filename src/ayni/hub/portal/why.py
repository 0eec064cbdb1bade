"""Where a task went and why, or why it waits: every site in one line, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext

from ayni.hub.network.models import Site
from ayni.hub.portal import words
from ayni.hub.portal.reasons import reason_text
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Array, Attempt, Task
from ayni.hub.tasks.why import why


@dataclass(frozen=True, slots=True)
class Line:
    title: str
    label: words.Label
    text: str


@dataclass(frozen=True, slots=True)
class Other:
    """A task or array that is waited for."""

    id: str
    address: str
    condition: str


@dataclass(frozen=True, slots=True)
class Why:
    sites: list[Line]
    after: list[Other]


def of(task: Task, attempts: Sequence[Attempt]) -> Why:
    """What `GET /tasks/{id}/why` says, put in words; first the site that has the task."""
    told = why(task)
    mine = attempts[-1].site.name if attempts else ""
    titles = dict(Site.objects.values_list("name", "title"))
    order = list(words.VERDICTS)
    sites = sorted(
        told["sites"],
        key=lambda s: (s["site"] != mine, order.index(s["verdict"]), titles[s["site"]]),
    )
    return Why(
        sites=[
            _line(site, titles[site["site"]], site["site"] == mine, bool(mine)) for site in sites
        ],
        after=_others([wait for wait in told["after"] if not wait["settled"]]),
    )


def _line(site: Mapping[str, Any], title: str, mine: bool, placed: bool) -> Line:
    text = reason_text(site)
    if site["code"] == "chosen" and not mine:
        text = gettext("recibió otras como esta") if placed else gettext("la recibirá en seguida")
    return Line(title, words.VERDICTS[site["verdict"]], text)


def _others(waits: Sequence[Mapping[str, Any]]) -> list[Other]:
    numbers = [ids.read(wait["id"]) or 0 for wait in waits]
    arrays = set(Array.objects.filter(id__in=numbers).values_list("id", flat=True))
    others = []
    for number, wait in zip(numbers, waits, strict=True):
        kind = "portal:array" if number in arrays else "portal:task"
        condition = (
            gettext("hasta que termine, bien o mal")
            if wait["when"] == "ended"
            else gettext("hasta que termine bien")
        )
        others.append(Other(wait["id"], reverse(kind, args=[wait["id"]]), condition))
    return others
