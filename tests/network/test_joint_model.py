"""`ayni lm train` over two real sites: chained tasks, volumes, channels, a charter, a coordinator that is
killed; and every byte that leaves one of the sites meanwhile."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import logging
import os
import random
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("torch")
pytest.importorskip("regex")

from ayni.agent.charters import Charters
from ayni.demo.alliance import images
from ayni.demo.stage import AYNI, SiteSpec, to_toml
from ayni.lm import config
from ayni.lm.corpus.shards import Shards, load_manifest
from ayni.lm.outer import codec
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.journal import Journal
from ayni.protocol.channels import read_schema
from tests.network.listed import posted, reports, unlisted
from tests.network.net import ALLIANCE, LIMITS, Net, Network, ayni, dead, processes, until
from tests.network.recorder import Recorder, Sent, everything
from tests.network.test_residency import holds, readings

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

[charter]
data = "Frases de prueba, que se quedan en su sitio."
licences = "Ninguna."
holders = "Quien corre la prueba."
leaving = "Lo dice, y nada más sale."

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


#: Stands in the texts of `norte`, in a file's name there, and in all that its tasks print.
#: The same each time, since how well the texts are learnt depends on it.
PLANTED = "".join(random.Random(1).choices("bcdfghjklmnpqrstvwxz", k=24))
#: What each Python of a task runs first at `norte`, and prints into logs that nobody may see.
SPEAKS = f"""
import sys
print("{PLANTED}", flush=True)
print("{PLANTED}", file=sys.stderr, flush=True)
open("{PLANTED}", "w").close()
"""


class LmNetwork(Network):
    """Sites whose image `python` is the tests' own."""

    def agent_toml(self, name: str) -> str:
        spec = self.specs[name]
        known = images()
        if name == "norte":
            place = self.folder / "speaks"
            place.mkdir(exist_ok=True)
            (place / "sitecustomize.py").write_text(SPEAKS)
            known["python"]["prefixes"].append(str(place))
            known["python"]["env"]["PYTHONPATH"] += f":{place}"
        return to_toml(
            {
                "hub": self.hub_through.get(name, self.url),
                "state": str(self.site_folder(name) / "state"),
                "production": False,
                "policy": {},
                "images": known,
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
    recorder: Recorder  # before norte

    @property
    def env(self) -> dict[str, str]:
        stage = self.net.stage
        token = stage.secrets["tokens"]["ana"]
        return {
            **os.environ, "AYNI_HUB": stage.url, "AYNI_TOKEN": token, "OMP_NUM_THREADS": "1",
            "XDG_CONFIG_HOME": str(stage.folder / "ana"),
        }  # fmt: skip

    def lm(self, *arguments: str) -> str:
        done = ayni("lm", *arguments, env=self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout


def pack(folder: Path, env: dict[str, str]) -> int:
    """Texts and shards of each site, and one tokenizer; how many words that has."""
    for site, words in WORDS.items():
        texts = folder / site
        texts.mkdir(parents=True)
        secret = PLANTED if site == "norte" else ""
        lines = (f"{words} {n % 7} {secret} {words} {n % 5}" for n in range(300))
        (texts / "texto.txt").write_text("\n".join(lines))
    rules = ("--rule", "language=es", "--rule", "split=line")

    def lm(*arguments: str) -> None:
        done = ayni("lm", *arguments, env=env)
        assert done.returncode == 0, done.stderr

    for site in WORDS:
        count = str(folder / f"{site}.jsonl")
        lm(
            "tokenizer",
            "count",
            str(folder / site),
            *rules,
            "--threshold",
            "2",
            "--rare",
            "--out",
            count,
        )
    counts = [str(folder / f"{site}.jsonl") for site in WORDS]
    tokenizer = str(folder / "tokenizer")
    lm("tokenizer", "train", *counts, "--size", "300", "--out", tokenizer)
    for site in WORDS:
        lm(
            "corpus", "pack", str(folder / site), *rules, "--tokenizer", tokenizer,
            "--member", "CL", "--site", site, "--held-out", "0.2", "--out", str(folder / f"textos-{site}"),
        )  # fmt: skip
    (folder / "textos-norte" / f"{PLANTED}.txt").write_text(PLANTED)
    return load_manifest(folder / "textos-norte").tokenizer.size


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="ayni-joint-"))
    stage = LmNetwork(folder, ALLIANCE, SITES)
    recorder = Recorder(stage.port, stage.files_port)
    stage.hub_through = {"norte": recorder.url}
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
        yield World(net, words, recorder)
        net.alive()
    finally:
        signal.signal(signal.SIGTERM, before)
        stage.stop()
        recorder.close()
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


def steer(world: World, toml: Path, who: str, word: str) -> str:
    """Somebody, with a key of their own, wishes something; what they are told, once they are answered."""
    env = {
        **world.env, "AYNI_TOKEN": world.net.stage.secrets["tokens"][who],
        "XDG_CONFIG_HOME": str(world.net.stage.folder / who),
    }  # fmt: skip

    def answer() -> str | None:
        done = ayni("lm", word, str(toml), "--json", env=env)
        if done.returncode:
            return done.stderr
        return "heard" if json.loads(done.stdout)["heard"] else None

    return until(answer, f"an answer to {who}")


def tasks_of(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "tasks.json").read_text())
    return found


def accept(world: World, site: str, first: subprocess.Popen[str]) -> None:
    """As the site's operator, once a task waits there for that."""
    stage = world.net.stage
    here = Charters(stage.site_folder(site) / "state")
    asked = until(lambda: here.asked() or first.poll() or None, f"{site} to be asked")
    assert first.poll() is None, first.communicate()
    assert here.text(asked[0].digest).startswith("# Charter of the training run prueba")
    config = str(stage.site_folder(site) / "agent.toml")
    accepted = ("site", "charter", "accept", asked[0].digest, "--config", config)
    done = ayni(*accepted, env=stage.base_env())
    assert done.returncode == 0, done.stderr


@dataclass
class Trained:
    """A run that is over: its folder, and the tasks before and after what befell it."""

    folder: Path
    toml: Path
    first: dict[str, str]
    last: dict[str, str]
    told: list[str]  # … Ana, who pauses it, Eva, who may not resume it, and Ana again


@pytest.fixture(scope="module")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Past a charter, a warning, a crash and a killed coordinator."""
    place = tmp_path_factory.mktemp("run")
    toml, folder = place / "run.toml", place / "prueba"
    norte, sur = (SITE.format(site=site) for site in WORDS)
    sites = f"{norte}ranks = 2\n{sur}"
    toml.write_text(RUN.format(words=world.words) + sites)
    first = subprocess.Popen(
        [*AYNI, "lm", "train", str(toml), "--json"],
        env=world.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for site in WORDS:
            accept(world, site, first)
        until(lambda: version(folder) >= 1 or first.poll() is not None or None, "a version")
        assert first.poll() is None, first.communicate()
        wished = (("ana", "pause"), ("eva", "resume"), ("ana", "resume"))
        told = [steer(world, toml, who, word) for who, word in wished]
    finally:
        first.kill()
        first.communicate()
    tasks = tasks_of(folder)
    logs = world.net.root(world.net.show(tasks["norte"])["attempts"][-1]["id"]).parent / "logs"
    assert all(PLANTED in log.read_text() for log in logs.glob("0.*")), "nothing was printed"
    os.kill(process_of(world, tasks["norte"], b"ayni.lm.node"), signal.SIGUSR1)
    os.kill(process_of(world, tasks["sur"], b"ayni.lm.site"), signal.SIGKILL)
    world.net.wait(tasks["sur"], "EXECUTOR_ERROR")
    world.lm("set", str(toml), "lr", "0.002", "--from", "3")
    world.lm("train", str(toml), "--json")
    return Trained(folder, toml, tasks, tasks_of(folder), told)


def test_a_model_is_trained_past_a_warning_a_crash_and_a_killed_coordinator(
    world: World, trained: Trained
) -> None:
    toml, folder, tasks, again = trained.toml, trained.folder, trained.first, trained.last
    status = json.loads(world.lm("status", str(toml), "--json"))
    assert (status["status"], status["step"]) == ("done", 60)
    assert {(one["site"], one["refused"]) for one in status["sites"]} == {("norte", 0), ("sur", 0)}
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


def test_only_those_steer_whose_keys_the_coordinator_has(world: World, trained: Trained) -> None:
    """Ana's is there since she coordinates; Eva is of the project, and has a token."""
    pause, refused, resume = trained.told
    assert (pause, resume) == ("heard", "heard")
    assert "is not in the coordinator's steering-keys.json" in refused
    alarms = json.loads(world.lm("status", str(trained.toml), "--json"))["alarms"]
    (told,) = {one["text"] for one in alarms if one["what"] == "rejected"}
    assert "resume, by key" in told


# --- every byte that leaves a site ------------------------------------------------------------


def test_every_byte_that_leaves_a_site_is_one_that_protocol_and_schema_list(
    world: World, trained: Trained
) -> None:
    sent = world.recorder.sent
    faults = unlisted(sent)
    assert not faults, faults[:10]
    with closing(Journal(trained.folder)) as journal:
        count = journal.state().lanes[WHOLE].count
    coded = config.load(trained.toml).outer.codec
    assert coded is codec.Codec.INT4_DEFLATE
    rules = read_schema(world.net.get("/channels/prueba-up")["schema"])
    blobs = {}
    for message in posted(sent):
        kind, body, blob = message["kind"], message["body"], message["blob"]
        assert rules.check(kind, body, blob and blob["size"]) == body
        assert message["channel"] == "prueba-up" and set(body.get("languages", ["es"])) == {"es"}
        if blob:
            assert kind == "contributed" and blob["size"] <= codec.blob_size(count, coded)
            blobs[blob["sha256"]] = blob["size"]
    brought = {
        hashlib.sha256(one.body).hexdigest(): one.body for one in sent if one.method == "PUT"
    }
    assert brought.keys() == blobs.keys() and len(blobs) >= 4
    for sha256, blob in brought.items():
        assert len(blob) == blobs[sha256]
        values = codec.decode(io.BytesIO(blob), count, strict=True)
        assert sum(part.size for part in values) == count
        start = 24 + 20 + 2 * -(-count // codec.BLOCK[coded])  # header, check, scales
        assert codec._deflate(zlib.decompress(blob[start:], -15)) == blob[start:]


def test_nothing_that_was_planted_at_a_site_leaves_it(world: World, trained: Trained) -> None:
    """Neither a word of its texts, nor their tokens, nor a file's name, nor what its tasks print."""
    sent, corpus = world.recorder.sent, world.net.stage.folder / "corpus"
    assert PLANTED in (corpus / "norte" / "texto.txt").read_text()
    row = Shards(corpus / "textos-norte").tokens(0)[:12]
    said = [text for one in (everything(sent), *_blocks(sent)) for text in readings(one)]
    for marker in (
        PLANTED.encode(),
        "la montaña baja".encode(),
        *(row.astype(kind).tobytes() for kind in ("<u2", "<u4", "<i8")),
    ):
        assert not holds(said, marker), marker
    for report in reports(sent):
        assert not report.get("outputs"), report
        assert not any(log["tail"] or log.get("upload") for log in report.get("logs", ())), report


def _blocks(sent: list[Sent]) -> list[bytes]:
    return [one.body for one in sent if one.method == "PUT"]


@pytest.mark.parametrize(
    "write",
    [
        bytes,
        lambda text: b"some" + gzip.compress(text),
        lambda text: base64.b64encode(b"x" + text),
        lambda text: base64.urlsafe_b64encode(b"xy" + text),
        lambda text: quote(text).encode(),
        lambda text: json.dumps(text.decode()).encode(),
        lambda text: text.hex().encode(),
        lambda text: text[::-1],
    ],
)
@pytest.mark.parametrize("marker", [PLANTED, "la montaña baja"], ids=["a random word", "a line"])
def test_what_is_looked_for_would_be_found(marker: str, write: Any) -> None:
    one = Sent("PUT", "/x", "", b"before" + write(marker.encode()) + b"after")
    assert holds(list(readings(everything([one]))), marker.encode())


@pytest.mark.parametrize(
    "one",
    [
        Sent("POST", "/agent/v1/channels/read", "", b'{"wants": [], "wait": 1.0, "more": 1}'),
        Sent("POST", "/agent/v1/channels/read", "X-More: 1", b'{"wants": []}'),
        Sent("POST", "/agent/v1/inputs", "", b'{"requests": [{"attempt": "a", "more": 1}]}'),
        Sent("POST", "/agent/v1/more", "", b"{}"),
        Sent("GET", "/files/x?signature=1", "", b"more"),
    ],
)
def test_what_no_protocol_lists_would_be_found(one: Sent) -> None:
    assert len(unlisted([one])) == 1
