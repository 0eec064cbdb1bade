"""How programs are answered: problem documents (RFC 9457), and no sessions, cookies or locale."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import orjson
import pydantic
from django.core.exceptions import (
    BadRequest,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
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
        asked, request.method = request.method, _as_get(request.method)
        response = _answer(request)
        if response.status_code == 405:
            response = _other_method(response.get("Allow", ""), asked)
        if not response.streaming:
            response["Content-Length"] = str(len(response.content))
            if asked == "HEAD":
                response.content = b""
        return response


def _as_get(method: str | None) -> str | None:
    return "GET" if method == "HEAD" else method


def _answer(request: HttpRequest) -> HttpResponse:
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
    except (RequestDataTooBig, TooManyFieldsSent) as error:
        return problem(413, "Too much", str(error))
    except (BadRequest, SuspiciousOperation, UnreadablePostError) as error:
        return problem(400, "The request cannot be read", str(error))
    except Exception:
        log.exception("%s %s failed", request.method, request.path_info)
        return problem(500, "The hub failed", "this is the hub's fault, and it has been noted")
    return response


def _other_method(allow: str, asked: str | None) -> HttpResponse:
    """OPTIONS names what an address takes, and so does the refusal of anything else (RFC 9110)."""
    taken = {m.strip() for m in allow.split(",") if m.strip()} | {"OPTIONS"}
    taken |= {"HEAD"} if "GET" in taken else set()
    allow = ", ".join(sorted(taken))
    if asked == "OPTIONS":
        return HttpResponse(status=204, headers={"Allow": allow})
    answer = problem(405, "Method not allowed", f"this address takes {allow}")
    answer["Allow"] = allow
    return answer


def methods(**views: View) -> View:
    """One address, a view to a method; ProgramsFirst adds HEAD and OPTIONS."""
    allow = ", ".join(sorted(views))

    def dispatch(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if view := views.get(request.method or ""):
            return view(request, *args, **kwargs)
        return HttpResponse(status=405, headers={"Allow": allow})

    return dispatch


def json_response(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(data), status=status, content_type="application/json")


def problem(status: int, title: str, detail: str = "", **more: Any) -> HttpResponse:
    """A problem document: `title` says what is wrong, `detail` which field and what to do."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/problem+json")


def json_body(request: HttpRequest, limit: int = 32 << 20) -> bytes:
    """The request's body, not yet parsed.

    Raises:
        ProblemError: 415 it is said to be something else than JSON; 413 it is over `limit` bytes.
    """
    kind = (request.content_type or "").lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise ProblemError(415, "Not JSON", "send the body as 'Content-Type: application/json'")
    try:
        declared = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        raise ProblemError(400, "Bad request", "Content-Length is not a number") from None
    if declared > limit or len(request.body) > limit:
        raise ProblemError(413, "Too much", f"the body may hold at most {limit} bytes")
    return request.body


def invalid(error: pydantic.ValidationError, prefix: Sequence[str | int] = ()) -> ProblemError:
    """The problem that tells every wrong field and what to do about it."""
    return invalid_fields(error.errors(include_url=False, include_input=False), prefix)


def invalid_fields(
    errors: Sequence[Mapping[str, Any]], prefix: Sequence[str | int] = ()
) -> ProblemError:
    """The same from pydantic's list of errors."""
    told = [
        FieldError(field=field_path((*prefix, *e["loc"])), message=_remedy(e)) for e in errors[:20]
    ]
    first = told[0]
    detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return ProblemError(400, "The request is not valid", detail, errors=told)


def field_path(parts: Sequence[str | int]) -> str:
    """`executors[0].image` of `("executors", 0, "image")`."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts)
    return text.removeprefix(".")[:300]


_REMEDIES = {
    "missing": "is required",
    "extra_forbidden": "is no field here; remove it or mend its spelling",
}


def _remedy(error: Mapping[str, Any]) -> str:
    message: str = _REMEDIES.get(error["type"], error["msg"])
    return message.removeprefix("Value error, ")
