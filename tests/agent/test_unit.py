"""The systemd unit: what it must not forbid."""

from __future__ import annotations

from ayni.agent.unit import unit


def test_the_unit_leaves_proc_as_it_is() -> None:
    """The kernel gives a sandbox no /proc of its own while parts of the site's are covered."""
    settings = {line.partition("=")[0] for line in unit("ayni", "agent.toml").splitlines()}
    covering = {"ProtectKernelLogs", "ProtectKernelTunables", "ProtectProc", "ProcSubset"}
    assert not settings & covering
    assert not settings & {"RestrictNamespaces", "ProtectControlGroups"}
