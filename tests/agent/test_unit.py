"""The systemd unit: what it must not forbid."""

from __future__ import annotations

from ayni.agent.supervisor import cgroup
from ayni.agent.unit import unit


def test_the_unit_leaves_proc_as_it_is() -> None:
    """The kernel gives a sandbox no /proc of its own while parts of the site's are covered."""
    settings = {line.partition("=")[0] for line in unit("ayni", "agent.toml").splitlines()}
    covering = {"ProtectKernelLogs", "ProtectKernelTunables", "ProtectProc", "ProcSubset"}
    assert not settings & covering
    assert not settings & {"RestrictNamespaces", "ProtectControlGroups"}


def test_the_agents_place_among_its_tasks_groups_is_the_one_that_it_looks_for() -> None:
    """A group whose controllers are handed on takes no process itself (cgroup v2)."""
    assert f"DelegateSubgroup={cgroup._LEAF}" in unit("ayni", "agent.toml").splitlines()
