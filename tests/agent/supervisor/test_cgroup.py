"""Limits by cgroup v2, on a copy of the kernel's tree."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ayni.agent.supervisor import cgroup
from ayni.agent.supervisor.cgroup import Group

LIMITS = {"cores": 2, "memory": 1 << 30, "processes": 100}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "user.slice" / "ayni.service"
    folder.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.procs").write_text("12\n34\n")
    (folder / "cgroup.subtree_control").write_text("")
    return folder


def test_the_own_cgroup_is_found(tree, tmp_path):
    (tmp_path / "self").write_text("4:memory:/x\n0::/user.slice/ayni.service\n")
    assert cgroup.own_path(str(tmp_path / "self"), str(tmp_path)) == str(tree)


def test_an_agent_in_its_leaf_was_given_what_is_above(tree, tmp_path):
    (tmp_path / "self").write_text("0::/user.slice/ayni.service/ayni-agent\n")
    assert cgroup.own_path(str(tmp_path / "self"), str(tmp_path)) == str(tree)


def test_a_machine_with_version_one_has_none(tmp_path):
    (tmp_path / "self").write_text("4:memory:/x\n0::/\n")
    assert cgroup.own_path(str(tmp_path / "self"), str(tmp_path)) is None


@pytest.mark.parametrize(
    ("own", "file"),
    [
        ("0::/job_7/step_batch\n", "job_7/step_batch/memory.events"),
        (
            "9:cpuset:/other\n4:memory:/job_7/step_batch\n0::/\n",
            "memory/job_7/step_batch/memory.oom_control",
        ),
    ],
)
def test_what_the_kernel_killed_for_memory_in_the_own_cgroup_is_counted(tmp_path, own, file):
    (tmp_path / "self").write_text(own)
    assert cgroup.oom_kills(str(tmp_path / "self"), str(tmp_path)) == 0
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert cgroup.oom_kills(str(tmp_path / "self"), str(tmp_path)) == 2


def test_a_delegated_subtree_lacks_nothing(tree):
    assert cgroup.missing(str(tree)) == ""


def test_what_is_not_delegated_is_named(tree):
    (tree / "cgroup.controllers").write_text("cpu pids\n")
    assert cgroup.missing(str(tree)) == "not delegated: memory"
    assert cgroup.missing(None) == "cgroup v2 is not in use"


def test_cores_are_held_only_where_the_cpu_controller_is_delegated(tree):
    assert cgroup.holds_cores(str(tree))
    (tree / "cgroup.controllers").write_text("memory pids\n")
    assert cgroup.missing(str(tree)) == ""
    assert not cgroup.holds_cores(str(tree))
    assert not cgroup.holds_cores(None)


def test_a_subtree_of_somebody_else_is_not_used(tree):
    if os.geteuid() == 0:
        (tree / "cgroup.procs").unlink()
    else:
        (tree / "cgroup.procs").chmod(0o444)
    assert "not delegated to it" in cgroup.missing(str(tree))


def test_the_agents_own_processes_go_into_a_leaf(tree):
    cgroup.prepare(str(tree))
    assert (tree / "ayni-agent" / "cgroup.procs").read_text() in ("12", "34")
    assert (tree / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_a_job_gets_its_limits(tree):
    folder = tree / "ayni-job-1"
    folder.mkdir()
    for name in ("memory.swap.max", "memory.oom.group", "cpu.max"):
        (folder / name).write_text("max")
    group = Group(str(tree), "job-1")
    group.create(LIMITS)
    group.add(77)
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert texts == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "100",
        "cpu.max": "200000 100000",
        "cgroup.procs": "77",
    }


def test_what_a_job_used_is_read(tree):
    folder = tree / "ayni-job-1"
    folder.mkdir()
    (folder / "memory.peak").write_text("12345\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    group = Group(str(tree), "job-1")
    assert group.peak_memory() == 12345
    assert group.cpu_seconds() == 2.5
    assert group.was_out_of_memory()
    assert not group.was_out_of_processes()


def test_a_group_that_is_gone_used_nothing(tree):
    group = Group(str(tree), "job-2")
    group.kill()
    group.remove()
    assert (group.peak_memory(), group.cpu_seconds(), group.was_out_of_memory()) == (0, 0.0, False)


def test_a_real_group_is_killed_whole():
    """cgroup.kill is there without any controller, so that much is tried for real."""
    mounts = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    roots = [root for root in mounts if (root / "cgroup.procs").exists()]
    roots = [root for root in roots if os.access(root, os.W_OK)]
    if not roots:
        pytest.skip("no writable cgroup v2 here")
    group = Group(str(roots[0]), f"test-{os.getpid()}")
    try:
        Path(group.path).mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    pid = os.fork()
    if pid == 0:
        os.execvp("sleep", ["sleep", "60"])
    group.add(pid)
    group.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    group.remove()
    assert not Path(group.path).exists()
    shutil.rmtree(group.path, ignore_errors=True)
