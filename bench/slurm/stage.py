"""What is measured: a network over the clusters, and the clusters by themselves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ayni.demo.alliance import ALLIANCE, SITE_OF
from ayni.demo.stage import SiteSpec, Stage
from ayni.tes.models import FINAL_STATES

PARTITION = "main"
_PATIENCE = 600.0


#: What `make slurm-up` tells of its clusters.
FOUND = Path(os.environ.get("AYNI_SLURM_DIR", "/var/tmp/ayni-slurm")) / "clusters.json"


def wait(probe: Callable[[], bool], pause: float = 0.05) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not end in time")
        time.sleep(pause)


@dataclass(frozen=True)
class Cluster:
    """One cluster's partition `main`, and Slurm's commands for it."""

    name: str
    conf: str

    def env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "SLURM_CONF": self.conf, "LC_ALL": "C"}

    def ask(self, *words: str, script: str | None = None) -> str:
        done = subprocess.run(
            words, env=self.env(), input=script, capture_output=True, text=True, check=True, cwd="/"
        )
        return done.stdout.strip()

    def sbatch(self, script: str, *options: str) -> str:
        words = ("--parsable", "-p", PARTITION, "-o", "/dev/null", *options)
        return self.ask("sbatch", *words, script=script)

    def cores(self) -> list[int]:
        """Of each node of the partition."""
        said = self.ask("sinfo", "-h", "-N", "-p", PARTITION, "-o", "%c")
        return [int(word) for word in said.split()]

    def requests(self) -> Counter[str]:
        """What controller and accounting were asked since the last `forget_requests`, by their own books."""
        said = self.ask("sdiag") + self.ask("sacctmgr", "show", "stats")
        found = re.findall(r"^\s+([A-Z_]+)\s+\( ?[0-9]+\) count:([0-9]+)", said, re.MULTILINE)
        return Counter({name: int(count) for name, count in found})

    def forget_requests(self) -> None:
        self.ask("sdiag", "--reset")
        self.ask("sacctmgr", "--immediate", "clear", "stats")

    def settle(self) -> None:
        """Wait until nothing is left in the queue."""
        wait(lambda: not self.ask("squeue", "-h", "-o", "%i"), 0.2)


def clusters() -> list[Cluster]:
    found = json.loads(FOUND.read_text())["clusters"]
    return [Cluster(name, one["conf"]) for name, one in found.items()]


class Network:
    """A hub, and a site to each cluster."""

    def __init__(self, folder: Path, over: Sequence[Cluster]) -> None:
        self.over = over
        by_name = {cluster.name: cluster for cluster in over}
        specs = [
            SiteSpec(
                name, name, member, ALLIANCE["institutions"][i]["name"], 0.0, 0.0,
                images={"host": {"runtime": "host"}},
                slurm={"conf": by_name[name].conf, "partitions": [PARTITION]},
            )
            for i, (member, name) in enumerate(SITE_OF.items()) if name in by_name
        ]  # fmt: skip
        self.stage = Stage(folder, ALLIANCE, specs)
        self.stage.start_hub()
        for spec in specs:
            self.stage.prepare_site(spec.name)
            self.stage.sites[spec.name].start()
        self.api = httpx.Client(
            base_url=self.stage.url, timeout=60, trust_env=False,
            headers={"Authorization": f"Bearer {self.stage.secrets['tokens']['researcher']}"},
        )  # fmt: skip

    @staticmethod
    def task(*argv: str, walltime: int) -> dict[str, Any]:
        return {
            "name": argv[0],
            "executors": [{"image": "host", "command": list(argv)}],
            "resources": {"ram_gb": 0.064, "backend_parameters": {"walltime": str(walltime)}},
        }

    def array(self, task: Mapping[str, Any], count: int) -> float:
        """Seconds from the request to the moment when all are final at the hub."""
        began = time.perf_counter()
        created = self.api.post("/api/v1/arrays", json={"task": task, "count": count})
        created.raise_for_status()
        path = f"/api/v1/arrays/{created.json()['id']}"

        def counts() -> dict[str, int]:
            return {k: v for k, v in self.api.get(path).json()["counts"].items() if v}

        wait(lambda: not counts().keys() - FINAL_STATES)
        took = time.perf_counter() - began
        if counts() != {"COMPLETE": count}:
            raise RuntimeError(f"not all ended well: {counts()}")
        return took

    def one(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """A task by TES; the task when it has ended."""
        created = self.api.post("/ga4gh/tes/v1/tasks", json=task)
        created.raise_for_status()
        path = f"/ga4gh/tes/v1/tasks/{created.json()['id']}"
        wait(lambda: self.api.get(path).json()["state"] in FINAL_STATES, 0.2)
        found = self.api.get(path, params={"view": "FULL"}).json()
        if found["state"] != "COMPLETE":
            raise RuntimeError(f"it did not end well: {found['logs']}")
        return found  # type: ignore[no-any-return]

    def settle(self) -> None:
        """Wait until nothing runs anywhere, and the hub knows."""
        for cluster in self.over:
            cluster.settle()
        wait(self._is_idle, 0.2)

    def _is_idle(self) -> bool:
        sites = self.api.get("/api/v1/sites").json()["sites"]
        return not any(
            p["foreign_cores"] or p["used_cores"] for s in sites for p in s["partitions"]
        )


@contextmanager
def network(over: Sequence[Cluster]) -> Iterator[Network]:
    """Started, warm, and ended with all that it started."""
    folder = Path(tempfile.mkdtemp(prefix="ayni-bench-"))
    made: Network | None = None
    try:
        made = Network(folder, over)
        wait(lambda: _all_heard(made))  # type: ignore[arg-type]
        made.array(made.task("true", walltime=10), 20 * len(over))
        yield made
    finally:
        if made is not None:
            made.stage.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _all_heard(made: Network) -> bool:
    sites = made.api.get("/api/v1/sites").json()
    return sum(bool(site.get("partitions")) for site in sites["sites"]) == len(made.over)
