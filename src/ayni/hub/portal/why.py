"""Where a task went and why, or why it waits: every site in one line, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from ayni.hub.network import explain
from ayni.hub.network.models import Site
from ayni.hub.network.record import REFRESH, reason_json
from ayni.hub.portal import words
from ayni.hub.portal.reasons import reason_text
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import FINAL, TaskState
from ayni.hub.tasks.models import After, Attempt, Placement, Task

FRESH = 2 * REFRESH  # a decision that still holds is noted again within this time


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
    sites: list[Line] = field(default_factory=list)
    after: list[Other] = field(default_factory=list)
    pending: str = ""  # what to say where no site has been judged


def of(task: Task, attempts: Sequence[Attempt]) -> Why:
    """The decision that sent the task to its last site; while it waits, what the broker thinks now."""
    state = TaskState(task.state)
    if state is TaskState.WAITING:
        return Why(after=_after(task), pending=gettext("Se buscará un sitio cuando terminen."))
    if attempts and state is not TaskState.QUEUED:
        last = attempts[-1]
        decision = _decision(last)
        return Why(
            _lines(decision.reasons if decision else [], last.site.name),
            pending=gettext("El detalle de aquella decisión ya no se guarda."),
        )
    if state in FINAL:
        waited = Placement.objects.filter(group=task.group_id, site=None).order_by("-last").first()
        return Why(
            _lines(waited.reasons if waited else []),
            pending=gettext("Terminó antes de que se le buscara un sitio."),
        )
    return Why(_lines(_now(task)), pending=gettext("Todavía no hay sitios en la red."))


def _decision(attempt: Attempt) -> Placement | None:
    """The newest of those that had been made when the attempt was."""
    made = Placement.objects.filter(group=attempt.task.group_id, site=attempt.site)
    made = made.filter(partition=attempt.partition, first__lte=attempt.assigned)
    return made.order_by("-first").first()


def _now(task: Task) -> list[dict[str, Any]]:
    """What the broker noted a moment ago, else its judgement, asked."""
    fresh = timezone.now() - FRESH
    noted = Placement.objects.filter(group=task.group_id, last__gte=fresh).order_by("-last").first()
    if noted is not None:
        reasons: list[dict[str, Any]] = noted.reasons
        return reasons
    return [reason_json(r) for r in explain.why(task.group_id).reasons]


def _lines(reasons: Iterable[Mapping[str, Any]], mine: str | None = None) -> list[Line]:
    """`mine` is the site that has the task."""
    told = {r["site"]: r for r in reasons}
    titles = dict(Site.objects.filter(name__in=told).values_list("name", "title"))
    lines = []
    for name, reason in told.items():
        text = reason_text(reason)
        if reason["code"] == "chosen" and name != mine:
            text = gettext("recibió otras tareas como esta")
        label = words.VERDICTS.get(reason["verdict"], words.VERDICTS["possible"])
        lines.append((name != mine, label is not words.VERDICTS["chosen"], titles.get(name, name),
                      Line(titles.get(name, name), label, text)))  # fmt: skip
    return [line for *_, line in sorted(lines, key=lambda entry: entry[:3])]


def _after(task: Task) -> list[Other]:
    waits = After.objects.filter(Q(task=task) | Q(array=task.array_id, array__isnull=False))
    others = []
    for wait in waits.filter(settled=False):
        shown = ids.show(wait.on_task_id or wait.on_array_id or 0)
        kind = "portal:task" if wait.on_task_id else "portal:array"
        condition = (
            gettext("hasta que termine, bien o mal")
            if wait.ended_is_enough
            else gettext("hasta que termine bien")
        )
        others.append(Other(shown, reverse(kind, args=[shown]), condition))
    return others
