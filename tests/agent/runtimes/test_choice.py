"""Which sandbox a site uses, and what it is told where none works."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ayni.agent.executors.local import LocalExecutor
from ayni.agent.runtimes import choose, probe
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import Finding
from ayni.agent.runtimes.choose import NoSandbox, doctor, host_runtime
from ayni.agent.runtimes.etc import write_etc
from ayni.agent.runtimes.host import BubblewrapRuntime, HostFiles, NamespaceRuntime
from ayni.agent.supervisor import boot


def finding(works: bool) -> Finding:
    return Finding("sandbox", works, "it was forbidden", "allow it")


def set_up(monkeypatch, *, namespaces: bool, bubblewrap: bool, user: int = 1001) -> None:
    monkeypatch.setattr(probe, "namespaces", lambda files: finding(namespaces))
    monkeypatch.setattr(probe, "bubblewrap", lambda path: finding(bubblewrap))
    monkeypatch.setattr(choose.os, "geteuid", lambda: user)


def test_our_own_sandbox_comes_first(monkeypatch, tmp_path):
    set_up(monkeypatch, namespaces=True, bubblewrap=True)
    assert isinstance(host_runtime(tmp_path, allow_unsandboxed=False)[0], NamespaceRuntime)


def test_bubblewrap_comes_second(monkeypatch, tmp_path):
    set_up(monkeypatch, namespaces=False, bubblewrap=True)
    assert isinstance(host_runtime(tmp_path, allow_unsandboxed=False)[0], BubblewrapRuntime)


def test_bubblewrap_is_not_for_an_agent_that_is_root(monkeypatch, tmp_path):
    set_up(monkeypatch, namespaces=False, bubblewrap=True, user=0)
    with pytest.raises(NoSandbox, match="ordinary user"):
        host_runtime(tmp_path, allow_unsandboxed=False)


def test_a_site_without_any_refuses_and_says_what_to_do(monkeypatch, tmp_path):
    set_up(monkeypatch, namespaces=False, bubblewrap=False)
    with pytest.raises(NoSandbox, match=r"forbidden.*allow it"):
        LocalExecutor(tmp_path, 1, 1 << 30)


def test_a_site_without_any_runs_bare_if_its_operator_says_so(monkeypatch, tmp_path):
    set_up(monkeypatch, namespaces=False, bubblewrap=False)
    runtime, findings = host_runtime(tmp_path, allow_unsandboxed=True)
    assert isinstance(runtime, BareRuntime)
    assert "see the host's files" in findings[-1].detail
    assert findings[-1].remedy


def test_the_probe_says_what_the_kernel_refused(monkeypatch, tmp_path):
    def refused(*args, **kwargs):
        return subprocess.CompletedProcess(args, 0, "[Errno 1] clone: Not permitted\n", "")

    monkeypatch.setattr(probe.subprocess, "run", refused)
    found = probe.namespaces(HostFiles(write_etc(tmp_path / "etc")))
    assert not found.works
    assert "Not permitted" in found.detail
    assert "AppArmor" in found.remedy


def test_a_sandbox_that_cannot_be_built_is_told_by_the_step_that_failed(tmp_path):
    sandbox = {
        "root": str(tmp_path), "network": False, "folders": [], "devices": [], "shm": 1 << 20,
        "mounts": [{"source": "/no/such/folder", "target": "/usr", "writable": False}],
    }  # fmt: skip
    words = boot.command("check", sandbox)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    [said] = done.stdout.splitlines()
    assert "ended with" not in said


def test_a_proc_that_is_covered_has_a_remedy_of_its_own(monkeypatch, tmp_path):
    def refused(*args, **kwargs):
        return subprocess.CompletedProcess(args, 0, "[Errno 1] mount proc: Not permitted\n", "")

    monkeypatch.setattr(probe.subprocess, "run", refused)
    found = probe.namespaces(HostFiles(write_etc(tmp_path / "etc")))
    assert "ProtectKernelLogs" in found.remedy


def test_a_program_that_is_not_installed_is_named_with_its_remedy():
    found = probe.program("no-such-program", "apptainer", ("--version",))
    assert not found.works
    assert "install apptainer" in found.remedy


def test_the_doctor_speaks_of_all_that_the_images_need(tmp_path):
    names = {finding.name for finding in doctor(tmp_path, {"host", "apptainer"})}
    assert names == {"sandbox: namespaces", "sandbox: bubblewrap", "apptainer", "limits: cgroup"}


def test_etc_has_no_secret_and_can_be_read_by_all(tmp_path):
    folder = write_etc(tmp_path / "etc")
    assert (folder / "passwd").read_text().startswith("ayni:x:1000:")
    assert not (folder / "shadow").exists()
    assert not (folder / "ssl" / "private").exists()
    for path in folder.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o004, path


def test_etc_is_brought_up_to_date_where_it_is(tmp_path):
    folder = write_etc(tmp_path / "etc")
    inode = folder.stat().st_ino
    (folder / "passwd").write_text("stale")
    write_etc(folder)
    assert (folder / "passwd").read_text().startswith("ayni:")
    assert folder.stat().st_ino == inode
    assert [path for path in Path(folder).iterdir() if path.name.startswith(".")] == []
    assert os.access(folder, os.R_OK | os.X_OK)
