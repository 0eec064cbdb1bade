"""GA4GH TES 1.1, thin: parse, ask, show. The rules are in `tes`, `create`, `listing`, `cancel`."""

from __future__ import annotations

import pydantic
from django.conf import settings
from django.http import HttpRequest, HttpResponse

import ayni
from ayni.hub.accounts.tokens import caller
from ayni.hub.http import field_problem, invalid, json_body, json_response
from ayni.hub.tasks import ids
from ayni.hub.tasks.cancel import cancel_tasks
from ayni.hub.tasks.create import create_task
from ayni.hub.tasks.documents import Line, documents, how_many_fit, read_lines
from ayni.hub.tasks.find import find_task
from ayni.hub.tasks.listing import numbers_of
from ayni.tes import models as tes
from ayni.tes.filters import Parameters, Query, QueryError, parse_query, parse_view
from ayni.tes.models import View
from ayni.tes.shape import KEYS

MAX_DOCUMENT = 8 << 20  # bytes of one task
MAX_PAGE_TEXT = 32 << 20  # characters of a page; one that would have more has fewer tasks


def service_info(request: HttpRequest) -> HttpResponse:
    """`GET /service-info`: open to all, as GA4GH wants it."""
    return json_response(
        {
            "id": settings.HUB_URL.partition("://")[2],
            "name": "Ayni",
            "type": {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"},
            "organization": {"name": "Ayni", "url": settings.HUB_URL},
            "version": ayni.__version__,
            "storage": ["ayni://", "https://"],
            "tesResources_backend_parameters": list(KEYS),
        }
    )


def list_tasks(request: HttpRequest) -> HttpResponse:
    who = caller(request, "tasks:read")
    try:
        query = parse_query(parameters(request))
    except QueryError as error:
        raise field_problem(error.field, error.message) from error
    lines, following = _page(who.project.pk, query, query.page_size)
    if query.view is not View.MINIMAL:
        fit = how_many_fit(lines, MAX_PAGE_TEXT)
        if fit < len(lines):
            lines, following = _page(who.project.pk, query, fit)
    answer: dict[str, object] = {"tasks": documents(lines, query.view)}
    if following:
        answer["next_page_token"] = following
    return json_response(answer)


def _page(project: int, query: Query, size: int) -> tuple[list[Line], str]:
    numbers, following = numbers_of(project, query.filters, size, query.page_token)
    return read_lines(numbers), following


def new_task(request: HttpRequest) -> HttpResponse:
    who = caller(request, "tasks:write")
    try:
        task = tes.Task.model_validate_json(json_body(request, MAX_DOCUMENT))
    except pydantic.ValidationError as error:
        raise invalid(error) from error
    number = create_task(who, task, idempotency_key=request.headers.get("Idempotency-Key"))
    return json_response({"id": ids.show(number)})


def get_task(request: HttpRequest, id: str) -> HttpResponse:
    who = caller(request, "tasks:read")
    try:
        view = parse_view(parameters(request))
    except QueryError as error:
        raise field_problem(error.field, error.message) from error
    return json_response(documents([find_task(who, id)], view)[0])


def cancel_task(request: HttpRequest, id: str) -> HttpResponse:
    who = caller(request, "tasks:write")
    task = find_task(who, id)
    cancel_tasks([task.pk], f"cancelled by {who.person.name}")
    return json_response({})


def parameters(request: HttpRequest) -> Parameters:
    """The query's parameters, each with all its values in order."""
    return dict(request.GET.lists())
