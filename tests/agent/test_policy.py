"""`ayni site policy check` and the site's last word: the same judgement, told rule by rule."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ayni.agent import config, policy
from ayni.agent.judge import https_hosts, objections
from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.tes.models import Task
from ayni.tes.shape import shape_of
from tests.agent.assignments import WHO

TOML = """
hub = "http://hub"
[policy]
members = ["CL"]
max_memory = "1GiB"
https_from = ["*.un.org"]
[images.host]
[images.alpine]
alias = "host"
[images.r]
runtime = "apptainer"
image = "/r.sif"
[executor]
cores = 4
memory = "8GiB"
"""


def loaded(text: str = TOML) -> config.Config:
    return config.parse(text, Path("/etc/ayni/agent.toml"))


def task(*images: str, **more: Any) -> Task:
    executors = [{"image": image, "command": ["true"]} for image in images or ("host",)]
    return Task.model_validate({"executors": executors, **more})


def answers(asked: Task, text: str = TOML) -> dict[str, bool]:
    lines = policy.check(loaded(text), asked, shape_of(asked), WHO)
    return {line.rule: line.ok for line in lines}


def test_every_rule_has_its_line() -> None:
    found = answers(task())
    assert list(found) == [
        "member", "project", "person", "image", "network", "cores", "memory", "gpus", "nodes",
        "walltime", "channels", "volume", "https",
    ]  # fmt: skip
    assert all(found.values())


def test_a_site_that_gives_no_room_takes_no_task_with_a_volume() -> None:
    asked = task(resources={"backend_parameters": {"volume": "state:/state"}})
    assert answers(asked)["volume"]
    assert not answers(asked, TOML + "[volumes]\nquota = 0\n")["volume"]
    own = TOML + f'[volumes]\nquota = 0\n[volumes.projects]\n"{WHO.project}" = "1GiB"\n'
    assert answers(asked, own)["volume"]


@pytest.mark.parametrize(
    ("asked", "rules"),
    [
        (task("debian"), {"image"}),
        (task("host", "alpine"), set()),
        (task("host", "r"), {"image"}),
        (task(resources={"ram_gb": 2}), {"memory"}),
        (task(resources={"cpu_cores": 5}), {"cores"}),
        (task(resources={"backend_parameters": {"walltime": "30d"}}), {"walltime"}),
        (task(resources={"backend_parameters": {"partition": "gpu"}}), {"partition"}),
        (task(inputs=[{"url": "https://data.un.org/a", "path": "/a"}]), set()),
        (task(inputs=[{"url": "http://169.254.169.254/", "path": "/a"}]), {"https"}),
        (task(outputs=[{"url": "HTTPS://Evil.example/a", "path": "/a"}]), {"https"}),
    ],
)
def test_a_refused_task_is_told_which_rules_refuse_it(asked: Task, rules: set[str]) -> None:
    found = answers(asked)
    assert {rule for rule, ok in found.items() if not ok} == rules


def test_hours_are_told_as_passing() -> None:
    text = TOML.replace("[policy]", '[policy]\nhours = [{begin = "20:00", end = "07:00"}]')
    asked = task()
    noon = datetime(2025, 6, 2, 12, tzinfo=UTC)
    lines = policy.check(loaded(text), asked, shape_of(asked), WHO, noon)
    assert not lines[-1].ok and "within them" in lines[-1].message


def test_hosts_are_those_of_inputs_and_outputs_however_they_are_written() -> None:
    asked = task(
        inputs=[
            {"url": "https://A.example./x", "path": "/a"},
            {"url": "ayni://p/x", "path": "/b"},
            {"content": "https://not.a.url/", "path": "/c"},
            {"url": "https://[::1]/x", "path": "/d"},
            {"url": "https://[broken", "path": "/e"},
        ],
        outputs=[{"url": "http://b.example:8080/y", "path": "/y"}],
    )
    assert https_hosts(asked) == {"a.example", "::1", "https://[broken", "b.example"}


@given(st.integers(1, 8), st.floats(0.1, 20), st.booleans(), st.sampled_from(["host", "x", "r"]))
def test_the_dry_run_says_no_exactly_when_the_agent_would(
    cores: int, ram: float, network: bool, image: str
) -> None:
    asked = task(
        image,
        resources={
            "cpu_cores": cores,
            "ram_gb": ram,
            "backend_parameters": {"network": str(network).lower()},
        },
    )
    here, shape = loaded(), shape_of(asked)
    refused = any(objections(here, asked, shape, WHO, policy.queues(here)))
    assert refused is not all(answers(asked).values())


def test_the_command_explains_itself_and_its_exit_code_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(TOML)
    good, bad = tmp_path / "good.json", tmp_path / "bad.yaml"
    good.write_text(json.dumps({"executors": [{"image": "host", "command": ["true"]}]}))
    bad.write_text("executors: [{image: debian, command: [ls]}]")
    here = ["--config", str(tmp_path / "agent.toml")]
    run = CliRunner().invoke
    yes = run(build(), ["site", "policy", "check", str(good), *here])
    assert yes.exit_code == 0 and "would take it" in yes.output and "give --as" in yes.output
    no = run(build(), ["site", "policy", "check", str(bad), "--as", "MX/p/a@b.mx", "--json", *here])
    assert no.exit_code == 1
    said = json.loads(no.output)
    assert said["taken"] is False
    assert {ln["rule"] for ln in said["lines"] if not ln["ok"]} == {"member", "image"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("executors: []", "executors"),
        ("{", "neither JSON nor YAML"),
        ("[]", "task"),
        (None, "read"),
    ],
)
def test_what_is_no_task_is_said_to_be_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "task.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        policy.read_task(path)


def test_who_asks_is_written_in_three_parts() -> None:
    assert policy.read_who("CL/p/a@b.c").project == "p"
    with pytest.raises(UserError, match="MEMBER/PROJECT/EMAIL"):
        policy.read_who("a@b.c")
