"""What is submitted: a script and options in which nothing stands that a user wrote."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.slurm import script
from ayni.agent.executors.slurm.pools import Batch, Key
from ayni.agent.executors.slurm.script import Rules, Terms

KEY = Key("fisica: Ana <ana@x>", "", "main", 2, 1 << 30, 600, 10.0, 0)
BATCH = Batch(1, 3, 6, (3 << 30) + 1, 0, 1261, 2.0)


def options(key: Key = KEY, batch: Batch = BATCH, rules: Rules | None = None) -> list[str]:
    return script.options("ayni-abc-def", batch, key, rules or Rules(), "/shared/pool.log")


@given(st.text(min_size=4, max_size=40), st.text(min_size=4, max_size=40))
def test_the_script_is_the_same_whoever_the_owner_is(owner, share):
    theirs = script.text("/shared/state", "pool", BATCH, replace(KEY, owner=owner, share=share))
    assert theirs == script.text("/shared/state", "pool", BATCH, KEY)


def test_the_script_becomes_a_pilot_with_its_time_and_its_slots():
    shebang, command, end = script.text("/a folder/it's", "pool", BATCH, KEY, "/opt/python").split(
        "\n"
    )
    assert (shebang, end) == ("#!/bin/sh", "")
    words = shlex.split(command)
    assert words[:2] == ["exec", "/opt/python"]
    state, pool, config = json.loads(words[-1])
    assert (state, pool) == ("/a folder/it's", "pool")
    assert config == {"slots": 3, "seconds": 1261, "linger": 2.0, "need": [2, 1 << 30, 0]}


def test_times_and_sizes_are_rounded_up():
    found = options()
    assert "--time=22" in found
    assert f"--mem={3 * 1024 + 1}M" in found
    assert "--cpus-per-task=6" in found


def test_a_batch_job_is_never_run_twice_and_takes_nothing_of_the_agent_s_environment():
    assert {"--no-requeue", "--export=ALL"} <= set(options())


def test_only_several_batch_jobs_are_an_array():
    assert not any(word.startswith("--array") for word in options())
    assert "--array=0-4" in options(batch=replace(BATCH, count=5))


def test_gpus_are_asked_for_by_number():
    assert "--gres=gpu:2" in options(batch=replace(BATCH, gpus=2))
    assert not any("gres" in word for word in options())


@pytest.mark.parametrize("name", ["account", "qos", "reservation", "constraint"])
def test_the_operator_s_rules_are_options(name):
    assert f"--{name}=x" in options(rules=Rules(**{name: "x"}))
    assert not any(word.startswith(f"--{name}=") for word in options())


@pytest.mark.parametrize(
    ("project", "account", "qos", "reservation"),
    [
        ("maize", "agro", "long", "campaign"),
        ("clima-norte", "clima", "normal", None),
        ("clima-sur", "sur", "normal", None),
        ("poesia", "ayni", "normal", None),
        ("", "ayni", "normal", None),
    ],
)
def test_a_project_s_own_terms_go_before_a_pattern_s_and_those_before_everybody_s(
    project, account, qos, reservation
):
    projects = {
        "clima-*": Terms(account="clima"),
        "clima-sur": Terms(account="sur"),
        "maize": Terms("agro", "long", "campaign"),
    }
    rules = Rules(account="ayni", qos="normal", projects=projects)
    found = options(replace(KEY, project=project), rules=rules)
    given = [word for word in found if word.startswith(("--account", "--qos", "--reservation"))]
    expected = [f"--account={account}", f"--qos={qos}"]
    assert given == expected + ([f"--reservation={reservation}"] if reservation else [])


def test_the_operator_s_own_options_come_last_so_that_they_win():
    rules = Rules(options=("--requeue",), partition_options={"main": ["--nice=5"], "large": ["-H"]})
    assert options(rules=rules)[-2:] == ["--requeue", "--nice=5"]


@given(st.text(max_size=400))
def test_an_owner_of_any_text_is_one_clean_word(owner):
    found = [word for word in options(replace(KEY, owner=owner)) if word.startswith("--comment=")]
    assert len(found) == 1
    text = found[0].removeprefix("--comment=")
    assert len(text) <= 200
    assert text.isprintable()
    assert not set(text) & set("|'\"\\`")
    found[0].encode()  # a command line is bytes


def test_who_is_behind_a_job_can_be_read_by_the_operator():
    assert "--comment=fisica: Ana <ana@x>" in options()


def test_the_ranks_of_a_task_are_said_with_the_cores_of_each():
    wide = replace(KEY, nodes=3, tasks_per_node=2, cores=4)
    found = options(wide, replace(BATCH, slots=1, cores=4))
    assert {"--nodes=3", "--ntasks-per-node=2", "--cpus-per-task=2"} <= set(found)
