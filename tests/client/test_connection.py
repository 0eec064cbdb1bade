"""Retries, idempotency, and errors in plain words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from ayni.client import errors
from ayni.client.connection import Connection
from ayni.client.credentials import Credentials
from ayni.errors import UserError

HUB = "https://hub.example.org"
Handler = Callable[[httpx.Request], httpx.Response]


def connect(handler: Handler) -> Connection:
    transport = httpx.MockTransport(handler)
    return Connection(
        Credentials(HUB, "ayni_x"), http_transport=transport, sleep=lambda seconds: None
    )


class Script:
    """Answers one thing after another and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(body: Any = None) -> httpx.Response:
    return httpx.Response(200, json=body or {})


def problem(status: int, title: str = "No", detail: str = "mend it", **more: Any) -> httpx.Response:
    body = {"title": title, "detail": detail, "status": status, **more}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def test_a_create_is_sent_again_under_one_key_when_the_answer_is_lost() -> None:
    script = Script(httpx.ReadTimeout("lost"), httpx.ConnectError("refused"), ok({"id": "x"}))
    assert connect(script).create("/tasks", {"task": {}}) == {"id": "x"}
    keys = {request.headers["Idempotency-Key"] for request in script.requests}
    assert len(script.requests) == 3
    assert len(keys) == 1
    assert [json.loads(r.content) for r in script.requests] == [{"task": {}}] * 3


def test_two_creates_have_two_keys() -> None:
    script = Script(ok(), ok())
    connection = connect(script)
    connection.create("/tasks", {})
    connection.create("/tasks", {})
    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_hub_that_is_busy_or_restarting_is_asked_again(status: int) -> None:
    assert connect(Script(problem(status), ok({"a": 1}))).get("/me") == {"a": 1}


def test_the_request_carries_the_token_and_says_who_asks() -> None:
    script = Script(ok())
    connect(script).get("/tasks", state=None, page_size=5)
    [request] = script.requests
    assert str(request.url) == f"{HUB}/api/v1/tasks?page_size=5"
    assert request.headers["Authorization"] == "Bearer ayni_x"
    assert request.headers["User-Agent"].startswith("ayni/")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.TokenRefused),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (422, errors.BadRequest),
        (500, errors.HubFailed),
        (507, errors.StoreFull),
    ],
)
def test_a_problem_document_becomes_an_exception_of_its_kind(
    status: int, kind: type[errors.AyniError]
) -> None:
    with pytest.raises(kind, match="No: mend it") as caught:
        connect(Script(problem(status, code="why"))).get("/x")
    assert caught.value.status == status
    assert caught.value.problem["code"] == "why"


def test_a_hub_that_does_not_answer_is_named_with_what_to_check() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    connection = connect(refuse)
    with pytest.raises(errors.HubUnreachable, match=r"hub.example.org.*check the address"):
        connection.get("/me", patience=0)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>nginx</html>"),
        httpx.Response(200, text="<html>welcome</html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(405, text=""),
    ],
)
def test_a_web_server_that_is_no_hub_is_told_so(answer: httpx.Response) -> None:
    with pytest.raises(errors.NotAHub, match="check the address"):
        connect(Script(answer)).get("/me")


def test_a_redirect_is_not_followed_since_it_would_carry_the_token_away() -> None:
    script = Script(httpx.Response(301, headers={"Location": "https://evil.example"}))
    with pytest.raises(errors.NotAHub, match=r"evil\.example"):
        connect(script).get("/me")
    assert len(script.requests) == 1


def test_a_refused_token_says_how_to_get_in_again() -> None:
    with pytest.raises(errors.TokenRefused, match="ayni login"):
        connect(Script(problem(401))).get("/me")


def test_the_proxy_of_the_environment_is_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.handle_request)
        thread.start()
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        connection = Connection(Credentials("http://hub.invalid", "ayni_x"))
        assert connection.get("/me") == {}
        connection.close()
        thread.join()
    assert asked == ["http://hub.invalid/api/v1/me"]


def test_a_file_of_certificates_that_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AYNI_CA_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(UserError, match=r"none\.pem"):
        Connection(Credentials(HUB, "ayni_x"))
