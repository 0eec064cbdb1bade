"""What a person may do to tasks and arrays: cancel, and send again."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_POST

from ayni.hub.accounts.tokens import Caller
from ayni.hub.http import ProblemError
from ayni.hub.portal.session import signed_in
from ayni.hub.portal.views.existing import existing
from ayni.hub.tasks import ids
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.create import create_task
from ayni.hub.tasks.documents import submissions
from ayni.hub.tasks.find import find_array, find_task
from ayni.hub.tasks.models import Task
from ayni.hub.tasks.rerun import rerun_failed
from ayni.tes import models as tes


@require_POST
@signed_in("tasks:write")
def cancel_task(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    task = existing(find_task, caller, shown)
    if cancel_tasks([task.pk], _by(caller)):
        messages.success(request, gettext("La tarea quedó cancelada."))
    else:
        messages.warning(request, gettext("La tarea ya había terminado."))
    return redirect("portal:task", shown)


@require_POST
@signed_in("tasks:write")
def rerun_task(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    """A new task with the same document, as it was sent."""
    task = existing(find_task, caller, shown)
    document = tes.Task.model_validate(submissions([task])[task.pk])
    return _made(request, lambda: ids.show(create_task(caller, document)), "portal:task", shown)


@require_POST
@signed_in("tasks:write")
def cancel_array(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    array = existing(find_array, caller, shown)
    n = cancel_tasks(Task.objects.filter(array=array), _by(caller))
    text = ngettext("%(n)s tarea quedó cancelada.", "%(n)s tareas quedaron canceladas.", n)
    messages.success(request, text % {"n": n})
    return redirect("portal:array", shown)


@require_POST
@signed_in("tasks:write")
def rerun_array(request: HttpRequest, caller: Caller, shown: str) -> HttpResponse:
    """A new array of the tasks that did not end well."""
    array = existing(find_array, caller, shown)
    return _made(request, lambda: ids.show(rerun_failed(caller, array)[0]), "portal:array", shown)


def _by(caller: Caller) -> str:
    return f"cancelled by {caller.person.name}"


def _made(request: HttpRequest, make: Callable[[], str], target: str, shown: str) -> HttpResponse:
    """To what was made; or back, with the reason why it could not be."""
    try:
        made = make()
    except ProblemError as problem:
        messages.error(
            request,
            gettext("No se pudo enviar: %(detail)s") % {"detail": problem.detail or problem.title},
        )
        return redirect(target, shown)
    messages.success(request, gettext("Enviada."))
    return redirect(target, made)
