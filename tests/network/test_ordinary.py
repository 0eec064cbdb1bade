"""Ordinary life: arrays, dependencies, cancelling, asking why, sites that drain, processes that restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network.net import FINAL, FOREVER, Net, dead, sh, stdout, until


@pytest.fixture(autouse=True)
def all_is_well(net: Net) -> Iterator[None]:
    yield
    net.alive()


def ended(net: Net, array: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = net.get(f"/arrays/{array}")
        return shown if shown["ended"] else None

    return until(look, f"array {array} to end")


def array(net: Net, body: dict[str, Any]) -> str:
    answer = net.call("POST", "/api/v1/arrays", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_task_runs_and_its_output_is_kept(net: Net) -> None:
    task = net.run(sh("echo hola; echo x > /out.txt", outputs={"/out.txt": "ayni://quinua/o.txt"}))
    assert task["state"] == "COMPLETE", task
    assert stdout(task) == "hola\n"
    assert net.file("o.txt") == b"x\n"


def test_of_an_array_only_what_failed_is_run_again(net: Net) -> None:
    script = '[ "$AYNI_PARAM_n" != 1 ] || exit 3; echo "$AYNI_PARAM_n" > /o'
    task = sh(script, outputs={"/o": "ayni://quinua/array/{{n}}"})
    first = array(net, {"task": task, "parameters": [{"n": str(n)} for n in range(4)]})
    assert ended(net, first)["counts"] == {"COMPLETE": 3, "EXECUTOR_ERROR": 1}
    answer = net.call("POST", f"/api/v1/arrays/{first}/rerun")
    assert answer.json()["size"] == 1
    again = ended(net, answer.json()["id"])
    assert (again["rerun_of"], again["counts"]) == (first, {"EXECUTOR_ERROR": 1})
    assert net.paths(prefix="array/") == ["array/0", "array/2", "array/3"]


def test_what_waits_for_another_runs_after_it_with_its_output(net: Net) -> None:
    first = net.submit(sh("sleep 1; echo one > /o", outputs={"/o": "ayni://quinua/after/1"}))
    needs = sh("cat /i", inputs=[{"url": "ayni://quinua/after/1", "path": "/i"}])
    second = net.submit(needs, after=[{"id": first}])
    failed = net.submit(sh("exit 1"), after=[{"id": second}])
    never = net.submit(sh("true"), after=[{"id": failed, "when": "ok"}])
    anyway = net.submit(sh("echo anyway"), after=[{"id": failed, "when": "ended"}])
    net.wait(second, "COMPLETE")
    assert stdout(net.full(second)) == "one\n"
    assert net.wait(never)["state"] in ("CANCELED", "SYSTEM_ERROR")
    net.wait(anyway, "COMPLETE")


def test_cancelling_an_array_ends_what_runs_and_what_waits(net: Net) -> None:
    number = array(net, {"task": sh(FOREVER), "count": 30})
    until(lambda: net.get(f"/arrays/{number}")["counts"].get("RUNNING"), "some to run")
    rows = net.get("/tasks", array=number)["tasks"]
    assert net.call("POST", f"/api/v1/arrays/{number}/cancel").is_success
    assert ended(net, number)["counts"] == {"CANCELED": 30}
    attempts = [a["id"] for r in rows[:3] + rows[-3:] for a in net.show(r["id"])["attempts"]]
    dead(*attempts)


def test_why_names_a_reason_for_every_site(net: Net) -> None:
    number = net.submit(sh("true") | {"executors": [{"image": "nada:1", "command": ["x"]}]})
    told = net.get(f"/tasks/{number}/why")
    assert {s["site"] for s in told["sites"]} == {"norte", "sur", "falsa"}
    assert all(s["verdict"] == "ineligible" and s["message"] for s in told["sites"]), told
    assert next(s for s in told["sites"] if s["site"] == "norte")["code"] == "image"
    net.call("POST", f"/api/v1/tasks/{number}/cancel")


def test_a_site_that_drains_gets_nothing_new_and_gives_back_what_waits(net: Net) -> None:
    number = array(net, {"task": sh("sleep 2"), "count": 16})
    until(lambda: net.get(f"/arrays/{number}")["counts"].get("RUNNING"), "some to run")
    assert net.hub("site", "drain", "sur").returncode == 0
    try:
        task = net.submit(sh("true", site="sur"))
        until(
            lambda: True if net.get(f"/tasks/{task}/why")["sites"] else None, "the broker's reason"
        )
        assert ended(net, number)["counts"] == {"COMPLETE": 16}
        assert net.show(task)["attempts"] == []
    finally:
        assert net.hub("site", "undrain", "sur").returncode == 0
    net.wait(task, "COMPLETE")


def test_hub_and_agents_restart_in_mid_run_and_nothing_is_lost_or_doubled(net: Net) -> None:
    script = "sleep 2; echo $AYNI_ATTEMPT >> /o"
    task = sh(script, outputs={"/o": "ayni://quinua/restart/{{index}}"}, max_attempts="5")
    number = array(net, {"task": task, "count": 12})
    until(lambda: net.get(f"/arrays/{number}")["counts"].get("RUNNING"), "some to run")
    net.stage.hub.kill()
    net.stage.sites["norte"].kill()
    net.stage.sites["sur"].stop()
    net.stage.hub.start()
    net.stage.wait_hub()
    net.stage.sites["norte"].start()
    net.stage.sites["sur"].start()
    assert ended(net, number)["counts"] == {"COMPLETE": 12}
    for index, row in enumerate(sorted(net.get("/tasks", array=number)["tasks"], key=by_index)):
        accepted = [a for a in net.show(row["id"])["attempts"] if a["state"] == "complete"]
        assert len(accepted) == 1
        assert net.file(f"restart/{index}").decode().split() == [accepted[0]["id"]]


def by_index(row: dict[str, Any]) -> int:
    return int(row["index"])


# --- the command line --------------------------------------------------------------------------


def test_the_commands_tell_by_their_exit_codes(net: Net, tmp_path: Path) -> None:
    good = net.client("submit", "--image", "host", "--", "echo", "hola").stdout.strip()
    bad = net.client("submit", "--image", "host", "--", "sh", "-c", "exit 3").stdout.strip()
    assert net.client("wait", good).returncode == 0
    assert net.client("wait", bad).returncode == 1
    assert net.client("logs", good).stdout == "hola\n"
    shown = json.loads(net.client("show", good, "--json").stdout)
    assert shown["state"] in FINAL
    for words in (
        ["show", "nada"],
        ["wait", "zzz"],
        ["submit", str(tmp_path / "nada.json")],
        ["nada"],
    ):
        done = net.client(*words)
        assert done.returncode == 2, (words, done)
        assert done.stderr.strip(), words


def test_without_a_good_token_each_command_says_so_in_a_line(net: Net) -> None:
    for command in (["ps"], ["sites"], ["store", "ls"]):
        done = net.client(*command, who=None)
        assert done.returncode == 2, done
        assert "login" in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
