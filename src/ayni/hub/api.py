"""Our own API, beneath /api/v1: one router to a subject, one way to say what is wrong."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import orjson
import pydantic_core
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.operation import Operation
from ninja.parser import Parser
from ninja.renderers import BaseRenderer

import ayni
from ayni.hub.accounts.auth import Bearer
from ayni.hub.http import ProblemError, field_problem, invalid_fields, json_body, problem

ROUTERS = ("accounts", "tasks", "network", "store", "channels", "catalogue", "ledger")

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457: what is wrong, where, and what to do.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
PROBLEM_ANSWER = {
    "description": "The request cannot be met as it is; the document says why.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class StrictParser(Parser):
    """JSON by the standard: no lone surrogates, no endless depth, and within the size limit."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = json_body(request)
        try:
            return pydantic_core.from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise ProblemError(400, "Not JSON", f"the body cannot be parsed: {error}") from error


class Renderer(BaseRenderer):
    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return orjson.dumps(data)


class Api(NinjaAPI):
    """Documents, for every operation, that errors are problem documents."""

    def get_openapi_schema(self, **kwargs: Any) -> Any:
        document = super().get_openapi_schema(**kwargs)
        document["components"]["schemas"]["Problem"] = PROBLEM
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"]["4XX"] = PROBLEM_ANSWER
        return document


def build() -> Api:
    """The API with every subject's router."""
    api = Api(
        title="Ayni",
        version=ayni.__version__,
        description="Tasks, arrays, files, datasets and sites of the network.",
        urls_namespace="api",
        docs_url=None,
        auth=[Bearer()],
        renderer=Renderer(),
        parser=StrictParser(),
    )
    api.add_exception_handler(ProblemError, _problem)
    api.add_exception_handler(HttpError, _unparsed)
    api.add_exception_handler(ValidationError, _invalid)
    for subject in ROUTERS:
        api.add_router("", import_module(f"ayni.hub.{subject}.api").router)
    for router in api._get_bound_routers():
        for view in router.path_operations.values():
            for operation in view.operations:
                _refuse_unknown(operation)
    return api


def _refuse_unknown(operation: Operation) -> None:
    """A query parameter that the operation does not have is a mistake to tell, not to pass over."""
    known = {
        name
        for model in operation.models
        if model.__ninja_param_source__ == "query"
        for name in model.__ninja_flatten_map__
    }
    values = operation._get_values

    def checked(request: HttpRequest, path: Any, response: Any) -> Any:
        for name in request.GET:
            if name not in known:
                told = f"there is {', '.join(sorted(known))}" if known else "there is none here"
                raise field_problem(name[:80], f"is no parameter; {told}")
        return values(request, path, response)

    operation._get_values = checked  # type: ignore[assignment, method-assign]


# ninja's type of a handler's error is "the error or its class", so these take anything.


def _problem(request: HttpRequest, error: Any) -> HttpResponse:
    answer: HttpResponse = error.response()
    return answer


def _unparsed(request: HttpRequest, error: Any) -> HttpResponse:
    # ninja wraps what the parser raised
    if isinstance(error.__cause__, ProblemError):
        return error.__cause__.response()
    return problem(error.status_code, "The request cannot be met", str(error))


def _invalid(request: HttpRequest, error: Any) -> HttpResponse:
    """400 with each field's path as the caller wrote it: the parameter's own name in ours goes."""
    errors = []
    for one in error.errors:
        source, *where = one["loc"]
        errors.append({**one, "loc": where[1:] if source == "body" else where[-1:]})
    return invalid_fields(errors).response()
