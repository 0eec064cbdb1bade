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


def test_the_unit_of_an_agent_that_acts_as_local_users_lets_sudo_be_sudo() -> None:
    """What implies NoNewPrivileges for a service with a user: systemd.exec(5)."""
    implying = {
        "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies",
        "RestrictNamespaces", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules",
        "ProtectKernelLogs", "ProtectClock", "ProtectHostname", "MemoryDenyWriteExecute",
        "RestrictRealtime", "RestrictSUIDSGID", "DynamicUser", "LockPersonality",
    }  # fmt: skip
    forbidding = {*implying, "NoNewPrivileges", "CapabilityBoundingSet"}
    given = {line.partition("=")[0] for line in unit("ayni", "a.toml", sudo=True).splitlines()}
    assert not given & forbidding
    usual = {line.partition("=")[0] for line in unit("ayni", "a.toml").splitlines()}
    assert usual - given <= forbidding
    assert "NoNewPrivileges" in usual


def test_the_agents_place_among_its_tasks_groups_is_the_one_that_it_looks_for() -> None:
    """A group whose controllers are handed on takes no process itself (cgroup v2)."""
    assert f"DelegateSubgroup={cgroup._LEAF}" in unit("ayni", "agent.toml").splitlines()
