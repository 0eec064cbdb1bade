"""Arrays over our own API: made, shown, watched, cancelled and run again as one."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status

from ayni.hub.accounts.tokens import caller
from ayni.hub.http import field_problem, json_response
from ayni.hub.tasks import ids, schemas
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.create import create_array
from ayni.hub.tasks.find import find_array
from ayni.hub.tasks.listing import page_secret
from ayni.hub.tasks.models import Array, Task
from ayni.hub.tasks.requests import NewArray
from ayni.hub.tasks.rerun import rerun_failed
from ayni.hub.tasks.shown import array_in_full, array_rows
from ayni.hub.tasks.waiting import look_until
from ayni.tes import paging

router = Router(tags=["arrays"])


@router.post("/arrays", response={201: schemas.MadeArray}, summary="Make an array of tasks")
def new_array(request: HttpRequest, asked: NewArray, key: schemas.Key = None) -> Any:
    """Up to 100,000 tasks from one template: `count` of them, or one for each of `parameters`."""
    number, size = create_array(caller(request, "tasks:write"), asked, key)
    return Status(201, {"id": ids.show(number), "size": size})


@router.get("/arrays", response=schemas.ArrayPage, summary="List arrays")
def list_arrays(request: HttpRequest, asked: Query[schemas.PageAsked]) -> HttpResponse:
    """Newest first."""
    who = caller(request, "tasks:read")
    question = f"arrays of {who.project.pk}"
    rows = Array.objects.filter(project=who.project).order_by("-id").defer("template")
    if asked.page_token:
        try:
            _, before = paging.decode(page_secret(), question, asked.page_token)
        except paging.TokenError as error:
            raise field_problem("page_token", str(error)) from error
        rows = rows.filter(id__lt=before)
    found = list(rows[: asked.page_size + 1])
    shown = found[: asked.page_size]
    token = None
    if len(found) > len(shown):
        token = paging.encode(page_secret(), question, ["", shown[-1].pk])
    return json_response({"arrays": array_rows(shown), "next_page_token": token})


@router.get("/arrays/{id}", response=schemas.ArrayOut, summary="Show an array")
def get_array(request: HttpRequest, id: str, asked: Query[schemas.WaitAsked]) -> HttpResponse:
    """With `wait`, the answer comes as soon as its version is another than `seen`."""
    who = caller(request, "tasks:read")
    return json_response(
        look_until(
            who.project.pk,
            asked.wait,
            lambda: array_in_full(find_array(who, id)),
            lambda array: array["version"] != asked.seen,
        )
    )


@router.post("/arrays/{id}/cancel", response=schemas.Done, summary="Cancel an array")
def cancel_array(request: HttpRequest, id: str) -> Any:
    """Those of its tasks that have not ended are CANCELED at once."""
    who = caller(request, "tasks:write")
    array = find_array(who, id)
    cancel_tasks(Task.objects.filter(array=array), f"cancelled by {who.person.name}")
    return {}


@router.post(
    "/arrays/{id}/rerun", response={201: schemas.MadeArray}, summary="Run failed tasks again"
)
def rerun_array(request: HttpRequest, id: str, key: schemas.Key = None) -> Any:
    """A new array of the failed indices only, with their parameters."""
    who = caller(request, "tasks:write")
    number, size = rerun_failed(who, find_array(who, id), key)
    return Status(201, {"id": ids.show(number), "size": size})
