"""Requests that no honest client sends: a clear answer below 500, and soon."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.network.net import LIMIT, Net, sh

JSON = {"Content-Type": "application/json"}
CREATE = ("/ga4gh/tes/v1/tasks", "/api/v1/tasks", "/api/v1/arrays", "/api/v1/sites/for",
          "/api/v1/uploads", "/api/v1/datasets")  # fmt: skip
BODIES = [
    b"", b"{", b"null", b"[]", b'"x"', b"1", b"NaN", b"\xff\xfe\x00", b"\x00", b"{}" * 2,
    b"[" * 200_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"name": "\\ud800"}',
    b'{"task": {"executors": [{"image": "x", "command": ["\\u0000"]}]}}', b"9" * 10_000,
    b'{"a": 1e999999}', b'{"count": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda b: repr(b[:24]))
def test_bodies_that_are_none_are_told(net: Net, body: bytes) -> None:
    for path in CREATE:
        headers = net.token("ana") | JSON
        answer = net.http.post(path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (path, answer.status_code, answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
             "multipart/form-data", "application/json; charset=utf-16", "\xff", "image/png", "x" * 5000]
)  # fmt: skip
def test_wrong_kinds_of_content_are_told(net: Net, kind: str) -> None:
    for path in CREATE:
        headers = {**net.token("ana"), "Content-Type": kind.encode("latin-1")}
        answer = net.http.post(path, content=b"\xff\xfe{}", headers=headers)  # type: ignore[arg-type]
        assert 400 <= answer.status_code < 500, (path, answer.text[:300])


@pytest.mark.parametrize(
    "path", ["/ga4gh/tes/v1/tasks", "/api/v1/tasks", "/api/v1/arrays", "/api/v1/files"]
)
@pytest.mark.parametrize(
    "size", ["0", "-1", "1000000000", "99999999999999999999999", "x", "1e3", "", "1 OR 1"]
)
def test_page_sizes_that_cannot_be_are_told(net: Net, path: str, size: str) -> None:
    answer = net.call("GET", path, params={"page_size": size})
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize(
    "token", ["x", "-1", "%", "\x00", "9" * 400, "'; DROP TABLE tasks_task; --", "é", "AAAA" * 900]
)
def test_page_tokens_that_are_none_are_told(net: Net, token: str) -> None:
    for path in ("/ga4gh/tes/v1/tasks", "/api/v1/tasks", "/api/v1/arrays", "/api/v1/files"):
        answer = net.call("GET", path, params={"page_token": token})
        assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("query", [
    "state=NOPE", "state=%00", "view=ALL", "view=", "tag_key=%00", "tag_key=a&tag_key=b&tag_value=1",
    "name_prefix=%25_%27%00", "name_prefix=" + "x" * 6000, "&".join(["tag_key=a"] * 300), "%ff=%fe", "a[]=1",
    "array=zzz", "array=%00", "state=QUEUED&state=RUNNING", "unknown=1",
])  # fmt: skip
def test_queries_that_cannot_be_are_told(net: Net, query: str) -> None:
    for path in (
        "/ga4gh/tes/v1/tasks",
        "/api/v1/tasks",
        "/api/v1/arrays",
        "/api/v1/files",
        "/api/v1/sites",
    ):
        assert net.call("GET", f"{path}?{query}").status_code < 500


@pytest.mark.parametrize(
    "name", ["x", "%00", "..%2f..", "0" * 13, "z" * 13, "9" * 400, "0an5003s7a0fm:x", "é", "-1"]
)
def test_names_of_tasks_that_are_none_are_not_found(net: Net, name: str) -> None:
    for path in ("/ga4gh/tes/v1/tasks/{}", "/api/v1/tasks/{}", "/api/v1/tasks/{}/why",
                 "/api/v1/tasks/{}/logs", "/api/v1/arrays/{}"):  # fmt: skip
        assert net.call("GET", path.format(name)).status_code in (400, 404)
    for path in (
        "/ga4gh/tes/v1/tasks/{}:cancel",
        "/api/v1/tasks/{}/cancel",
        "/api/v1/arrays/{}/rerun",
    ):
        assert net.call("POST", path.format(name)).status_code in (400, 404)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a\0b", "\ud7ff", "x" * 5000, "", ".", "a//b", ".ayni/logs/x", "%"],
)
def test_paths_of_files_that_cannot_be_are_told(net: Net, path: str) -> None:
    for verb, where in (("GET", "/api/v1/files/manifest"), ("DELETE", "/api/v1/files")):
        answer = net.call(verb, where, params={"path": path})
        assert answer.status_code in (204, 200, 400, 404), answer.text
        assert not (answer.is_success and verb == "GET")
    body = {
        "path": path,
        "size": 1,
        "sha256": "0" * 64,
        "block_size": 1 << 20,
        "blocks": ["0" * 64],
    }
    assert net.call("POST", "/api/v1/uploads", json=body).status_code in (201, 400)


HEADERS: list[dict[str, str]] = [
    {"Host": "evil.example"}, {"Host": "\x80"}, {"X-Forwarded-For": "127.0.0.1' --"}, {"Accept": "\x80" * 100},  # noqa: E501
    {"Accept-Language": "x" * 4000}, {"Cookie": "sessionid=" + "x" * 4000}, {"Content-Length": "-1"},
    {"Content-Encoding": "gzip"}, {"Transfer-Encoding": "nonsense"},
    {"Expect": "100-continue"}, {"Range": "bytes=0-1,2-3"}, {"If-Modified-Since": "never"},
    {"Idempotency-Key": "x" * 1000}, {"Idempotency-Key": "\x80"}, {"X-HTTP-Method-Override": "DELETE"},
    {"Authorization": "Bearer " + "x" * 7000}, {"Authorization": "Basic \x80"},
]  # fmt: skip


@pytest.mark.parametrize("headers", HEADERS, ids=lambda h: next(iter(h)))
def test_strange_headers_break_nothing(net: Net, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/v1/me"), ("POST", "/ga4gh/tes/v1/tasks"), ("GET", "/")):
        sent = {**net.token("ana"), **JSON, **headers}
        encoded = {k: v.encode("latin-1") for k, v in sent.items()}
        try:
            answer = httpx.request(
                method,
                net.stage.url + path,
                headers=encoded,
                content=b"{}",
                timeout=LIMIT,
                trust_env=False,  # type: ignore[arg-type]
            )
        except (httpx.NetworkError, httpx.ProtocolError):
            continue  # hung up on: fair
        assert answer.status_code < 500, (headers, path, answer.text[:300])
    assert net.get("/me")["project"]["name"] == "quinua"


@pytest.mark.parametrize(
    "method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD", "PROPFIND", "X" * 40]
)
def test_other_methods_are_told(net: Net, method: str) -> None:
    for path in (
        "/ga4gh/tes/v1/tasks",
        "/api/v1/tasks",
        "/agent/v1/sync",
        "/",
        "/api/v1/openapi.json",
    ):
        answer = net.http.request(method, path, headers=net.token("ana"))
        assert answer.status_code < 500, (method, path, answer.text[:300])


def arrays() -> list[dict[str, Any]]:
    task = sh("true")
    deep: Any = "x"
    for _ in range(500):
        deep = {"a": deep}
    return [
        {"task": task, "count": 100_001}, {"task": task, "count": 0}, {"task": task, "count": -1},
        {"task": task, "count": 10**30}, {"task": task, "count": 1.5}, {"task": task},
        {"task": task, "count": 2, "parameters": [{}]}, {"task": task, "parameters": []},
        {"task": task, "parameters": [{"a": deep}]}, {"task": task, "parameters": [{"a b": "x"}]},
        {"task": task, "parameters": [{"index": "9"}]}, {"task": task, "parameters": ["x"]},
        {"task": task, "parameters": [{"x": "y" * 100_000}] * 400},
        {"task": {**task, "outputs": [{"path": "/o", "url": "ayni://quinua/{{nada}}"}]}, "count": 2},
        {"task": {**task, "outputs": [{"path": "/o", "url": "ayni://quinua/{{x}}"}]},
         "parameters": [{"x": "../../maiz/y"}]},
        {"task": {**task, "inputs": [{"path": "/i", "url": "ayni://{{x}}/f"}]}, "parameters": [{"x": "maiz"}]},  # noqa: E501
        {"task": {**task, "inputs": [{"path": "/i", "url": "{{x}}"}]}, "parameters": [{"x": "file:///etc/passwd"}]},
    ]  # fmt: skip


@pytest.mark.parametrize("body", arrays(), ids=range(len(arrays())))
def test_arrays_that_cannot_be_are_told(net: Net, body: dict[str, Any]) -> None:
    answer = net.call("POST", "/api/v1/arrays", json=body)
    assert answer.status_code in (400, 413), answer.text[:300]


def test_more_than_a_task_may_hold_is_told(net: Net) -> None:
    task = sh("true")
    many = {
        "inputs": [{"path": f"/i{n}", "content": "x" * 1000} for n in range(20_000)],
        "tags": {f"k{n}": "v" for n in range(5000)},
        "executors": task["executors"] * 500,
        "volumes": [f"/v{n}" for n in range(5000)],
        "name": "n" * 1_000_000,
        "description": "d" * 40_000_000,
    }
    for field, value in many.items():
        answer = net.call("POST", "/ga4gh/tes/v1/tasks", json=task | {field: value})
        assert answer.status_code in (400, 413), (field, answer.text[:300])


def test_a_task_with_all_it_may_hold_is_listed_in_bounds(net: Net) -> None:
    """A page of the fullest view is bounded in bytes, or one request could fill the hub's memory."""
    task = sh("true")
    task["inputs"] = [{"path": f"/i{n}", "content": "x" * 100_000} for n in range(10)]
    made = [
        net.submit(task | {"executors": [{"image": "nada", "command": ["x"]}]}) for _ in range(20)
    ]
    answer = net.call("GET", "/ga4gh/tes/v1/tasks", params={"view": "FULL", "page_size": 2047})
    for number in made:
        net.call("POST", f"/api/v1/tasks/{number}/cancel")
    assert answer.is_success
    assert len(answer.content) < 64 << 20
    assert json.loads(answer.content)["tasks"]
