"""How programs are answered: problem documents (RFC 9457), and no sessions, cookies or locale."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import orjson
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

PROGRAM_PATHS = ("/ga4gh/", "/api/", "/agent/")

log = logging.getLogger(__name__)

Handler = Callable[[HttpRequest], HttpResponse]
View = Callable[..., HttpResponse]


class FieldError(TypedDict):
    """One wrong field: its path, as in `executors[0].image`, and what to do."""

    field: str
    message: str


class ProblemError(Exception):
    """Raised anywhere beneath a program's endpoint: the answer is this problem document."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def response(self) -> HttpResponse:
        answer = problem(self.status, self.title, self.detail, **self.more)
        for name, value in self.headers.items():
            answer[name] = value
        return answer


def field_problem(field: str, message: str, status: int = 400) -> ProblemError:
    """A problem of one field of the request."""
    return ProblemError(
        status,
        "The request is not valid",
        f"{field}: {message}",
        errors=[FieldError(field=field, message=message)],
    )


class ProgramsFirst:
    """Middleware: programs' endpoints skip what only browsers need, and answer in problem documents."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PROGRAM_PATHS):
            return self.get_response(request)
        try:
            match = resolve(request.path_info)
            request.resolver_match = match
            response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        except ProblemError as error:
            return error.response()
        except Resolver404:
            return problem(404, "Not found", "there is nothing at this address")
        except Http404 as error:
            return problem(404, "Not found", str(error))
        except Exception:
            log.exception("%s %s failed", request.method, request.path_info)
            return problem(500, "The hub failed", "this is our fault, and it has been noted")
        return response


def json_response(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(data), status=status, content_type="application/json")


def problem(status: int, title: str, detail: str = "", **more: Any) -> HttpResponse:
    """A problem document: `title` says what is wrong, `detail` which field and what to do."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/problem+json")


def methods(**views: View) -> View:
    """One address, a view to a method; HEAD goes with GET, OPTIONS and 405 name what is allowed."""
    if "GET" in views:
        views.setdefault("HEAD", views["GET"])
    allow = ", ".join(sorted({*views, "OPTIONS"}))

    def dispatch(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if view := views.get(request.method or ""):
            return view(request, *args, **kwargs)
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": allow})
        raise ProblemError(
            405, "Method not allowed", f"this address takes {allow}", headers={"Allow": allow}
        )

    dispatch.csrf_exempt = True  # type: ignore[attr-defined]
    return dispatch
