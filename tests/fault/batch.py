"""The punisher of sites with Slurm: kills pilots, and the servers of scheduler and accounting, too."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ayni.agent.executors.slurm.books import AGENT
from ayni.agent.supervisor import files
from ayni.agent.supervisor.processes import marked
from ayni.demo.stage import AYNI, Stage
from tests.fault.punisher import PATIENCE, Punisher, claimer_of, list_folders, processes, strike

SCRIPT = Path(__file__).parents[2] / "dev/slurm.sh"


@dataclass
class SlurmPunisher(Punisher):
    """`clusters`: their names, as `dev/slurm.sh` has them."""

    KINDS: ClassVar[Mapping[str, int]] = {
        "hub": 1, "agent": 2, "pilot": 2, "supervisor": 3, "payload": 3, "slurmctld": 1, "slurmdbd": 1,
    }  # fmt: skip
    clusters: Sequence[str] = ()

    def _pilot(self) -> bool:
        """Kill a batch job's pilot: its supervisors die with it, and what had begun in it is lost."""
        running = list(self._claimed())
        if not running:
            return False
        _, victim = self.rng.choice(running)
        if not strike(victim, lambda: True):
            return False
        folders = [folder for folder, pid in running if pid == victim]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and {f.name for f in folders} & set(_marks()):
            time.sleep(0.02)
        lost = {folder.name for folder in folders if files.read_exit(str(folder)) is None}
        self.dead_supervisors |= lost
        return True

    def _slurmctld(self) -> bool:
        return self._server("slurmctld")

    def _slurmdbd(self) -> bool:
        return self._server("slurmdbd")

    def _server(self, name: str) -> bool:
        server = f"{name}-{self.rng.choice(self.clusters)}"
        control("kill", server)
        time.sleep(self.rng.uniform(0, 3))
        control("start", server)
        return True

    def _claims(self) -> Iterator[tuple[Path, int]]:
        """(folder of an attempt, pid of its living supervisor)."""
        parents, marks = processes(), _marks()
        for folder, claimer in self._claimed():
            if (pid := _beneath(claimer, marks.get(folder.name), parents)) is not None:
                yield folder, pid

    def _claimed(self) -> Iterator[tuple[Path, int]]:
        """(folder of an attempt that has not ended, pid of the living pilot that claimed it)."""
        for site in self.stage.sites:
            for folder in list_folders(self.stage.site_folder(site) / "shared" / "work"):
                pid = claimer_of(folder)
                if pid is not None and files.claim_tag(str(folder)) != AGENT:
                    yield folder, pid

    def supervisor_of(self, folder: Path) -> int | None:
        claimer = claimer_of(folder)
        return claimer and _beneath(claimer, _marks().get(folder.name), processes())


def _marks() -> dict[str, int]:
    """A process of each running attempt."""
    return {attempt: pid for pid, attempt in marked()}


def _beneath(pilot: int, pid: int | None, parents: Mapping[int, int]) -> int | None:
    """The pilot's child from which a process descends: its supervisor."""
    while pid is not None and parents.get(pid) != pilot:
        pid = parents.get(pid)
    return pid


class Operator(threading.Thread):
    """The sites' operator: a controller that was killed may give a job's number twice, and drains the node
    that notices; somebody has to take it back into service."""

    def __init__(self, confs: Collection[str]) -> None:
        super().__init__(daemon=True)
        self._confs = confs
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(2):
            self._heal()

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._heal()

    def clear(self) -> None:
        """All tasks have ended. End what a killed controller takes for running, though it is over: until
        then it takes place, and the accounting has not said its last word of it."""
        for conf in self._confs:
            self._clear(conf)

    def _clear(self, conf: str, patience: float = 15.0, limit: float = 75.0) -> None:
        began = time.monotonic()
        while (now := time.monotonic()) < began + limit:
            rows = _ask(conf, "squeue", "-h", "-o", "%F|%j").splitlines()
            ours = {number for number, _, name in (row.partition("|") for row in rows)
                    if name.startswith("ayni-")}  # fmt: skip
            if not ours:
                return
            if now > began + patience:  # batch jobs that run do not wait that long for another task
                _ask(conf, "scancel", "--quiet", *sorted(ours))
            time.sleep(1)

    def _heal(self) -> None:
        for conf in self._confs:
            nodes = {
                name
                for line in _ask(conf, "sinfo", "-h", "-N", "-o", "%N|%E").splitlines()
                for name, _, why in [line.partition("|")]
                if why == "Duplicate jobid"
            }
            for name in nodes:
                _ask(conf, "scontrol", "update", f"nodename={name}", "state=resume")


def _ask(conf: str, *words: str) -> str:
    """What a command of Slurm says; nothing while the controller is away."""
    env = {**os.environ, "SLURM_CONF": conf}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    return done.stdout


def control(action: str, server: str) -> None:
    subprocess.run([str(SCRIPT), action, server], check=True, capture_output=True)


def reconciled(stage: Stage, site: str, limit: float = 90.0) -> list[str]:
    """What the hub's books and the accounting say differently of a site; waits until all is booked, and
    what a killed controller had the accounting change is booked anew (the agent looks twice a minute)."""
    config = str(stage.site_folder(site) / "agent.toml")
    words = ["site", "reconcile", "--config", config, "--from", "2000-01-01", "--to", "2100-01-01"]
    deadline = time.monotonic() + limit
    while True:
        done = subprocess.run(
            [*AYNI, *words, "--json"],
            env=stage.base_env(),
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else None
        if found and not (found["differences"] or found["waiting"] or found["open"]):
            return []
        if time.monotonic() > deadline:
            return [f"{site}: the books differ from the accounting: {found or done.stderr}"]
        time.sleep(1)
