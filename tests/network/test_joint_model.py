"""`ayni lm train` over two real sites: chained tasks, volumes, channels, a coordinator that is killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("regex")

from ayni.demo.alliance import images
from ayni.demo.stage import AYNI, SiteSpec, to_toml
from ayni.lm.corpus.shards import load_manifest
from ayni.lm.outer.journal import Journal
from tests.network.net import ALLIANCE, LIMITS, Net, Network, ayni, dead, processes, until

SITES = (
    SiteSpec("norte", "Norte", "CL", "Centro Norte", -33.45, -70.66, cores=4, memory="8GiB"),
    SiteSpec("sur", "Sur", "MX", "Centro Sur", 19.43, -99.13, cores=4, memory="8GiB"),
)
WORDS = {"norte": "el agua de la montaña baja al valle", "sur": "ri ja' kape pa ri juyub' chuqa"}
RUN = """
run = "prueba"

[model.shape]
vocab_size = {words}
hidden_size = 32
intermediate_size = 64
layers = 2
heads = 4
context = 32

[training]
precision = "fp32"
checkpoint_every = 5

[training.schedule]
warmup = 5

[training.data]
length = 32
batch = 4

[outer]
steps = 60
first = 5
last = 15
grace = 60.0
snapshot_every = 3
leave_one_out = 2
"""
SITE = """
[[sites]]
site = "{site}"
data = "ayni://{site}/textos-{site}/"
volume = "prueba"
image = "python"
time = "20m"
mem = "2G"
"""


class LmNetwork(Network):
    """Sites whose image `python` is the tests' own."""

    def agent_toml(self, name: str) -> str:
        spec = self.specs[name]
        return to_toml(
            {
                "hub": self.url,
                "state": str(self.site_folder(name) / "state"),
                "production": False,
                "policy": {},
                "images": images(),
                "executor": {
                    "kind": "local", "cores": spec.cores, "memory": spec.memory, "pin": False,
                },
                "limits": LIMITS,
            }
        )  # fmt: skip


@dataclass
class World:
    net: Net
    words: int  # of the tokenizer

    @property
    def env(self) -> dict[str, str]:
        stage = self.net.stage
        token = stage.secrets["tokens"]["ana"]
        return {**os.environ, "AYNI_HUB": stage.url, "AYNI_TOKEN": token, "OMP_NUM_THREADS": "1"}

    def lm(self, *arguments: str) -> str:
        done = ayni("lm", *arguments, env=self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout


def pack(folder: Path, env: dict[str, str]) -> int:
    """Texts and shards of each site, and one tokenizer; how many words that has."""
    for site, words in WORDS.items():
        texts = folder / site
        texts.mkdir(parents=True)
        lines = (f"{words} {n % 7} {words} {n % 5}" for n in range(300))
        (texts / "texto.txt").write_text("\n".join(lines))
    rules = ("--rule", "language=es", "--rule", "split=line")

    def lm(*arguments: str) -> None:
        done = ayni("lm", *arguments, env=env)
        assert done.returncode == 0, done.stderr

    for site in WORDS:
        count = str(folder / f"{site}.jsonl")
        lm("tokenizer", "count", str(folder / site), *rules, "--threshold", "2", "--out", count)
    counts = [str(folder / f"{site}.jsonl") for site in WORDS]
    tokenizer = str(folder / "tokenizer")
    lm("tokenizer", "train", *counts, "--size", "300", "--out", tokenizer)
    for site in WORDS:
        lm(
            "corpus", "pack", str(folder / site), *rules, "--tokenizer", tokenizer,
            "--member", "CL", "--site", site, "--held-out", "0.2", "--out", str(folder / f"textos-{site}"),
        )  # fmt: skip
    return load_manifest(folder / "textos-norte").tokenizer.size


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="ayni-joint-"))
    stage = LmNetwork(folder, ALLIANCE, SITES)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        words = pack(folder / "corpus", dict(os.environ))
        stage.start_hub()
        with ThreadPoolExecutor() as pool:
            list(pool.map(stage.prepare_site, stage.specs))
        for site in WORDS:
            stage.add_datasets(
                site, [folder / "corpus" / f"textos-{site}"], version="1", licence="own",
                release="nothing", channel="quinua/prueba-up", **{"channel-limit": "256MiB"},
            )  # fmt: skip
        for process in stage.sites.values():
            process.start()
        net = Net(stage)
        until(lambda: _healthy(net), "the sites to be there")
        yield World(net, words)
        net.alive()
    finally:
        signal.signal(signal.SIGTERM, before)
        stage.stop()
        dead(str(folder))
        subprocess.run(["rm", "-rf", folder], check=False)


def _healthy(net: Net) -> bool | None:
    states = {site["state"] for site in net.get("/sites")["sites"]}
    return True if states == {"healthy"} else None


def version(folder: Path) -> int:
    path = folder / "status.json"
    return int(json.loads(path.read_text())["version"]) if path.exists() else 0


def process_of(world: World, task: str, module: bytes) -> int:
    """The process of a task that runs a module."""
    attempt = world.net.show(task)["attempts"][-1]["id"]
    (found,) = (
        process
        for process in processes(attempt)
        if module in Path(f"/proc/{process}/cmdline").read_bytes()
    )
    return found


def tasks_of(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "tasks.json").read_text())
    return found


def test_a_model_is_trained_past_a_warning_a_crash_and_a_killed_coordinator(
    world: World, tmp_path: Path
) -> None:
    toml, folder = tmp_path / "run.toml", tmp_path / "prueba"
    norte, sur = (SITE.format(site=site) for site in WORDS)
    sites = f"{norte}ranks = 2\n{sur}"
    toml.write_text(RUN.format(words=world.words) + sites)
    first = subprocess.Popen(
        [*AYNI, "lm", "train", str(toml), "--json"],
        env=world.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: version(folder) >= 2 or first.poll() is not None or None, "two versions")
        assert first.poll() is None, first.communicate()
    finally:
        first.kill()
        first.communicate()
    tasks = tasks_of(folder)
    os.kill(process_of(world, tasks["norte"], b"ayni.lm.node"), signal.SIGUSR1)
    os.kill(process_of(world, tasks["sur"], b"ayni.lm.site"), signal.SIGKILL)
    world.net.wait(tasks["sur"], "EXECUTOR_ERROR")
    world.lm("set", str(toml), "lr", "0.002", "--from", "3")
    world.lm("train", str(toml), "--json")

    status = json.loads(world.lm("status", str(toml), "--json"))
    assert (status["status"], status["step"]) == ("done", 60)
    assert {(one["site"], one["refused"]) for one in status["sites"]} == {("norte", 0), ("sur", 0)}
    again = tasks_of(folder)
    world.lm("train", str(toml))
    assert tasks_of(folder) == again, "a run that is over was begun again"
    assert again["norte"] == tasks["norte"] and again["sur"] != tasks["sur"]
    for site, task in again.items():
        assert world.net.wait(task)["state"] == "COMPLETE", (site, world.net.full(task))
    links = [one["state"] for one in world.net.show(tasks["norte"])["attempts"]]
    assert links == ["unfinished", "complete"]
    with closing(Journal(folder)) as journal:
        state = journal.state()
    assert state is not None
    assert [(one.value, one.from_version) for one in state.settings] == [(0.002, 3)]
    brought = json.loads(world.lm("contributions", str(toml), "--json"))
    assert [(one["site"], one["member"]) for one in brought["sites"]] == [
        ("norte", "CL"), ("sur", "MX"),
    ]  # fmt: skip
    assert all(one["tokens"] and one["core_seconds"] for one in brought["sites"])
    assert any(one["effect"] is not None for one in brought["rounds"])
    losses = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    for site in WORDS:
        own = [one["losses"]["es"] for one in losses if one["site"] == site]
        assert own[-1] < 0.8 * own[0]
