"""Tasks over our own API: what TES has no words for (dependencies, notices, reasons, live logs)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status

from ayni.hub.accounts.tokens import caller
from ayni.hub.http import ProblemError, field_problem, json_response
from ayni.hub.tasks import ids, logs, schemas
from ayni.hub.tasks.arrays_api import router as arrays_router
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.create import create_task
from ayni.hub.tasks.find import find_array, find_task
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.listing import page_of
from ayni.hub.tasks.models import Array, Task
from ayni.hub.tasks.requests import NewTask
from ayni.hub.tasks.shown import RELATED, task_in_full, task_rows
from ayni.hub.tasks.waiting import look_until
from ayni.hub.tasks.why import why
from ayni.tes.filters import Filters, QueryError, parse_tags

router = Router(tags=["tasks"])
router.add_router("", arrays_router)


@router.post("/tasks", response={201: schemas.Made}, summary="Make a task")
def new_task(request: HttpRequest, asked: NewTask, key: schemas.Key = None) -> Any:
    """The task may wait for others (`after`) and tell somebody at its end (`notify`)."""
    who = caller(request, "tasks:write")
    number = create_task(who, asked.task, asked.after, asked.notify, key)
    return Status(201, {"id": ids.show(number)})


@router.get("/tasks", response=schemas.TaskPage, summary="List tasks")
def list_tasks(request: HttpRequest, asked: Query[schemas.TasksAsked]) -> HttpResponse:
    """Newest first; by name where a prefix is asked for; an array's in their own order."""
    who = caller(request, "tasks:read")
    array = find_array(who, asked.array) if asked.array is not None else None
    return list_page(who.project.pk, asked, array)


@router.get("/arrays/{id}/tasks", response=schemas.TaskPage, summary="List an array's tasks")
def list_array(request: HttpRequest, id: str, asked: Query[schemas.TasksAsked]) -> HttpResponse:
    who = caller(request, "tasks:read")
    return list_page(who.project.pk, asked, find_array(who, id))


def list_page(project: int, asked: schemas.TasksAsked, array: Array | None) -> HttpResponse:
    try:
        tags = parse_tags(asked.tag_key, asked.tag_value)
    except QueryError as error:
        raise field_problem(error.field, error.message) from error
    filters = Filters(asked.name_prefix, asked.state, tags)
    page = page_of(project, filters, asked.page_size, asked.page_token, array, RELATED)
    return json_response(
        {"tasks": task_rows(page.tasks), "next_page_token": page.next_page_token or None}
    )


@router.get("/tasks/{id}", response=schemas.TaskOut, summary="Show a task")
def get_task(request: HttpRequest, id: str, asked: Query[schemas.WaitAsked]) -> HttpResponse:
    """With `wait`, the answer comes as soon as the state is another than `seen`."""
    who = caller(request, "tasks:read")
    look_until(
        who.project.pk,
        asked.wait,
        lambda: find_task(who, id),
        lambda task: SHOWN[TaskState(task.state)].value != asked.seen,
    )
    return json_response(task_in_full(find_task(who, id, "person", "group")))


@router.get("/tasks/{id}/why", response=schemas.WhyOut, summary="Why is it where it is?")
def why_task(request: HttpRequest, id: str) -> HttpResponse:
    """Where the task went or why it waits: a sentence, and every site in a line each."""
    return json_response(why(find_task(caller(request, "tasks:read"), id)))


@router.get("/tasks/{id}/logs", response=schemas.LogOut, summary="Read what it printed")
def read_log(request: HttpRequest, id: str, asked: Query[schemas.LogAsked]) -> HttpResponse:
    """The end of a log. With `wait`, the answer comes as soon as its size is another than `seen`."""
    who = caller(request, "tasks:read")
    task = find_task(who, id)
    if asked.attempt is not None and not task.attempts.filter(number=asked.attempt).exists():
        raise ProblemError(404, "No such attempt", f"the task has no attempt {asked.attempt}")
    if asked.watch:
        logs.watch(task)
    return json_response(
        look_until(
            who.project.pk,
            asked.wait,
            lambda: _log(find_task(who, id, "group", "project"), asked),
            lambda found: found["ended"] or found["size"] != (asked.seen or 0),
        )
    )


def _log(task: Task, asked: schemas.LogAsked) -> dict[str, Any]:
    return logs.read_log(task, asked.command, asked.stream, asked.attempt)


@router.post("/tasks/{id}/cancel", response=schemas.Done, summary="Cancel a task")
def cancel_task(request: HttpRequest, id: str) -> Any:
    """The task is CANCELED at once; one that has ended stays as it is."""
    who = caller(request, "tasks:write")
    cancel_tasks([find_task(who, id).pk], f"cancelled by {who.person.name}")
    return {}
