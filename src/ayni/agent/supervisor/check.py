"""Try the sandbox: run a command in it, and say what the kernel refuses."""

from __future__ import annotations

import os
import select
from typing import Any

from ayni.agent.supervisor import launch, namespaces

_LIMITS = {"processes": 64}
_PATIENCE = 10_000  # milliseconds


def main(sandbox: dict[str, Any]) -> None:
    """Print nothing if `true` runs in the sandbox, else why it does not."""
    command = {"argv": ["true"], "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/", "arguments": None}
    null = os.open(os.devnull, os.O_RDWR)
    namespaces.give_away(sandbox["root"])
    try:
        pid, control = launch.start(command, _LIMITS, sandbox, (null, null, 2), lambda _: None)
    except OSError as error:
        print(error)
        return
    poller = select.poll()
    poller.register(control.fileno(), select.POLLIN)
    while poller.poll(_PATIENCE):
        said = launch.heard(control)
        if said is None:
            break
        if said[0]:
            print(said[0])
            os.waitpid(pid, 0)
            return
    code = launch.exit_code(os.waitpid(pid, 0)[1])
    if code != 0:
        print(f"the command ended with {code}")
