"""One task: what became of it, where, why, and what it wrote."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_safe

from ayni.hub.accounts.tokens import Caller
from ayni.hub.portal import failures, printed, reading, why, words
from ayni.hub.portal.formats import number, size, span
from ayni.hub.portal.session import signed_in
from ayni.hub.portal.views.existing import existing
from ayni.hub.tasks.documents import accepted_outputs, submissions
from ayni.hub.tasks.find import find_task
from ayni.hub.tasks.life import FINAL, TaskState
from ayni.hub.tasks.models import Attempt, Task
from ayni.tes.shape import Shape
from ayni.tes.urls import SCHEME

RELATED = ("person", "group", "array", "project")


@require_safe
@signed_in("tasks:read")
def task(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    """The whole page; for htmx only what changes."""
    found = existing(find_task, caller, shown, *RELATED)
    context = _context(caller, found)
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "portal/parts/task.html", context)
    submitted = submissions([found])[found.pk]
    context["log"] = printed.of(found, context["tries"], *printed.wanted(request.GET))
    context["document"] = json.dumps(submitted, indent=2, ensure_ascii=False)
    return render(request, "portal/task.html", context)


def attempts_of(task: Task) -> list[Attempt]:
    return list(task.attempts.select_related("site", "usage").order_by("number"))


def _context(caller: Caller, found: Task) -> dict[str, Any]:
    attempts = attempts_of(found)
    return {
        "section": "tasks",
        "task": found,
        "row": reading.rows([found])[0],
        "over": TaskState(found.state) in FINAL,
        "may_write": "tasks:write" in caller.scopes,
        "failure": failures.explain(found),
        "wants": _wants(Shape.from_json(found.group.shape), found.links + 1),
        "timeline": reading.timeline(found, attempts),
        "tries": reading.tries(attempts),
        "outputs": _outputs(caller, attempts),
        "why": why.of(found, attempts),
    }


def _outputs(caller: Caller, attempts: list[Attempt]) -> list[dict[str, Any]]:
    """The files that the task made; those in the project can be fetched from here."""
    own = f"{SCHEME}{caller.project.name}/"
    return [
        {
            "url": output["url"],
            "path": output["url"].removeprefix(own) if output["url"].startswith(own) else "",
            "name": output["url"].rpartition("/")[2] or output["url"],
            "size": output["size"],
        }
        for attempt in attempts
        for output in accepted_outputs(attempt)
    ]


def _wants(shape: Shape, link: int) -> str:
    """The task's shape in a line, and which link of its chain it is at."""
    parts = [
        ngettext("%(n)s núcleo", "%(n)s núcleos", shape.cores) % {"n": number(shape.cores)},
        gettext("%(size)s de memoria") % {"size": size(shape.memory)},
        span(shape.walltime),
    ]
    if shape.gpus:
        parts.append(gettext("%(n)s GPU") % {"n": number(shape.gpus)})
    if shape.nodes > 1:
        parts.append(gettext("%(n)s nodos") % {"n": number(shape.nodes)})
    parts += [gettext("volumen %(name)s") % {"name": mount.name} for mount in shape.volumes]
    if shape.chain > 1:
        at = {"link": number(link), "links": number(shape.chain)}
        parts.append(gettext("eslabón %(link)s de %(links)s") % at)
    parts.append(gettext("con red") if shape.network else gettext("sin red"))
    return words.listed(parts)
