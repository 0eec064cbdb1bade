"""What works on this machine, tried for real, and what to do about what does not."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ayni.agent.executors.base import Command, Job
from ayni.agent.runtimes.base import Finding, ImageSpec, plan_as_json
from ayni.agent.supervisor import boot, cgroup

if TYPE_CHECKING:
    from ayni.agent.runtimes.host import HostFiles

_TIMEOUT = 20  # seconds
_NAMESPACE_REMEDY = (
    "allow user namespaces to the agent's user: sysctl user.max_user_namespaces=15000; on Debian "
    "kernel.unprivileged_userns_clone=1; on Ubuntu 24.04 an AppArmor profile with 'userns,' for "
    "the agent's Python, or kernel.apparmor_restrict_unprivileged_userns=0"
)
_PROC_REMEDY = (
    "the kernel gives a sandbox no /proc while parts of this one are covered: take ProtectKernelLogs, "
    "ProtectKernelTunables, ProtectProc and ProcSubset out of the agent's unit; a container around "
    "the agent must not mask /proc"
)


def _remedy(problem: str) -> str:
    return _PROC_REMEDY if "mount proc" in problem else _NAMESPACE_REMEDY


def namespaces(files: HostFiles) -> Finding:
    """Our own sandbox."""
    from ayni.agent.runtimes.host import NamespaceRuntime

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        job = Job("probe", Path(folder), (Command(("true",)),), "host")
        plan = NamespaceRuntime(files).plan(ImageSpec(), job)
        sandbox = plan_as_json(job, plan, 0.0)["sandbox"]
        words = boot.command("check", sandbox)
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    problem = (done.stdout + done.stderr).strip()
    if not problem:
        return Finding("sandbox: namespaces", True, "user namespaces work")
    return Finding("sandbox: namespaces", False, problem.splitlines()[-1], _remedy(problem))


def bubblewrap(path: str) -> Finding:
    """Bubblewrap: present, and allowed to do its work."""
    name = "sandbox: bubblewrap"
    found = shutil.which(path)
    if found is None:
        return Finding(name, False, "bwrap is not on PATH", "install the package bubblewrap")
    words = [found, "--unshare-all", "--disable-userns", "--unshare-user", "--die-with-parent"]
    words += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode == 0:
        return Finding(name, True, found)
    problem = done.stderr.strip() or f"it ended with {done.returncode}"
    return Finding(name, False, problem, _remedy(problem))


def program(path: str, name: str, arguments: tuple[str, ...]) -> Finding:
    """A container program: present, and it answers."""
    found = shutil.which(path)
    if found is None:
        return Finding(name, False, f"{path} is not on PATH", f"install {name}, if images need it")
    done = subprocess.run(
        [found, *arguments], capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    version = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode != 0:
        return Finding(name, False, f"{found} ended with {done.returncode}", f"repair {name}")
    return Finding(name, True, f"{found} {version[0] if version else ''}".strip())


def limits() -> Finding:
    """Whether the kernel holds the limits, or our watcher only."""
    problem = cgroup.missing(cgroup.own_path())
    if not problem:
        return Finding("limits: cgroup", True, "memory and processes are limited by the kernel")
    return Finding(
        "limits: cgroup",
        False,
        f"best effort: a watcher ends what is over its limits ({problem})",
        "let systemd delegate a subtree: Delegate=yes in the agent's unit",
    )
