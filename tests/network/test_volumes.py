"""Volumes outlive tasks and never leave their site; a chain goes on from one where its walltime ended."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.network.net import FOREVER, Net, sh, stdout, until, why

#: Says where it was, in the volume, and goes on there until it is warned.
COUNT = """
n=$(cat /state/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > /state/n; echo link $n
"""


def keeper(script: str, name: str, **more: Any) -> dict[str, Any]:
    """A task at `norte` that sees a volume as /state."""
    mode = more.pop("mode", "rw")
    return sh(script, **{"site": "norte", "volume": f"{name}:/state:{mode}", **more})


def held(net: Net, name: str, who: str = "ana") -> dict[str, Any] | None:
    found = [one for one in net.get("/volumes", who)["volumes"] if one["name"] == name]
    return found[0] if found else None


def test_what_one_task_leaves_the_next_one_finds(net: Net) -> None:
    assert net.run(keeper("echo hola > /state/x", "una"))["state"] == "COMPLETE"
    found = net.run(keeper("cat /state/x; rm /state/x", "una"))
    assert (found["state"], stdout(found)) == ("COMPLETE", "hola\n"), found


def test_another_project_has_another_volume_of_the_same_name(net: Net) -> None:
    net.run(keeper("echo secreto > /state/x", "mia"))
    others = net.run(keeper("ls -A /state", "mia"), "beto")
    assert (others["state"], stdout(others)) == ("COMPLETE", ""), others
    assert until(lambda: held(net, "mia"), "the volume to be told")["site"] == "norte"
    assert until(lambda: held(net, "mia", "beto"), "the other, too")["site"] == "norte"


def test_a_task_goes_where_its_volume_is_and_only_there(net: Net) -> None:
    net.run(keeper("echo aqui > /state/x", "lugar"))
    until(lambda: held(net, "lugar"), "the volume to be told")
    task = sh("cat /state/x", volume="lugar:/state:ro")
    number = net.submit(task)
    assert net.wait(number)["site"] == "norte"
    assert stdout(net.full(number)) == "aqui\n"
    verdicts = {site["site"]: site for site in net.get(f"/tasks/{number}/why")["sites"]}
    assert (verdicts["sur"]["code"], verdicts["sur"]["verdict"]) == ("residency", "ineligible")


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (sh("true", volume="nueva:/state"), "resources.backend_parameters.volume"),
        (keeper("true", "BAD NAME"), "resources.backend_parameters.volume"),
        (keeper("true", "x", volume="x:/../y"), "resources.backend_parameters.volume"),
        (keeper("true", "x", outputs={"/state/o": "ayni://quinua/o"}), "outputs[0].path"),
        (sh("true", site="norte", chain="3"), "resources.backend_parameters.chain"),
        (keeper("true", "x", chain="0"), "resources.backend_parameters.chain"),
        (keeper("true", "x", warning="2h"), "resources.backend_parameters.warning"),
    ],
    ids=["no-site", "name", "path", "output", "no-volume", "no-links", "late-warning"],
)
def test_what_cannot_be_is_refused_with_its_field(
    net: Net, task: dict[str, Any], field: str
) -> None:
    refused = net.call("POST", "/api/v1/tasks", json={"task": task})
    assert refused.status_code == 400, refused.text
    assert [error["field"] for error in refused.json()["errors"]] == [field]


def test_one_that_only_reads_cannot_write(net: Net) -> None:
    net.run(keeper("echo a > /state/x", "leida"))
    task = net.run(keeper("cat /state/x; echo b > /state/x", "leida", mode="ro"))
    assert task["state"] == "EXECUTOR_ERROR"
    assert stdout(task) == "a\n"


def test_two_never_write_at_the_same_time(net: Net) -> None:
    claim = "mkdir /state/lock || exit 9; sleep 1; rmdir /state/lock"
    numbers = [net.submit(keeper(claim, "turnos")) for _ in range(4)]
    assert [net.wait(number)["state"] for number in numbers] == ["COMPLETE"] * 4


def test_one_that_waits_for_a_volume_says_so(net: Net) -> None:
    holder = net.submit(keeper(FOREVER, "ocupada"))
    net.started(holder)
    second = net.submit(keeper("true", "ocupada"))
    until(lambda: "waits for volume ocupada" in why(net.full(second)) or None, "it to say why")
    net.call("POST", f"/api/v1/tasks/{holder}/cancel")
    assert net.wait(second)["state"] == "COMPLETE"


def test_a_chain_goes_on_past_its_walltime_until_it_says_that_it_is_done(net: Net) -> None:
    script = COUNT + f'[ "$n" -ge 3 ] && exit 0; {FOREVER}'
    number = net.submit(keeper(script, "cadena", walltime="2", chain="5"))
    shown = net.wait(number)
    assert shown["state"] == "COMPLETE", shown
    assert [one["state"] for one in shown["attempts"]] == ["unfinished", "unfinished", "complete"]
    assert {one["site"] for one in shown["attempts"]} == {"norte"}
    assert (shown["link"], shown["links"]) == (3, 5)
    assert stdout(net.full(number)) == "link 3\n"


def test_a_link_is_warned_and_may_ask_to_go_on(net: Net) -> None:
    script = "trap 'echo saved; exit 75' USR1; " + COUNT
    script += '[ "$n" -ge 2 ] && exit 0; while :; do sleep 0.1; done'
    task = net.run(keeper(script, "aviso", walltime="20", warning="18", chain="2"))
    assert task["state"] == "COMPLETE", task
    assert [log["logs"][0]["exit_code"] for log in task["logs"]] == [75, 0]
    assert task["logs"][0]["logs"][0]["stdout"] == "link 1\nsaved\n"


def test_who_does_not_listen_to_the_warning_is_not_hurt(net: Net) -> None:
    task = net.run(keeper("sleep 3; echo well", "sorda", walltime="60", warning="58"))
    assert (task["state"], stdout(task)) == ("COMPLETE", "well\n")


def test_a_chain_ends_when_a_link_fails_or_was_the_last(net: Net) -> None:
    failed = net.run(keeper("exit 3", "falla", chain="9"))
    assert (failed["state"], len(failed["logs"])) == ("EXECUTOR_ERROR", 1)
    last = net.run(keeper("exit 75", "ultima", chain="3"))
    assert (last["state"], len(last["logs"])) == ("EXECUTOR_ERROR", 3)


def test_a_chain_is_cancelled_as_one(net: Net) -> None:
    number = net.submit(keeper(COUNT + FOREVER, "cortada", walltime="1", chain="100"))
    until(lambda: len(net.show(number)["attempts"]) > 1 or None, "a second link")
    net.call("POST", f"/api/v1/tasks/{number}/cancel")
    net.wait(number, "CANCELED")
    until(lambda: _quiet(net, number), "its last link to be dead")
    assert net.run(keeper("cat /state/n", "cortada"))["state"] == "COMPLETE"


def _quiet(net: Net, number: str) -> bool | None:
    states = [one["state"] for one in net.show(number)["attempts"]]
    return True if states[-1] in ("canceled", "unfinished", "complete") else None


def test_an_agent_that_is_killed_changes_nothing(net: Net) -> None:
    """Its link goes on, nobody else gets the volume meanwhile, and the chain goes on after it."""
    script = COUNT + '[ "$n" -ge 2 ] && exit 0; until [ -e /go ]; do sleep 0.1; done; exit 75'
    number = net.submit(keeper(script, "muerte", chain="2"))
    attempt = net.started(number)
    beside = net.submit(keeper("cat /state/n", "muerte"))
    agent = net.stage.sites["norte"]
    assert agent.popen is not None
    agent.popen.send_signal(signal.SIGKILL)
    agent.popen.wait()
    agent.start()
    until(lambda: "waits for volume muerte" in why(net.full(beside)) or None, "the other to wait")
    (net.root(attempt) / "go").touch()
    assert net.wait(number)["state"] == "COMPLETE"
    assert net.wait(beside)["state"] == "COMPLETE"
    assert len(net.show(number)["attempts"]) == 2


def test_a_volume_is_listed_and_deleted_by_its_project_alone(net: Net) -> None:
    net.run(keeper("head -c 3000000 /dev/zero > /state/x", "vieja"))
    told = until(lambda: held(net, "vieja"), "the volume to be told")
    assert (told["release"], told["mounted"]) == ("anything", False)
    path = "/api/v1/volumes/norte/vieja"
    assert net.call("DELETE", path, "beto").status_code == 404
    assert net.call("DELETE", path).json()["removing"]
    until(lambda: True if held(net, "vieja") is None else None, "the volume to go")
    again = net.run(keeper("ls -A /state", "vieja"))
    assert (again["state"], stdout(again)) == ("COMPLETE", "")
