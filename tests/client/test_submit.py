"""`ayni submit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ayni.client import Network
from ayni.protocol.attempts import AttemptState
from tests.client.conftest import Run, World

DOCUMENT = {"name": "mine", "executors": [{"image": "alpine", "command": ["id"]}]}


def _task(network: Network, result: Any) -> Any:
    assert result.code == 0, result.err
    return network.task(result.out.strip())


def test_the_id_is_all_that_stands_on_stdout(cli: Run, network: Network) -> None:
    result = cli("submit", "--", "true")
    assert _task(network, result).id == result.out.strip()
    assert result.err == ""


def test_every_flag_arrives_in_the_task(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    world.agent("chile")
    monkeypatch.setenv("HOME_TOWN", "Valparaíso")
    Path("a.csv").write_text("1,2\n")
    task = _task(
        network,
        cli(
            "submit", "-c", "4", "-m", "8G", "-t", "1h30m", "--gpus", "0", "--name", "fit",
            "--in", "a.csv", "--in", "a.csv:/data/b.csv", "--out", "result/", "--out", "*.png",
            "--image", "host", "--site", "chile", "--zone", "CL", "--network", "--env", "A=b=c",
            "--env", "HOME_TOWN", "--tag", "k=v", "--tag", "bare", "--attempts", "5",
            "--", "python3", "-c", "print('hi')", "--flag",
        ),
    )  # fmt: skip
    document = task.document()
    [executor] = document.executors
    assert executor.command == ["python3", "-c", "print('hi')", "--flag"]
    assert executor.env == {"A": "b=c", "HOME_TOWN": "Valparaíso"}
    shape = task.info.shape
    wanted = {"cores": 4, "memory": 8 << 30, "walltime": 5400, "site": "chile", "network": True}
    assert {key: shape[key] for key in wanted} == wanted
    assert shape["max_attempts"] == 5
    assert shape["zones"] == ["CL"]
    assert document.tags == {"k": "v", "bare": ""}
    assert [i.path for i in document.inputs] == ["/work/a.csv", "/data/b.csv"]
    folder, pictures = document.outputs
    assert folder.url.startswith("ayni://langs/results/fit-")
    assert (folder.path, folder.type.value) == ("/work/result", "DIRECTORY")
    assert (pictures.path, pictures.path_prefix) == ("/work/*.png", "/work")


def test_a_quoted_line_is_for_the_shell(cli: Run, network: Network) -> None:
    task = _task(network, cli("submit", "--", "sort a | uniq > b"))
    assert task.document().executors[0].command == ["sh", "-c", "sort a | uniq > b"]
    assert task.name == "sort"


@pytest.mark.parametrize("name", ["task.json", "task.yaml", "-"])
def test_a_document_is_sent_with_what_the_flags_add(cli: Run, network: Network, name: str) -> None:
    text = json.dumps(DOCUMENT)
    if name != "-":
        Path(name).write_text(text)
    task = _task(network, cli("submit", name, "--cores", "3", "--tag", "a=b", stdin=text))
    document = task.document()
    assert document.name == "mine"
    assert document.executors[0].image == "alpine"
    assert document.resources.cpu_cores == 3


def test_after_dashes_a_json_file_is_a_command(cli: Run, network: Network) -> None:
    task = _task(network, cli("submit", "--", "task.json"))
    assert task.document().executors[0].command == ["task.json"]


def test_an_array_by_number_and_by_table(cli: Run, network: Network) -> None:
    answer = cli("submit", "--array", "3", "--json", "--", "echo", "{{index}}").json
    assert (answer["kind"], answer["size"]) == ("array", 3)
    assert len(network.array(answer["id"])) == 3
    Path("p.csv").write_text("city,n\nLima,1\nQuito,2\n")
    made = cli("submit", "--params", "p.csv", "--json", "--", "plot", "{{city}}", "{{n}}").json
    commands = [t.document().executors[0].command for t in network.array(made["id"]).tasks()]
    assert commands == [["plot", "Lima", "1"], ["plot", "Quito", "2"]]


def test_a_dry_run_makes_nothing_and_says_who_would_take_it(
    cli: Run, network: Network, world: World
) -> None:
    world.agent("chile")
    Path("a.csv").write_text("x")
    result = cli("submit", "--dry-run", "--in", "a.csv", "--", "true")
    assert result.code == 0
    assert "chile" in result.out
    assert "would go to chile" in result.err
    answer = cli("submit", "--dry-run", "--json", "--", "true").json
    assert answer["chosen"] == "chile"
    assert answer["task"]["executors"][0]["command"] == ["true"]
    assert cli("submit", "--dry-run", "--cores", "100000", "--", "true").code == 1
    assert list(network.tasks()) == []
    assert list(network.store.ls()) == []


def test_with_wait_the_exit_code_tells_how_it_ended(
    cli: Run, world: World, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = world.agent()
    state = AttemptState.COMPLETE

    def finish(handles: Any, **_: Any) -> None:
        world.finish(agent, handles[0].id, state=state)
        handles[0].refresh()

    monkeypatch.setattr("ayni.client.commands.following.wait_all", finish)
    result = cli("submit", "--wait", "--", "true")
    assert result.code == 0
    assert "COMPLETE" in result.out
    state = AttemptState.EXECUTOR_ERROR
    assert cli("submit", "--wait", "--", "false").code == 1


def test_ctrl_c_while_inputs_are_sent_says_that_nothing_was_submitted(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ayni.client.store.Store.send", stop)
    Path("a.csv").write_text("x")
    result = cli("submit", "--in", "a.csv", "--", "true")
    assert result.code == 130
    assert "nothing was submitted" in result.err
    assert list(network.tasks()) == []


def test_ctrl_c_while_waiting_says_that_the_task_goes_on(
    cli: Run, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ayni.client.commands.following.wait_all", stop)
    result = cli("submit", "--wait", "--", "true")
    [task] = network.tasks()
    assert result.code == 130
    assert f"task {task.id} goes on" in result.err


BAD = '{"executors": [{"image": "a", "comand": ["x"]}]}'


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give a TES task's file"),
        (("--",), "give a TES task's file"),
        (("nowhere.json",), "nowhere.json: No such file"),
        (("bad.json",), "executors.0.command"),
        (("bad.yaml",), "is no YAML"),
        (("binary.json",), "not UTF-8"),
        (("good.json", "--in", "nowhere"), "no such file"),
        (("--mem", "8 gigs", "--", "true"), "mem: '8 gigs' is no size"),
        (("--mem", "0", "--", "true"), "mem: must be more than nothing"),
        (("--time", "soon", "--", "true"), "time: 'soon' is no duration"),
        (("--time", "9999d", "--", "true"), "walltime"),
        (("--cores", "0", "--", "true"), "cpu_cores"),
        (("--gpus", "-1", "--", "true"), "gpus"),
        (("--in", "nowhere", "--", "true"), "'nowhere': there is no such file"),
        (("--in", "empty", "--", "true"), "holds no file"),
        (("--in", "ayni://other/x", "--", "true"), "other"),
        (("--out", "../up", "--", "true"), "must not hold '..'"),
        (("--env", "NOT_SET_HERE", "--", "true"), "no such variable"),
        (("--env", "1X=2", "--", "true"), "not a name"),
        (("--tag", "=x", "--", "true"), "KEY or KEY=VALUE"),
        (("--after", "nonsense", "--", "true"), "no id"),
        (("--after", "0000000000000:later", "--", "true"), "neither 'ok' nor 'ended'"),
        (("--after", "0000000000000", "--", "true"), "after[0].id"),
        (("--notify", "nobody", "--", "true"), "notify"),
        (("--notify", "stranger@example.org", "--", "true"), "notify[0]"),
        (("--array", "0", "--", "true"), "1 or more"),
        (("--array", "200000", "--", "true"), "count"),
        (("--array", "2", "--params", "p.csv", "--", "true"), "either 'count' or 'parameters'"),
        (("--params", "nowhere.csv", "--", "true"), "nowhere.csv"),
        (("--params", "good.json", "--", "true"), "a list of objects"),
        (("--params", "p.csv", "--", "x", "{{other}}"), "lacks ['other']"),
        (("--name", "x" * 300, "--", "true"), "name"),
        (("--name", "\x1b[31mred", "--", "true"), "control character"),
        (("--site", "no site", "--", "true"), "site"),
        (("--", "\0"), "NUL"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    cli: Run, network: Network, arguments: tuple[str, ...], says: str
) -> None:
    Path("bad.json").write_text(BAD)
    Path("bad.yaml").write_text("a: [")
    Path("good.json").write_text(json.dumps(DOCUMENT))
    Path("binary.json").write_bytes(b"\xff\xfe\x00")
    Path("p.csv").write_text("city\nLima\n")
    Path("empty").mkdir()
    result = cli("submit", *arguments)
    assert result.code == 2
    assert result.err.startswith("ayni: ")
    assert result.err.count("\n") == 1
    assert "\x1b" not in result.err
    assert says in result.err
    assert list(network.tasks()) == []


@pytest.mark.parametrize(
    "arguments", [("--cores", "many", "--", "true"), ("ls", "-l"), ("--nonsense",)]
)
def test_a_flag_that_is_none_is_exit_code_2(cli: Run, arguments: tuple[str, ...]) -> None:
    result = cli("submit", *arguments)
    assert result.code == 2
    assert "Traceback" not in result.err
