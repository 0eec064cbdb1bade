"""Tasks and arrays of the project: lists and progress."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ayni.hub.accounts.tokens import Caller
from ayni.hub.http import ProblemError
from ayni.hub.portal import reading, words
from ayni.hub.portal.session import signed_in
from ayni.hub.portal.views.existing import existing
from ayni.hub.tasks.find import find_array
from ayni.hub.tasks.listing import page_of
from ayni.hub.tasks.models import Array
from ayni.tes.filters import Filters
from ayni.tes.models import State

ARRAYS_SHOWN = 5
STATES = list(words.SHOWN_STATES.items())  # what one may ask for


@require_safe
@signed_in("tasks:read")
def tasks(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The latest arrays and a page of tasks; for htmx only these."""
    context = _page(request, caller)
    if not context["filtered"]:
        latest = Array.objects.filter(project=caller.project).order_by("-id")
        context["arrays"] = reading.progress(latest[:ARRAYS_SHOWN])
    part = request.htmx  # type: ignore[attr-defined]
    return render(request, "portal/parts/task_list.html" if part else "portal/tasks.html", context)


@require_safe
@signed_in("tasks:read")
def array(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    """One array's progress and its tasks."""
    found = existing(find_array, caller, shown)
    context = _page(request, caller, found)
    context["p"] = reading.progress([found])[0]
    part = request.htmx  # type: ignore[attr-defined]
    return render(request, "portal/parts/array.html" if part else "portal/array.html", context)


def _page(request: HttpRequest, caller: Caller, of: Array | None = None) -> dict[str, Any]:
    filters = _filters(request)
    token = request.GET.get("pagina", "")
    try:
        page = page_of(caller.project.pk, filters, reading.PAGE, token, of, ["array"])
    except ProblemError:  # the address was made by hand, or is of an older installation
        token = ""
        page = page_of(caller.project.pk, filters, reading.PAGE, token, of, ["array"])
    query = request.GET.copy()
    query.pop("pagina", None)
    first = f"?{query.urlencode()}"
    query["pagina"] = page.next_page_token
    return {
        "section": "tasks",
        "filters": filters,
        "filtered": bool(filters.state or filters.name_prefix or token),
        "rows": reading.rows(page.tasks),
        "first": first if token else "",
        "next": f"?{query.urlencode()}" if page.next_page_token else "",
        "states": STATES,
        "may_write": "tasks:write" in caller.scopes,
    }


def _filters(request: HttpRequest) -> Filters:
    """From the address; what makes no sense there is as if it were not."""
    wanted = request.GET.get("estado", "")
    return Filters(
        name_prefix=request.GET.get("nombre", "")[:256].replace("\0", ""),
        state=State(wanted) if wanted in dict(STATES) else None,
    )
