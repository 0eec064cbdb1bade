"""Kills one process of a stage at a time: hub, agent, spawner, supervisor or payload.

A supervisor or payload is stopped before it is killed, and looked at once more while it cannot move: so it
is known which attempt was hit, and that it had not ended by itself.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ayni.agent.supervisor import files
from ayni.demo.stage import Stage

PATIENCE = 5.0  # seconds for a process to stop


@dataclass
class Punisher:
    #: What is killed, and how often of ten; supervisors and payloads are there only while tasks run.
    KINDS: ClassVar[Mapping[str, int]] = {
        "hub": 1, "agent": 2, "spawner": 1, "supervisor": 3, "payload": 3,
    }  # fmt: skip

    stage: Stage
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    dead_payloads: set[str] = field(default_factory=set)  # attempts whose command was killed
    dead_supervisors: set[str] = field(
        default_factory=set
    )  # … whose supervisor was, before it said how it ended

    def kill_one(self) -> str | None:
        """Kill something that is there; the kind that was killed, or None if nothing was."""
        often = self.KINDS
        kinds = sorted(often, key=lambda kind: self.rng.random() ** (1 / often[kind]), reverse=True)
        for kind in kinds:
            if getattr(self, f"_{kind}")():
                self.kills[kind] += 1
                return kind
        return None

    # Restarts come a little later, so that the others meet the gap.

    def _hub(self) -> bool:
        self.stage.hub.kill()
        time.sleep(self.rng.uniform(0, 1.5))
        self.stage.hub.start()
        self.stage.wait_hub()
        return True

    def _agent(self) -> bool:
        site = self.stage.sites[self.rng.choice(sorted(self.stage.sites))]
        site.kill()
        time.sleep(self.rng.uniform(0, 1.5))
        site.start()
        return True

    def _spawner(self) -> bool:
        found = [pid for name in self.stage.sites for pid in self._spawners(name)]
        return strike(self.rng.choice(found), lambda: True) if found else False

    def _supervisor(self) -> bool:
        found = list(self._claims())
        if not found:
            return False
        folder, pid = self.rng.choice(found)
        if not strike(pid, lambda: self.supervisor_of(folder) == pid):
            return False
        self.dead_supervisors.add(folder.name)
        return True

    def _payload(self) -> bool:
        """Kill the user's own command: the deepest process under a supervisor."""
        found = [(f, s, p) for f, s in self._claims() for p in payloads(s)]
        if not found:
            return False
        folder, supervisor, pid = self.rng.choice(found)

        def still() -> bool:
            return self.supervisor_of(folder) == supervisor and pid in payloads(supervisor)

        if not strike(pid, still):
            return False
        self.dead_payloads.add(folder.name)
        return True

    def _spawners(self, site: str) -> Iterator[int]:
        """The site's spawner: the process that names its folder and is nobody of ours' child."""
        needle = os.fsencode(str(self.stage.site_folder(site)))
        matching = {
            pid: parent
            for pid, parent in processes().items()
            if needle in read(pid, "cmdline") and b"supervisor" in read(pid, "cmdline")
        }
        yield from (pid for pid, parent in matching.items() if parent not in matching)

    def _claims(self) -> Iterator[tuple[Path, int]]:
        """(folder of an attempt, pid of its living supervisor)."""
        for site in self.stage.sites:
            for folder in list_folders(self.stage.site_folder(site) / "state" / "work"):
                if (pid := self.supervisor_of(folder)) is not None:
                    yield folder, pid

    def supervisor_of(self, folder: Path) -> int | None:
        """The living supervisor of an attempt that has not said yet how it ended."""
        return claimer_of(folder)


def strike(pid: int, still: Callable[[], bool]) -> bool:
    """Kill a process that, once it has stopped, is still what it was taken for; whether it was killed."""
    try:
        os.kill(pid, signal.SIGSTOP)
        if stops(pid) and still():
            os.kill(pid, signal.SIGKILL)
            return True
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass  # it ended before
    return False


def stops(pid: int) -> bool:
    """Wait until it stands still; False if it ends instead."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = read(pid, "stat").rpartition(b")")[2].split()[:1]
        if state == [b"T"]:
            return True
        if state in ([], [b"Z"], [b"X"]):
            return False
        time.sleep(0.001)
    return False


def claimer_of(folder: Path) -> int | None:
    """The living process that has claimed an attempt whose end is not known yet."""
    claim = files.claimed_by(str(folder))
    if claim and files.read_exit(str(folder)) is None and files.is_alive(claim):
        return claim.pid
    return None


def list_folders(parent: Path) -> list[Path]:
    try:
        return sorted(parent.iterdir())
    except FileNotFoundError:
        return []  # the site has run nothing yet


def read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def processes() -> dict[int, int]:
    """pid → parent, of all that are not zombies."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = read(int(entry.name), "stat").rpartition(b")")[2].split()
            if fields and fields[0] not in (b"Z", b"X"):
                found[int(entry.name)] = int(fields[1])
    return found


def leaves(root: int) -> list[int]:
    """The processes beneath `root` that have no children."""
    parents = processes()
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, frontier = [], [root]
    while frontier:
        pid = frontier.pop()
        below = children.get(pid, [])
        frontier += below
        if not below and pid != root:
            found.append(pid)
    return found


def payloads(supervisor: int) -> list[int]:
    return [pid for pid in leaves(supervisor) if is_payload(pid)]


def is_payload(pid: int) -> bool:
    """The user's command, not the sandbox that is still being built around it."""
    return read(pid, "cmdline").split(b"\0")[0] in (b"sleep", b"sh", b"/bin/sh", b"cat")
