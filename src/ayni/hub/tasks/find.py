"""A project's tasks and arrays by their shown identifiers; another project's are not there."""

from __future__ import annotations

from ayni.hub.accounts.tokens import Caller
from ayni.hub.http import ProblemError
from ayni.hub.tasks import ids
from ayni.hub.tasks.models import Array, Task


def find_task(who: Caller, id: str, *related: str) -> Task:
    """The task, if it is in the caller's project.

    Raises:
        ProblemError: 404, also where it is another project's.
    """
    number = ids.read(id)
    rows = Task.objects.select_related(*related) if related else Task.objects.all()
    task = None if number is None else rows.filter(pk=number, project=who.project).first()
    if task is None:
        raise ProblemError(404, "No such task", f"your project has no task {id[:40]!r}")
    return task


def find_array(who: Caller, id: str) -> Array:
    """The array, if it is in the caller's project.

    Raises:
        ProblemError: 404, also where it is another project's.
    """
    number = ids.read(id)
    array = None
    if number is not None:
        array = Array.objects.filter(pk=number, project=who.project).first()
    if array is None:
        raise ProblemError(404, "No such array", f"your project has no array {id[:40]!r}")
    return array
