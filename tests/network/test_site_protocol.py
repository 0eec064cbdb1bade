"""Somebody with a valid key of one site who lies: nothing but its own attempts can be touched."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.network.net import FOREVER, Net, sh, until

POLICY = {"images": ["host"], "members": None, "projects": None}
PARTITION = {
    "name": "local", "cores_per_node": 8, "memory_per_node": 1 << 34, "max_walltime": 86400,
    "cores": 8, "memory": 1 << 34, "depth": 4,
}  # fmt: skip
STATUS = {"agent_version": "0", "policy": POLICY, "partitions": [PARTITION]}


class Liar:
    """Speaks for `falsa` as an agent does, or as it should not."""

    def __init__(self, net: Net) -> None:
        self.net = net
        code = json.loads(net.hub("site", "code", "falsa", "--json").stdout)["code"]
        told = self.post("register", {"code": code, "incarnation": "liar"}, key="")
        assert told.is_success, told.text
        self.key = told.json()["token"]
        self.number = self.seq = 0
        self.acknowledged = 0
        assert self.sync(status=STATUS).is_success

    def post(self, what: str, body: Any, key: str | None = None, **more: Any) -> httpx.Response:
        key = self.key if key is None else key
        headers = {"Content-Type": "application/json", **more.get("headers", {})}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        content = more.get("content", json.dumps(body))
        answer = self.net.http.post(f"/agent/v1/{what}", content=content, headers=headers)
        assert answer.status_code < 500, (what, answer.status_code, answer.text[:500])
        return answer

    def sync(self, *reports: dict[str, Any], **more: Any) -> httpx.Response:
        self.number += 1
        self.seq += len(reports)
        body = {
            "incarnation": "liar", "generation": 1, "session": "s", "number": self.number,
            "since": self.acknowledged, "through": self.seq, "reports": list(reports), **more,
        }  # fmt: skip
        answer = self.post("sync", body)
        if answer.is_success:
            self.acknowledged = answer.json()["acknowledged"]
        else:
            self.seq = self.acknowledged
        return answer

    def report(self, attempt: str, state: str, **more: Any) -> dict[str, Any]:
        return {"attempt": attempt, "seq": self.seq + 1, "state": state, **more}

    def given(self, task: dict[str, Any] | None = None) -> tuple[str, str]:
        """A task and its attempt, assigned to `falsa`."""
        number = self.net.submit(task or sh("true", site="falsa"))

        def look() -> str | None:
            given = {a["task_id"]: a["attempt"] for a in self.sync(wait=1).json()["assignments"]}
            return given.get(number)

        return number, until(look, f"the broker to give it {number}")


@pytest.fixture(scope="module")
def liar(net: Net) -> Iterator[Liar]:
    liar = Liar(net)
    yield liar
    # Nobody speaks for it any more: it must be given nothing, and what it holds must not wait for it.
    assert liar.sync(status=STATUS | {"partitions": []}).is_success
    net.hub("ban", "site", "falsa")
    net.hub("unban", "site", "falsa")


@pytest.fixture(autouse=True)
def the_hub_is_well(net: Net) -> Iterator[None]:
    yield
    net.alive()


def running(net: Net) -> tuple[str, str]:
    """A task that runs at the honest site."""
    number = net.submit(sh(FOREVER, site="norte", outputs={"/o": "ayni://quinua/mine"}))
    return number, net.started(number)


def test_reports_on_another_sites_attempt_change_nothing(net: Net, liar: Liar) -> None:
    number, attempt = running(net)
    for state in ("complete", "executor_error", "lost", "canceled"):
        reply = liar.sync(liar.report(attempt, state)).json()
        assert reply["unknown"] == [attempt]
    assert net.show(number)["state"] == "RUNNING"
    asked = {"attempt": attempt, "url": "ayni://quinua/o.txt", "type": "FILE"}
    [answer] = liar.post("inputs", {"requests": [asked]}).json()["results"]
    assert answer["problem"]["code"] == "unknown_attempt"
    [answer] = liar.post("uploads", {"uploads": [declared(attempt, "ayni://quinua/mine")]}).json()[
        "results"
    ]
    assert answer["problem"]["code"] == "unknown_attempt"
    liar.sync(inventory=[attempt])
    assert net.show(number)["state"] == "RUNNING"
    net.call("POST", f"/api/v1/tasks/{number}/cancel")


def declared(attempt: str, url: str, data: bytes = b"x", **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {
        "attempt": attempt, "url": url, "size": len(data), "sha256": digest,
        "block_size": 1 << 24, "blocks": [digest], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "ayni://quinua/other", "ayni://maiz/own", "ayni://quinua/own/x", "ayni://quinua/../own",
        "ayni://quinua/.ayni/logs/x", "log:7.stdout", "log:0.stdout/../x", "log:-1.stdout", "", "x",
        "ayni://norte/cerrado/x", "https://example.org/x",
    ],
)  # fmt: skip
def test_only_declared_outputs_can_be_sent(net: Net, liar: Liar, url: str) -> None:
    _, attempt = liar.given(sh("true", site="falsa", outputs={"/o": "ayni://quinua/own"}))
    [answer] = liar.post("uploads", {"uploads": [declared(attempt, url)]}).json()["results"]
    assert answer["problem"]["code"] in ("not_an_output", "bad_url"), answer
    liar.sync(liar.report(attempt, "canceled"))


@pytest.mark.parametrize("url", ["ayni://quinua/o.txt", "ayni://maiz/x", "ayni://quinua/", ""])
def test_only_inputs_of_the_task_are_shown(net: Net, liar: Liar, url: str) -> None:
    _, attempt = liar.given()
    asked = {"attempt": attempt, "url": url, "type": "FILE"}
    [answer] = liar.post("inputs", {"requests": [asked]}).json()["results"]
    assert answer["problem"]["code"] == "not_an_input", answer
    liar.sync(liar.report(attempt, "canceled"))


def output(url: str = "ayni://quinua/own", **more: Any) -> dict[str, Any]:
    return {"url": url, "path": "/o", "size": 1, "sha256": hashlib.sha256(b"x").hexdigest(), **more}


@pytest.mark.parametrize(
    "outputs",
    [
        [output()],
        [output(upload="0" * 32)],
        [output(upload="../../x")],
        [output("ayni://maiz/x", upload="0" * 32)],
        [output(size=-1, upload="0" * 32)],
        [output("javascript:alert(1)")],
        [output("https://example.org/invented")],
    ],
    ids=["not-sent", "invented", "a-path", "another-project", "negative", "script", "undeclared"],
)
def test_outputs_that_were_not_sent_complete_nothing(
    net: Net, liar: Liar, outputs: list[dict[str, Any]]
) -> None:
    task = sh("true", site="falsa", outputs={"/o": "ayni://quinua/own"})
    number, attempt = liar.given(task)
    assert liar.sync(liar.report(attempt, "complete", outputs=outputs)).is_success
    shown = net.wait(number)
    assert shown["state"] == "SYSTEM_ERROR", shown
    assert "not accepted" in shown["reason"]["message"]
    assert shown["outputs"] == []
    assert "own" not in net.paths()


def test_an_upload_of_one_attempt_is_not_the_output_of_another(net: Net, liar: Liar) -> None:
    task = sh("true", site="falsa", outputs={"/o": "ayni://quinua/own"})
    first, attempt = liar.given(task)
    [answer] = liar.post("uploads", {"uploads": [declared(attempt, "ayni://quinua/own")]}).json()[
        "results"
    ]
    url = answer["missing"][0]["url"]
    assert httpx.put(url, content=b"y", trust_env=False).status_code >= 400, "another hash"
    assert httpx.put(url, content=b"xx", trust_env=False).status_code >= 400, "another size"
    assert httpx.put(url + "0", content=b"x", trust_env=False).status_code >= 400
    assert httpx.get(url, trust_env=False).status_code >= 400, "a URL for PUT serves GET"
    assert httpx.put(url, content=b"x", trust_env=False).is_success
    second, other = liar.given(task)
    done = output(upload=answer["upload"])
    liar.sync(liar.report(other, "complete", outputs=[done]))
    assert net.wait(second)["state"] == "SYSTEM_ERROR"
    liar.sync(liar.report(attempt, "complete", outputs=[done]))
    assert net.wait(first)["state"] in ("COMPLETE", "SYSTEM_ERROR")


def test_what_has_ended_stays_so(net: Net, liar: Liar) -> None:
    number, attempt = liar.given()
    liar.sync(liar.report(attempt, "executor_error", reason={"code": "exit", "message": "no"}))
    for state in ("running", "complete", "accepted", "assigned", "withdrawn"):
        liar.sync(liar.report(attempt, state))
    assert net.show(number)["state"] == "EXECUTOR_ERROR"


BIG = 10**40
STRANGE: list[dict[str, Any]] = [
    {"started": float("nan"), "ended": float("inf"), "accepted": -1.0},
    {"started": -1e300, "ended": 1e300},
    {"commands": [{"exit_code": BIG, "started": 0, "ended": 0}]},
    {"commands": [{"exit_code": -1, "started": float("nan"), "ended": float("nan")}] * 200},
    {"commands": [{"exit_code": 0, "started": 1e300, "ended": -1e300}]},
    {"logs": [{"command": BIG, "stream": "x" * 10_000, "size": -BIG, "tail": "t"}]},
    {"logs": [{"command": -5, "stream": "stdout", "size": -1, "tail": "x" * 3_000_000}]},
    {"logs": [{"command": 0, "stream": "stdout", "size": BIG, "tail": "\0\ud7ff\u202e<script>"}]},
    {"logs": [{"command": 0, "stream": "stdout", "size": 1, "tail": "t", "upload": "x" * 9999}]},
    {"usage": {"job": "j" * 9999, "cores": -1, "wall": float("nan"), "cpu": float("inf"), "peak_memory": BIG}},  # noqa: E501
    {"usage": {"job": "\0", "cores": BIG, "wall": -5, "cpu": 1e308, "peak_memory": -BIG, "gpus": BIG}},
    {"host": "h" * 1_000_000},
    {"host": "<script>\0"},
    {"reason": {"code": "x" * 5000, "message": "m" * 1_000_000, "parameters": {"retryable": "no", "a": BIG}}},
    {"reason": {"code": "", "message": "", "parameters": {"a": float("nan"), "b": {"c": [None] * 1000}}}},
    {"system_log": ["l" * 1000] * 3000},
    {"system_log": ["\0"]},
    {"outputs": [{"url": "ayni://quinua/own", "path": "/o", "size": BIG, "sha256": "x", "upload": "x"}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("strange", "state"),
    [(s, state) for s in STRANGE for state in ("running", "complete")],
    ids=lambda s: s if isinstance(s, str) else "-".join(s),
)
def test_strange_reports_never_break_the_hub(
    net: Net, liar: Liar, strange: dict[str, Any], state: str
) -> None:
    number, attempt = liar.given()
    first = liar.sync(liar.report(attempt, state, **strange))
    assert first.status_code in (200, 400, 413)
    look_everywhere(net, number)
    liar.sync(liar.report(attempt, "canceled"))
    net.call("POST", f"/api/v1/tasks/{number}/cancel")


def look_everywhere(net: Net, number: str) -> None:
    """Whatever is shown of a task: none of it is an error of the hub."""
    for path in (
        f"/api/v1/tasks/{number}", f"/api/v1/tasks/{number}/why", f"/api/v1/tasks/{number}/logs",
        "/api/v1/tasks", "/api/v1/sites", f"/ga4gh/tes/v1/tasks/{number}?view=FULL",
        f"/ga4gh/tes/v1/tasks/{number}?view=BASIC", "/ga4gh/tes/v1/tasks?view=FULL&page_size=5",
    ):  # fmt: skip
        answer = net.call("GET", path)
        assert answer.is_success, (path, answer.text[:300])
        assert len(answer.content) < 8 << 20, f"{path} is {len(answer.content)} bytes"


@pytest.mark.parametrize(
    "change",
    [
        {"partitions": [{**PARTITION, "cores_per_node": 0, "nodes": 0, "memory_per_node": 0}]},
        {"partitions": [{**PARTITION, "max_walltime": 0, "depth": 0}]},
        {"partitions": [{**PARTITION, "cores": -1}]},
        {"partitions": [{**PARTITION, "cores": BIG}]},
        {"partitions": [{**PARTITION, "foreign_cores": 1 << 40}]},
        {"partitions": []},
        {"partitions": [{**PARTITION, "name": "../x"}]},
        {"partitions": [PARTITION, PARTITION]},
        {"policy": {**POLICY, "images": ["*" * 200], "timezone": "../../etc/passwd"}},
        {"policy": {**POLICY, "images": ["[" * 500, "*a" * 60 + "b"]}},
        {"policy": {**POLICY, "max_cores": -1, "max_walltime": -BIG}},
        {"policy": {**POLICY, "hours": [{"days": ["xyz"], "from": "25:00", "to": "1"}]}},
        {"datasets": [{"name": "cerrado", "version": "1", "licence": "x", "size": 1, "files": 1,
                       "sha256": "", "release": "anything"}]},
        {"datasets": [{"name": "../x", "version": "1", "licence": "", "size": -1, "files": BIG, "sha256": "z"}]},  # noqa: E501
        {"health": [{"code": "x", "message": "<script>" * 100}] * 100},
        {"agent_version": "v" * 100_000},
        {"sandbox": "s" * 100_000},
    ],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_strange_statuses_never_break_the_hub(net: Net, liar: Liar, change: dict[str, Any]) -> None:
    answer = liar.sync(status=STATUS | change)
    assert answer.status_code in (200, 400)
    number = net.submit(sh("true", site="falsa"))
    look_everywhere(net, number)
    net.call("POST", "/api/v1/sites/for", json={"task": sh("true")})
    net.call("POST", f"/api/v1/tasks/{number}/cancel")
    # It has nothing: if it was given the task just before the cancel, that must not fill it up.
    assert liar.sync(status=STATUS, inventory=[]).is_success
    done = net.run(sh("echo alive", site="norte"))
    assert done["state"] == "COMPLETE", "the broker went down with it"


def test_a_site_cannot_loosen_the_release_of_anothers_data(net: Net, liar: Liar) -> None:
    card = {"name": "cerrado", "version": "1", "licence": "x", "size": 1, "files": 1, "sha256": "",
            "release": "anything"}  # fmt: skip
    liar.sync(status=STATUS | {"datasets": [card]})
    cards = {(s["name"], d["name"]): d for s in net.get("/sites")["sites"] for d in s["datasets"]}
    assert cards["norte", "cerrado"]["release"] == "nothing"
    liar.sync(status=STATUS)


BODIES: list[bytes] = [
    b"", b"{", b"null", b"[]", b"\xff\xfe", b"{}", b'{"reports": 1}', b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"incarnation": "\\ud800"}', b"NaN", b"\0",
    json.dumps({"incarnation": "liar", "generation": BIG, "session": "s", "number": 1, "since": 0,
                "through": 0}).encode(),
    json.dumps({"incarnation": "liar", "generation": 1, "session": "s", "number": BIG, "since": -1,
                "through": BIG}).encode(),
    json.dumps({"incarnation": "x" * 100_000, "generation": 1, "session": "", "number": 1, "since": 0,
                "through": 0}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda b: repr(b[:20]))
def test_bodies_that_are_none_are_told(net: Net, liar: Liar, body: bytes) -> None:
    for what in ("sync", "register", "inputs", "uploads"):
        answer = liar.post(what, None, content=body)
        assert 400 <= answer.status_code < 500, (what, answer.text[:200])
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_a_compressed_bomb_is_refused(net: Net, liar: Liar) -> None:
    bomb = gzip.compress(b"0" * (300 << 20), 9)
    answer = liar.post("sync", None, content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413, answer.text
    answer = liar.post("sync", None, content=b"x" * 100, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400, answer.text


def test_an_endless_number_of_reports_is_refused(net: Net, liar: Liar) -> None:
    reports = [{"attempt": "x", "seq": n, "state": "running"} for n in range(1001)]
    assert liar.sync(*reports).status_code == 400


def test_uploads_that_make_no_sense_are_told(net: Net, liar: Liar) -> None:
    _, attempt = liar.given(sh("true", site="falsa", outputs={"/o": "ayni://quinua/own2"}))
    url = "ayni://quinua/own2"
    for change in (
        {"size": -1}, {"size": BIG}, {"size": 1 << 62, "block_size": 1 << 60},
        {"block_size": 0}, {"block_size": -1}, {"block_size": BIG}, {"blocks": []},
        {"blocks": ["x"]}, {"blocks": ["0" * 64] * 2}, {"sha256": "../x"}, {"sha256": "0" * 65},
        {"size": "1e9"}, {"size": 1.5},
    ):  # fmt: skip
        answer = liar.post("uploads", {"uploads": [declared(attempt, url) | change]})
        told = answer.json()
        assert answer.status_code == 400 or "problem" in told["results"][0], (change, told)
    liar.sync(liar.report(attempt, "canceled"))
