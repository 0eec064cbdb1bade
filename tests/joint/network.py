"""A network of three countries that trains, and what is done to it meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from ayni.demo.alliance import ALLIANCE, PROJECT, clusters, sites
from ayni.demo.stage import AYNI, SiteSpec, Stage, ayni
from tests.joint.reference import Result, judge
from tests.joint.texts import Texts

SHORT = "joint"  # a partition of each cluster while this network is there
MINUTES = 4  # … its time limit: less than a whole run takes. The agent keeps two of them
WAITING = ("unfinished", "assigned", "accepted", "pending")  # attempts that do not run
LIMIT = 300.0  # seconds in which anything must happen


class Cluster:
    """A Slurm cluster, and its operator's hand."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.nodes = ",".join(n for n in told["nodes"] if not n.endswith("n4"))
        self._env = {**os.environ, "SLURM_CONF": told["conf"]}
        self._since = time.strftime("%Y-%m-%dT%H:%M:%S")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(words, env=self._env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @contextmanager
    def short_jobs(self) -> Iterator[None]:
        """A partition for short jobs only."""
        name = f"partitionname={SHORT}"
        self("scontrol", "create", name, f"nodes={self.nodes}", f"maxtime={MINUTES}", "state=up")
        try:
            yield
        finally:
            self("scancel", f"--partition={SHORT}")
            end = time.monotonic() + LIMIT
            while self("squeue", "-h", "-p", SHORT) and time.monotonic() < end:
                time.sleep(0.2)
            self("scontrol", "delete", name)

    def drain(self) -> None:
        """Its nodes take no more jobs; what runs on them goes on."""
        self("scontrol", "update", f"nodename={self.nodes}", "state=drain", "reason=test")

    def resume(self) -> None:
        self("scontrol", "update", f"nodename={self.nodes}", "state=resume")

    def nodes_of_jobs(self) -> list[int]:
        """Over how many nodes each of its batch jobs was."""
        asked = ("sacct", "-a", "-X", "-n", "-P", "-S", self._since, "-o", "AllocNodes")
        return [int(line) for line in self(*asked).split()]

    def jobs(self) -> list[str]:
        """The batch jobs of that partition: time limit, seconds that it took, how it ended."""
        asked = ("sacct", "-a", "-X", "-n", "-P", "-r", SHORT, "-S", self._since)
        return self(*asked, "-o", "JobID,Timelimit,ElapsedRaw,State").splitlines()


@dataclass
class Countries:
    """The network. `clusters` is empty where tasks are processes of this machine."""

    stage: Stage
    texts: Texts
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    trainings: list[Training] = field(default_factory=list)

    # --- a run ---

    @property
    def env(self) -> dict[str, str]:
        token = self.stage.secrets["tokens"]["researcher"]
        return {
            **self.stage.base_env(), "AYNI_HUB": self.stage.url, "AYNI_TOKEN": token,
            "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(self.stage.folder / "config"),
        }  # fmt: skip

    def permit(self, run: str) -> None:
        """Each site lets the run's messages out, and nothing else of its texts."""
        for site, folder in self.texts.shards.items():
            self.stage.add_datasets(
                site, [folder], "inner-network", version="1", licence="own", release="nothing",
                channel=f"{PROJECT}/{run}-up", **{"channel-limit": "1GiB"},
            )  # fmt: skip
        end = time.monotonic() + LIMIT
        while len(self._offered(f"{PROJECT}/{run}-up")) < len(self.texts.shards):
            assert time.monotonic() < end, "the hub does not hear of the texts"
            time.sleep(0.2)

    def _offered(self, channel: str) -> list[str]:
        """The texts that the hub knows to let that channel out."""
        found = self._get("/datasets")["datasets"]
        return [one["name"] for one in found if channel in one.get("channels", ())]

    def train(self, toml: Path, name: str) -> Training:
        """Begin a run."""
        self.permit(name)
        self.trainings.append(Training(self, toml))
        return self.trainings[-1]

    def stop(self) -> None:
        """End what coordinates, then the network."""
        for training in self.trainings:
            training.kill()
        self.stage.stop()

    def task(self, number: str) -> dict[str, Any]:
        return self._get(f"/tasks/{number}")

    def _get(self, path: str) -> dict[str, Any]:
        token = self.stage.secrets["tokens"]["researcher"]
        answer = httpx.get(
            f"{self.stage.url}/api/v1{path}", trust_env=False, timeout=60,
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def operator(self, site: str, *words: str) -> None:
        """`ayni site …` at a site."""
        config = str(self.stage.site_folder(site) / "agent.toml")
        ayni("site", *words, "--config", config, "--json", env=self.stage.base_env())


class Training:
    """`ayni lm train`: the coordinator, which may be killed and started again."""

    def __init__(self, countries: Countries, toml: Path) -> None:
        self.countries, self.toml = countries, toml
        self.folder = toml.with_suffix("")
        self._log = toml.with_suffix(".log")
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*AYNI, "lm", "train", str(self.toml), "--json"],
                env=self.countries.env, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def steer(self, word: str) -> None:
        """`ayni lm pause` or `resume`."""
        ayni("lm", word, str(self.toml), "--json", env=self.countries.env)

    @property
    def version(self) -> int:
        path = self.folder / "status.json"
        return int(json.loads(path.read_text())["version"]) if path.exists() else 0

    @property
    def tasks(self) -> dict[str, str]:
        """The task of each site."""
        found: dict[str, str] = json.loads((self.folder / "tasks.json").read_text())
        return found

    def links(self, site: str) -> list[str]:
        """How each attempt of a site's chain is, or ended."""
        return [one["state"] for one in self.countries.task(self.tasks[site])["attempts"]]

    def reach(self, version: int) -> None:
        self.until(lambda: self.version >= version, f"version {version}")

    def until(self, look: Callable[[], bool], what: str) -> None:
        """Raises AssertionError: the coordinator ended before, or it took too long."""
        end = time.monotonic() + LIMIT
        while not look():
            over = self.process.poll()
            assert over != 0, (
                f"the run was over before what was waited for: {what}; give it more steps"
            )
            assert over is None, self._log.read_text()[-3000:]
            assert time.monotonic() < end, f"waited {LIMIT:.0f} s for {what}"
            time.sleep(0.2)

    def end(self) -> None:
        """Until the run is over, and its tasks are."""
        version = -1
        while self.process.poll() is None:
            assert self.version > version, f"no version after {version} for {LIMIT:.0f} s"
            version = self.version
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LIMIT)
        assert self.process.wait() == 0, self._log.read_text()[-3000:]
        for site, task in self.tasks.items():
            end = time.monotonic() + LIMIT
            while (found := self.countries.task(task))["state"] != "COMPLETE":
                assert found["state"] in ("QUEUED", "INITIALIZING", "RUNNING"), (site, found)
                assert time.monotonic() < end, (site, found)
                time.sleep(0.2)

    def result(self) -> Result:
        from ayni.lm import config

        return judge(config.load(self.toml), self.folder, self.countries.texts.shards)


def disturb(training: Training, *, missed: int, nodes: bool = False) -> None:
    """Kill the coordinator, drain a site, and, with `nodes`, the nodes of another; to the end.

    What drains lets the link that runs go on, and no other begin.

    Args:
        missed: versions that the others make without a site that is drained.
    """
    countries = training.countries
    training.reach(2)
    training.kill()
    training.start()
    training.reach(3)
    countries.operator("bogota", "drain", "--why", "test")
    _miss(training, "bogota", missed)
    countries.operator("bogota", "undrain")
    training.steer("resume")
    if nodes:
        cluster = countries.clusters["mexico"]
        cluster.drain()
        try:
            _miss(training, "mexico", missed)
        finally:
            cluster.resume()
        training.steer("resume")
    training.end()


def _miss(training: Training, site: str, versions: int) -> None:
    """Until a site's link has ended and, then, so many versions were made without it.

    The run pauses until the link has ended: on a quick machine a run is shorter than a link.
    """

    def idle() -> bool:
        return training.links(site)[-1] in WAITING

    missed = False
    while not missed:  # a batch job that runs on a drained node may take one link more
        training.steer("pause")
        training.until(idle, f"the link at {site} to end")
        if versions:
            training.steer("resume")
            training.reach(training.version + versions)
        missed = idle()


def _wide(site: SiteSpec) -> SiteSpec:
    """A site that takes tasks over two nodes; México's has the network that they need."""
    return replace(site, policy={**site.policy, "max_nodes": 2})


@contextmanager
def countries(texts: Texts, slurm: Path | None = None) -> Iterator[Countries]:
    """The network, ended with everything that it started.

    Args:
        slurm: clusters.json, as `make slurm-up` leaves it; without, tasks are processes.
    """
    found: dict[str, Cluster] = {}
    told: dict[str, dict[str, Any]] = {}
    if slurm is not None:
        known = json.loads(slurm.read_text())["clusters"]
        found = {site: Cluster(known[site]) for site in texts.shards}
        told = clusters(slurm)
        for spec in told.values():
            spec["partitions"] = ["main", SHORT]
    with ExitStack() as stack:
        for cluster in found.values():
            stack.enter_context(cluster.short_jobs())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ayni-joint-")))
        stage = Stage(folder, ALLIANCE, [_wide(one) for one in sites(cores=4, slurm=told)])
        world = Countries(stage, texts, found)
        stack.callback(world.stop)
        stage.start_hub()
        with ThreadPoolExecutor() as pool:
            list(pool.map(stage.prepare_site, stage.specs))
        for site in stage.sites.values():
            site.start()
        yield world
