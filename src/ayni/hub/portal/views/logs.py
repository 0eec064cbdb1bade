"""What a task prints, while it prints it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from ayni.hub.accounts.tokens import Caller
from ayni.hub.portal import printed, reading
from ayni.hub.portal.session import signed_in
from ayni.hub.portal.views.existing import existing
from ayni.hub.portal.views.task import RELATED, attempts_of
from ayni.hub.tasks.find import find_task
from ayni.hub.tasks.logs import watch


@require_safe
@signed_in("tasks:read")
def logs(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    """The part of the page; its site sends what comes at once while somebody looks."""
    if not request.htmx:  # type: ignore[attr-defined]
        query = request.GET.urlencode()
        return redirect(f"{reverse('portal:task', args=[shown])}?{query}#registro")
    task = existing(find_task, caller, shown, *RELATED)
    watch(task)
    tries = reading.tries(attempts_of(task))
    log = printed.of(task, tries, *printed.wanted(request.GET))
    return render(request, "portal/parts/log.html", {"log": log, "over": not log.live})
