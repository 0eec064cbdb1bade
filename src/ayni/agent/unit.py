"""The systemd unit of an agent. `docs/operators/ayni-site.service` is the same text."""

from __future__ import annotations

UNIT = """\
# /etc/systemd/system/ayni-site.service: the agent of a site of the Ayni network.
#   useradd --system --home-dir /var/lib/ayni --shell /usr/sbin/nologin ayni
#   systemctl daemon-reload && systemctl enable --now ayni-site
[Unit]
Description=Ayni: this site's agent
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User={user}
ExecStart={command} site run --config {config}
# Behind a proxy:
#Environment=HTTPS_PROXY=http://proxy.example:3128 NO_PROXY=localhost

# The agent may be killed at any instant and goes on from its journal. 2: a mistake in the
# configuration, 3: another agent speaks for this site; a restart would mend neither.
Restart=always
RestartSec=5
RestartPreventExitStatus=2 3

# Running tasks are not the agent's: they go on while it is restarted or upgraded.
KillMode=process
# Limits of tasks by cgroups of their own. Without this they are best effort.
Delegate=yes
# The agent's own place in there, so that it can be started again while tasks run. systemd before
# 254 passes over this line: there the start is refused, and tried again, until tasks have ended.
DelegateSubgroup=ayni-agent
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=65536

# The agent itself needs little. Not set, since tasks' sandboxes need what they forbid:
# RestrictNamespaces, ProtectControlGroups, PrivateDevices (GPUs), and what covers parts of /proc
# (ProtectKernelTunables, ProtectKernelLogs, ProtectProc, ProcSubset): the kernel then refuses
# a sandbox a /proc of its own.
UMask=0027
StateDirectory=ayni
StateDirectoryMode=0700
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths=/var/lib/ayni
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelModules=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


#: With these, systemd lets no program of the service have another user's rights, sudo's too, or
#: forbids folders that hand their group on. (All but the first three imply `NoNewPrivileges`.)
_AGAINST_SUDO = frozenset(
    {
        "NoNewPrivileges=yes", "CapabilityBoundingSet=", "RestrictSUIDSGID=yes",
        "ProtectKernelModules=yes", "RestrictRealtime=yes", "LockPersonality=yes",
        "SystemCallArchitectures=native",
    }
)  # fmt: skip


def unit(command: str, config: str, user: str = "ayni", *, sudo: bool = False) -> str:
    """The unit's text.

    Args:
        command: the `ayni` program, absolute.
        config: the agent's TOML file, absolute.
        user: whose processes the agent and its tasks are.
        sudo: the agent acts as local users, by sudo.
    """
    lines = UNIT.format(command=command, config=config, user=user).splitlines(keepends=True)
    return "".join(line for line in lines if not (sudo and line.strip() in _AGAINST_SUDO))
