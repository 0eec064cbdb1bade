"""How programs are answered: problem documents (RFC 9457), and no sessions, cookies or locale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.urls import resolve

PROGRAM_PATHS = ("/ga4gh/", "/api/", "/agent/")

Handler = Callable[[HttpRequest], HttpResponse]


class ProgramsFirst:
    """Middleware: programs' endpoints skip what only browsers need."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PROGRAM_PATHS):
            return self.get_response(request)
        match = resolve(request.path_info)
        request.resolver_match = match
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        return response


def json_response(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(data), status=status, content_type="application/json")


def problem(status: int, title: str, detail: str = "", **more: Any) -> HttpResponse:
    """A problem document: `title` says what is wrong, `detail` which field and what to do."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/problem+json")
