"""The site's own users for whom batch jobs run."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from ayni.agent import config, localusers
from ayni.agent.judge import objections
from ayni.agent.localusers import LocalUser
from ayni.agent.supervisor import sharing
from ayni.errors import UserError
from ayni.tes.models import Task
from ayni.tes.shape import shape_of
from tests.agent.assignments import WHO

SLURM = """
hub = "https://hub.example"
[executor]
kind = "slurm"
[executor.slurm]
shared = "/scratch/ayni"
"""
MAPPED = SLURM + '[executor.slurm.projects.maize]\nuser = "ana"\n'


def read(text: str) -> config.Config:
    return config.parse(text, Path("/etc/ayni/agent.toml"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int, list[int]]]:
    """Users by name, with their groups; the agent is 100, in the groups 201 and 202."""
    users = {
        "ana": (11, 201, []),
        "luis": (12, 202, []),
        "eva": (13, 203, []),
        "root": (0, 0, []),
        "ayni": (100, 200, []),
        "team": (14, 200, []),
    }

    def named(name: str) -> SimpleNamespace:
        uid, gid, _ = users[name]
        return SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid)

    monkeypatch.setattr(pwd, "getpwnam", named)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: named("ayni"))
    monkeypatch.setattr(os, "geteuid", lambda: 100)
    monkeypatch.setattr(os, "getegid", lambda: 200)
    monkeypatch.setattr(os, "getgroups", lambda: [200, 201, 202])
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, *users[name][2]])
    return users


def test_users_are_found_with_their_groups(machine):
    assert localusers.find(["luis", "ana"]) == {
        "ana": LocalUser("ana", 11, 201),
        "luis": LocalUser("luis", 12, 202),
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody-here", "there is no user nobody-here here"),
        ("root", "user root is root"),
        ("ayni", "user ayni is the agent's own user"),
        ("team", "user team has the agent's own group"),
        ("eva", "usermod -aG 203 ayni"),
    ],
)
def test_a_user_that_cannot_be_used_is_told_with_the_remedy(machine, name, words):
    with pytest.raises(UserError, match=words):
        localusers.find(["ana", name])


def test_two_users_never_share_the_group_by_which_files_are_shared(machine):
    machine["luis"] = (12, 202, [201])
    with pytest.raises(UserError, match="ana and luis are both in group 201"):
        localusers.find(["ana", "luis"])


def test_the_folders_let_each_user_see_its_own_alone(tmp_path):
    user = LocalUser("ana", os.getuid(), os.getgid())
    localusers.prepare(tmp_path / "work", tmp_path / "executor", [user])
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*")
    }
    assert modes == {
        "work": 0o711,
        "executor": 0o711,
        "executor/ana": sharing.READ,
        "executor/ana/jobs": sharing.READ,
        "executor/ana/pools": sharing.READ,
        "executor/ana/cancels": sharing.READ,
        "executor/ana/events": sharing.ADD,
        "executor/ana/logs": sharing.ADD,
    }


# --- what the configuration means


def test_projects_without_a_local_user_are_not_for_this_site():
    site = read(MAPPED + '[executor.slurm.projects.clima]\naccount = "clima"\n')
    assert site.network_policy.projects == ["maize"]
    task = Task.model_validate({"executors": [{"image": "host", "command": ["true"]}]})
    for project, refused in (("maize", False), ("clima", True), ("otra", True)):
        who = WHO.model_copy(update={"project": project})
        said = [reason.message for reason in objections(site, task, shape_of(task), who)]
        assert (f"has no local user for project {project}" in said) is refused


def test_a_user_for_all_takes_every_project():
    site = read(SLURM + 'user = "net"\n[executor.slurm.projects.maize]\nuser = "ana"\n')
    assert site.local_users == {"net", "ana"}
    assert site.network_policy.projects is None
    assert site.has_user_for("otra")


def test_what_the_policy_says_of_projects_stands():
    site = read(MAPPED.replace("[executor]", '[policy]\nprojects = ["m*"]\n[executor]'))
    assert site.network_policy.projects == ["m*"]


def test_local_users_bound_what_a_task_can_do_without_a_sandbox():
    assert not read('allow_unsandboxed = true\nsandbox = "none"\n' + MAPPED).needs_sandbox
    assert read(MAPPED).needs_sandbox, "unless its operator says so"


@pytest.mark.parametrize("name", ["-u", "a b", "ana;id", "", "../x", "%wheel", "#0"])
def test_what_is_no_name_of_a_user_is_refused(name):
    with pytest.raises(UserError, match=r"projects\.maize\.user"):
        read(MAPPED.replace('"ana"', f'"{name}"'))


def test_the_local_executor_has_no_local_users():
    assert read(MAPPED.replace('kind = "slurm"', 'kind = "local"')).local_users == set()
