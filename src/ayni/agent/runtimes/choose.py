"""Which runtimes a site uses, and what a doctor says of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ayni.agent.runtimes import probe
from ayni.agent.runtimes.apptainer import ApptainerRuntime
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import Finding, Runtime
from ayni.agent.runtimes.charliecloud import CharliecloudRuntime
from ayni.agent.runtimes.etc import write_etc
from ayni.agent.runtimes.host import BubblewrapRuntime, HostFiles, NamespaceRuntime

_NOT_AS_ROOT = Finding(
    "sandbox: bubblewrap",
    False,
    "to the kernel, a job that root starts by bubblewrap is root",
    "run the agent as an ordinary user",
)


class NoSandbox(Exception):
    """Nothing here can isolate a job, and the operator has not said to do without."""


def host_runtime(state: Path, *, allow_unsandboxed: bool) -> tuple[Runtime, Sequence[Finding]]:
    """The best way to run on the host's files that works here, and what was found on the way.

    Raises:
        NoSandbox: none works; the text says why and what to do.
    """
    files = HostFiles(write_etc(state / "etc"))
    findings: list[Finding] = []
    for runtime in (NamespaceRuntime(files), BubblewrapRuntime(files)):
        finding = runtime.findings()[0]
        if isinstance(runtime, BubblewrapRuntime) and os.geteuid() == 0:
            finding = _NOT_AS_ROOT
        findings.append(finding)
        if finding.works:
            return runtime, findings
    if not allow_unsandboxed:
        why = ". ".join(f"{f.name}: {f.detail} (remedy: {f.remedy})" for f in findings)
        raise NoSandbox(f"no sandbox works here. {why}")
    bare = BareRuntime()
    return bare, [*findings, *bare.findings()]


def runtimes(
    state: Path, names: set[str], *, allow_unsandboxed: bool
) -> tuple[dict[str, Runtime], Sequence[Finding]]:
    """The runtimes that a site's images name.

    Raises:
        NoSandbox: see `host_runtime`.
    """
    found: dict[str, Runtime] = {}
    findings: list[Finding] = []
    if "host" in names:
        found["host"], findings[:] = host_runtime(state, allow_unsandboxed=allow_unsandboxed)
    for runtime in (CharliecloudRuntime(), ApptainerRuntime()):
        if runtime.name in names:
            found[runtime.name] = runtime
            findings += runtime.findings()
    return found, findings


def doctor(state: Path, names: set[str]) -> Sequence[Finding]:
    """All that can be said of runtimes and limits on this machine."""
    files = HostFiles(write_etc(state / "etc"))
    checks: list[Runtime] = []
    if "host" in names:
        checks += [NamespaceRuntime(files), BubblewrapRuntime(files)]
    checks += [r for r in (CharliecloudRuntime(), ApptainerRuntime()) if r.name in names]
    return [*(f for runtime in checks for f in runtime.findings()), probe.limits()]
