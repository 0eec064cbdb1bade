"""From an assignment to a job: what the operator's file adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ayni.agent import config
from ayni.agent.jobs import job_of
from ayni.protocol.release import Release, Rule
from tests.agent.assignments import assignment

ASKED = {"backend_parameters": {"network": "true"}}


@pytest.mark.parametrize(
    ("policy", "image", "resources", "given"),
    [
        (True, True, {}, True),
        (True, False, {}, False),
        (True, False, ASKED, True),
        (False, True, {}, False),
        (False, False, {}, False),
    ],
)
def test_an_image_gives_the_network_only_where_the_policy_does(
    policy: bool, image: bool, resources: dict[str, Any], given: bool
) -> None:
    text = f"""
        hub = "http://hub"
        policy.network = {str(policy).lower()}
        [images.host]
        network = {str(image).lower()}
        [images.other]
        alias = "host"
    """
    site = config.parse(text, Path("/etc/ayni/agent.toml"))
    for name in ("host", "other"):
        task = assignment(
            "a", resources=resources, executors=[{"image": name, "command": ["true"]}]
        )
        assert job_of(site, task, Path("/work/a")).network is given


def test_a_job_is_of_its_project() -> None:
    site = config.parse('hub = "http://hub"', Path("/etc/ayni/agent.toml"))
    assert job_of(site, assignment("a"), Path("/work/a")).project == "poesia"


@pytest.mark.parametrize("release", [Release.NOTHING, Release.AGGREGATE])
def test_an_image_gives_no_network_to_a_task_that_read_restricted_data(release: Release) -> None:
    text = """
        hub = "http://hub"
        policy.network = true
        [images.host]
        network = true
    """
    site = config.parse(text, Path("/etc/ayni/agent.toml"))
    rule = Rule(release, 100, "censo")
    assert not job_of(site, assignment("a"), Path("/work/a"), rule=rule).network


@pytest.mark.parametrize(
    ("asked", "most", "sure"),
    [(None, 10 << 30, 1 << 30), (2.0, 10 << 30, 4 * 10**9), (100.0, 200 * 10**9, 200 * 10**9)],
)
def test_a_task_may_take_what_it_asked_of_the_disk_for_inputs_and_again_for_outputs(
    asked: float | None, most: int, sure: int
) -> None:
    site = config.parse('hub = "http://hub"\nlimits.work = "10GiB"', Path("/etc/ayni/agent.toml"))
    resources = {} if asked is None else {"disk_gb": asked}
    limits = job_of(site, assignment("a", resources=resources), Path("/work/a")).limits
    assert (limits.disk, limits.sure_disk) == (most, sure)
