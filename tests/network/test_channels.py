"""Channels between three sites and a process outside; and every byte that leaves one of the sites."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ayni.client import Network as Client
from ayni.client.keys import SiteKeys, Unsigned
from ayni.demo.stage import SiteSpec
from tests.network.net import ALLIANCE, FOREVER, Net, Network, ayni, dead, sh, until, why
from tests.network.recorder import Recorder, everything
from tests.network.test_residency import holds, readings

SITES = (
    SiteSpec("norte", "Norte", "CL", "Centro Norte", -33.45, -70.66, cores=4, memory="4GiB"),
    SiteSpec("sur", "Sur", "MX", "Centro Sur", 19.43, -99.13, cores=4, memory="4GiB",
             policy={"max_channel_bytes": 5000}),
    SiteSpec("oeste", "Oeste", "MX", "Centro Sur", 20.0, -100.0, cores=4, memory="4GiB",
             policy={"channels": ["quinua/means", "quinua/parts"]}),
)  # fmt: skip
SUMS: dict[str, Any] = {
    "kinds": {
        "part": {
            "fields": {
                "count": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
                "total": {"type": "number", "minimum": -1e9, "maximum": 1e9},
            }
        },
        "note": {"fields": {"word": {"type": "enumeration", "values": ["begun", "done"]}}},
        "delta": {"blob": {"max_bytes": 1 << 20}},
    },
    "max_bytes": 4 << 20,
    "rate": 6000,
}
MEANS: dict[str, Any] = {
    "kinds": {"mean": {"fields": {"mean": {"type": "number", "minimum": -1e9, "maximum": 1e9}}}}
}
PYTHON = "import sys, os; sys.path.append(os.environ['AYNI_ROOT'] + '/channel')\n"


@dataclass
class World:
    net: Net
    recorder: Recorder  # before norte
    secret: bytes

    def client(self, who: str = "ana") -> Client:
        stage = self.net.stage
        return Client(stage.url, stage.secrets["tokens"][who])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="ayni-channels-"))
    stage = Network(folder, ALLIANCE, SITES)
    recorder = Recorder(stage.port, stage.files_port)
    stage.hub_through = {"norte": recorder.url}
    secret = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=40)).encode()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stage.start_hub()
        with ThreadPoolExecutor() as pool:
            list(pool.map(stage.prepare_site, stage.specs))
        data = stage.site_folder("norte") / "data" / "censo"
        data.mkdir(parents=True)
        (data / "texto.txt").write_bytes(b"".join(b"%s%04d\n" % (secret, n) for n in range(200)))
        stage.add_datasets(
            "norte", [data], version="1", licence="own", release="nothing",
            channel="quinua/closed", **{"channel-limit": "2000"},
        )  # fmt: skip
        for site in stage.sites.values():
            site.start()
        net = Net(stage)
        until(lambda: _healthy(net), "the sites to be there")
        world = World(net, recorder, secret)
        with world.client() as client:
            for name, schema in (
                ("parts", SUMS),
                ("means", MEANS),
                ("closed", SUMS),
                ("echo", SUMS),
            ):
                client.make_channel(name, schema)
        yield world
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


def python(script: str, *, site: str, inputs: Any = (), **parameters: str) -> dict[str, Any]:
    task = sh("", site=site, inputs=inputs, **parameters)
    task["executors"][0]["command"] = ["python3", "-c", PYTHON + script]
    return task


# --- the example of docs/users/channels.md: a federated mean ----------------------------------

MEAN = """
from ayni_channel import Channel
values = {values}
Channel("parts").send("part", {{"count": len(values), "total": float(sum(values))}})
for message in Channel("means").receive(timeout=100):
    print(message.body["mean"])
    break
"""


def test_three_sites_hear_the_mean_of_all_their_numbers(world: World) -> None:
    numbers = {"norte": [1, 2, 3], "sur": [10, 20], "oeste": [5, 6, 7, 8, 9]}
    with world.client() as client:
        parts, means = client.channel("parts"), client.channel("means")
        begin = parts.info.last
        ids = [
            world.net.submit(
                python(MEAN.format(values=v), site=site, channels="parts:out,means:in")
            )
            for site, v in numbers.items()
        ]
        heard = {}
        for message in parts.receive(after=begin, timeout=100):
            heard[message.sender.site] = message.body
            if len(heard) == len(numbers):
                break
        mean = sum(b["total"] for b in heard.values()) / sum(b["count"] for b in heard.values())
        means.send("mean", {"mean": mean})
    assert mean == pytest.approx(7.1)
    for task in ids:
        assert world.net.wait(task)["state"] == "COMPLETE", why(world.net.full(task))
        assert float(world.net.full(task)["logs"][-1]["logs"][0]["stdout"]) == pytest.approx(7.1)


def test_the_same_in_shell_and_with_the_commands(world: World) -> None:
    script = (
        'echo \'{"kind": "note", "body": {"word": "begun"}}\' > /channel/echo/out/.1; '
        "mv /channel/echo/out/.1 /channel/echo/out/1.json; "
        "until ls /channel/echo/in | grep -q json$; do sleep 0.2; done; cat /channel/echo/in/*.json"
    )
    task = world.net.submit(sh(script, site="sur", channels="echo"))
    tail = ("channels", "tail", "echo", "--json")
    until(lambda: world.net.client(*tail).stdout or None, "the task's message")
    [said] = [json.loads(line) for line in world.net.client(*tail).stdout.splitlines()]
    assert (said["sender"]["site"], said["body"]) == ("sur", {"word": "begun"})
    sent = world.net.client("channels", "send", "echo", "note", "--body", '{"word": "done"}')
    assert sent.returncode == 0, sent.stderr
    assert world.net.wait(task)["state"] == "COMPLETE"
    shown = json.loads(world.net.full(task)["logs"][-1]["logs"][0]["stdout"])
    assert shown["body"] == {"word": "done"} and shown["sender"]["person"] == "ana@norte.example"


# --- blobs ------------------------------------------------------------------------------------

BLOBS = """
from ayni_channel import Channel
import hashlib, random
parts = Channel("parts")
for seed in range(3):
    parts.send("delta", blob=random.Random(seed).randbytes(200_000))
for message in Channel("echo").receive(timeout=100):
    if message.blob:
        print(hashlib.sha256(message.blob.read_bytes()).hexdigest())
        break
"""


def test_blobs_go_both_ways_by_signed_urls(world: World, tmp_path: Path) -> None:
    data = random.Random(9).randbytes(300_000)
    with world.client() as client:
        parts = client.channel("parts")
        begin = parts.info.last
        task = world.net.submit(python(BLOBS, site="norte", channels="parts:out,echo:in"))
        came = []
        for message in parts.receive(after=begin, timeout=100):
            came.append(parts.fetch(message, tmp_path / str(message.sequence)).read_bytes())
            if len(came) == 3:
                break
        assert came == [random.Random(seed).randbytes(200_000) for seed in range(3)]
        client.channel("echo").send("delta", blob=data, key="once")
        client.channel("echo").send("delta", blob=data, key="once")
    assert world.net.wait(task)["state"] == "COMPLETE", why(world.net.full(task))
    shown = world.net.full(task)["logs"][-1]["logs"][0]["stdout"].strip()
    assert shown == hashlib.sha256(data).hexdigest()


NEWCOMER = """
from ayni_channel import Channel
models = Channel("models")
latest = None
for message in models.receive(timeout=100, keep=True):
    assert message.blob is None
    latest = message
    if message.body == {"word": "done"}:
        break
print(models.fetch(latest, timeout=100).read_text()[:8])
"""


def test_a_newcomer_fetches_only_the_blob_that_it_wants(world: World) -> None:
    words = {"word": {"type": "enumeration", "values": ["begun", "done"]}}
    model = {"fields": words, "blob": {"max_bytes": 1 << 20, "on_request": True}}
    with world.client() as client:
        models = client.make_channel("models", {"kinds": {"model": model}})
        for n, word in enumerate(("begun", "begun", "done")):
            models.send("model", {"word": word}, blob=f"model {n} ".encode() * 9000)
    before = len(world.recorder.sent)
    number = world.net.submit(python(NEWCOMER, site="norte", channels="models:in"))
    assert world.net.wait(number)["state"] == "COMPLETE", why(world.net.full(number))
    assert world.net.full(number)["logs"][-1]["logs"][0]["stdout"] == "model 2 \n"
    asked = [s.path for s in world.recorder.sent[before:] if s.path.endswith("/channels/blob")]
    assert len(asked) == 1


# --- who may, and how much --------------------------------------------------------------------


def test_a_site_relays_what_its_policy_lets_it(world: World) -> None:
    """`oeste` relays two channels; `sur` so many bytes of a task."""
    number = world.net.submit(sh("true", site="oeste", channels="echo"))
    verdicts = until(
        lambda: [s for s in world.net.get(f"/tasks/{number}/why")["sites"] if s["message"]] or None,
        "a verdict",
    )
    assert any("does not relay channel echo" in s["message"] for s in verdicts), verdicts
    world.net.call("POST", f"/api/v1/tasks/{number}/cancel")
    script = """
from ayni_channel import Channel
parts = Channel("parts")
parts.send("delta", blob=b"x" * 4000, wait=60)
try:
    parts.send("delta", blob=b"x" * 4000, wait=60)
except Exception as error:
    print(error)
"""
    task = world.net.run(python(script, site="sur", channels="parts:out"))
    assert "this site lets a task send 5000 bytes" in task["logs"][-1]["logs"][0]["stdout"]
    assert "was refused: this site lets" in why(task)


def test_policy_check_tells_what_a_site_relays(world: World) -> None:
    config = world.net.stage.site_folder("oeste") / "agent.toml"
    path = world.net.stage.folder / "task.json"
    for channels, taken in (("parts:out", True), ("echo", False)):
        path.write_text(json.dumps(sh("true", channels=channels)))
        done = ayni(
            "site", "policy", "check", str(path), "--config", str(config), "--json",
            "--as", "CL/quinua/ana@norte.example", env=world.net.stage.base_env(),
        )  # fmt: skip
        [line] = [ln for ln in json.loads(done.stdout)["lines"] if ln["rule"] == "channels"]
        assert line["ok"] is taken, done.stdout


def test_another_project_cannot_name_these_channels(world: World) -> None:
    task = sh("true", channels="parts")
    refused = world.net.call("POST", "/api/v1/tasks", "beto", json={"task": task})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "resources.backend_parameters.channels"


def test_a_task_that_is_cancelled_says_no_more(world: World) -> None:
    with world.client() as client:
        parts = client.channel("parts")
        begin = parts.info.last
        say = 'echo \'{"kind": "note", "body": {"word": "%s"}}\' > /channel/parts/out/%d.json; '
        number = world.net.submit(
            sh(say % ("begun", 1) + FOREVER, site="norte", channels="parts:out")
        )
        assert next(parts.receive(after=begin, timeout=100)).body == {"word": "begun"}
        world.net.call("POST", f"/api/v1/tasks/{number}/cancel")
        world.net.wait(number, "CANCELED")


# --- signatures -------------------------------------------------------------------------------


def test_a_site_s_words_hold_by_its_pinned_key_and_no_others_do(
    world: World, tmp_path: Path
) -> None:
    script = "Channel('parts').send('part', {'count': 5, 'total': 1e300}, wait=60)"
    schema = {"kinds": {"part": {"fields": {**SUMS["kinds"]["part"]["fields"]}}}}
    schema["kinds"]["part"]["fields"]["total"] = {"type": "number", "minimum": 0, "maximum": 1e301}
    with world.client() as client:
        channel = client.make_channel("signed", schema)
        say = "from ayni_channel import Channel\n" + script.replace("parts", "signed")
        world.net.run(python(say, site="sur", channels="signed:out"))
        [message] = channel.messages()
        channel.send("part", {"count": 5, "total": 1.0})
        [*_, mine] = channel.messages()
        keys = SiteKeys(tmp_path / "keys.json", client.signing_key)
        keys.check("quinua", "signed", message)
        config = world.net.stage.site_folder("sur") / "agent.toml"
        shown = ayni("site", "key", "show", "--config", str(config), env=world.net.stage.base_env())
        assert json.loads(keys.path.read_text()) == {"sur": shown.stdout.strip()}
        for lie in (message.model_copy(update={"body": {"count": 6, "total": 1e300}}), mine):
            with pytest.raises(Unsigned):
                keys.check("quinua", "signed", lie)


# --- charters ---------------------------------------------------------------------------------


def test_a_task_waits_until_the_operator_accepts_its_channels_charter(world: World) -> None:
    def site(*arguments: str) -> str:
        config = world.net.stage.site_folder("norte") / "agent.toml"
        done = ayni("site", *arguments, "--config", str(config), env=world.net.stage.base_env())
        assert done.returncode == 0, done.stderr
        return done.stdout

    say = 'echo \'{"kind": "note", "body": {"word": "begun"}}\' > /channel/carta/out/1.json; '
    with world.client() as client:
        charter = "# Carta\n\nLas sumas son de todos.\n"
        carta = client.make_channel("carta", SUMS, charter=charter)
        number = world.net.submit(
            sh(say + FOREVER, site="norte", channels="carta:out", walltime="60")
        )
        digest = str(carta.info.charter_digest)
        until(lambda: carta.info.answers or None, "the hub to hear that it is asked for")
        until(
            lambda: (
                f"ayni site charter accept {digest[:12]}" in why(world.net.full(number)) or None
            ),
            "the task to say what it waits for",
        )
        assert world.net.show(number)["state"] == "INITIALIZING" and carta.info.last == 0
        assert "Las sumas son de todos." in site("charters")
        site("charter", "accept", digest[:12])
        assert next(carta.receive(timeout=100)).sender.site == "norte"
        until(  # the task's word and the agent's next sync come in any order
            lambda: (
                [(a.site, a.state) for a in carta.info.answers] == [("norte", "accepted")] or None
            ),
            "the hub to hear that it is accepted",
        )
        anywhere = world.net.run(sh("true", channels="carta:in"))
        told = {s["site"]: s for s in world.net.get(f"/tasks/{anywhere['id']}/why")["sites"]}
        assert told["norte"]["verdict"] == "chosen", told
        assert "has not accepted the charter of channel carta" in told["sur"]["message"], told
        site("charter", "refuse", digest[:12], "--why", "left")
        world.net.call("POST", f"/api/v1/tasks/{number}/cancel")
        until(
            lambda: (
                [a for a in carta.info.answers if (a.state, a.why) == ("refused", "left")] or None
            ),
            "the hub to hear of the refusal",
        )
        again = world.net.submit(sh("true", site="norte", channels="carta:out"))
        until(
            lambda: "refused the charter of channel carta: left"
            in json.dumps(world.net.get(f"/tasks/{again}/why")) or None,
            "the site's verdict",
        )  # fmt: skip
        world.net.call("POST", f"/api/v1/tasks/{again}/cancel")


def test_the_operators_of_all_sites_that_might_run_a_task_are_asked_and_no_others(
    world: World,
) -> None:
    stage = world.net.stage

    def shown(site: str) -> str:
        config = stage.site_folder(site) / "agent.toml"
        return ayni("site", "charters", "--config", str(config), env=stage.base_env()).stdout

    with world.client() as client:
        libre = client.make_channel("libre", SUMS, charter="# Carta libre\n")
        number = world.net.submit(sh("true", channels="libre:in"))
        until(lambda: len(libre.info.answers) == 2 or None, "two to be asked for one task")
        assert {(a.site, a.state) for a in libre.info.answers} == {
            ("norte", "asked"),
            ("sur", "asked"),
        }
        for site, asked in (("norte", True), ("sur", True), ("oeste", False)):
            assert ("# Carta libre" in shown(site)) is asked, "oeste relays other channels only"
        world.net.call("POST", f"/api/v1/tasks/{number}/cancel")


# --- kill -9 ----------------------------------------------------------------------------------

STREAM = """
from ayni_channel import Channel
import time
parts = Channel("parts")
for n in range(60):
    parts.send("part", {"count": n, "total": 0.0})
    if n % 20 == 5:
        parts.send("delta", blob=bytes([n]) * 50_000)
    time.sleep(0.1)
"""
LISTEN = """
from ayni_channel import Channel
for message in Channel("parts").receive(timeout=100):
    if message.sender.get("task") == {task!r}:
        if message.kind == "part":
            print(message.body["count"], flush=True)
            if message.body["count"] == 59:
                break
"""


def test_nothing_is_lost_doubled_or_reordered_while_agents_and_hub_are_killed(world: World) -> None:
    stage = world.net.stage
    with world.client() as client:
        parts = client.channel("parts")
        begin = parts.info.last
        speaker = world.net.submit(python(STREAM, site="norte", channels="parts:out"))
        listener = world.net.submit(
            python(LISTEN.format(task=speaker), site="oeste", channels="parts:in")
        )
        for victim in ("norte", "oeste", "hub", "norte", "oeste"):
            time.sleep(1.5)
            process = stage.hub if victim == "hub" else stage.sites[victim]
            process.kill()
            process.start()
            if victim == "hub":
                stage.wait_hub()
        assert world.net.wait(speaker)["state"] == "COMPLETE", world.net.full(speaker)
        assert world.net.wait(listener)["state"] == "COMPLETE", world.net.full(listener)
        said = [m for m in parts.messages(begin) if m.sender.task == speaker]
    assert [m.body["count"] for m in said if m.kind == "part"] == list(range(60))
    kinds = [m.kind for m in said]
    assert [i for i, kind in enumerate(kinds) if kind == "delta"] == [6, 27, 48]
    heard = world.net.full(listener)["logs"][-1]["logs"][0]["stdout"].split()
    assert heard == [str(n) for n in range(60)]


# --- every byte that leaves a site ------------------------------------------------------------

TELL = """
from ayni_channel import Channel, Refused
import os, pathlib, sys
text = pathlib.Path("/data/t").read_text()
word = text.split()[0]
print(text, flush=True)
print(text, file=sys.stderr, flush=True)
out = pathlib.Path("/channel/closed/out")
closed = Channel("closed")
tries = [
    ("part", {"count": 1, "total": 1.0, "more": word}, None),
    ("part", {"count": word, "total": 1.0}, None),
    ("note", {"word": word}, None),
    (word, {}, None),
    ("part", {"count": 1, "total": 1.0}, b"blob"),
    ("delta", {}, text.encode() * 200),
    ("delta", {}, text.encode()),
]
for kind, body, blob in tries:
    try:
        closed.send(kind, body, blob, wait=60)
        print("SENT", kind, file=sys.stderr)
    except Refused:
        pass
(out / (word + ".json")).write_text('{"kind": "%s"}' % word)
(out / (word + "\\n")).write_text(word)
os.mkfifo(out / ("f-" + word + ".json"))
(out / "l.json").symlink_to("/data/t")
(out / "0-comment.json").write_text(
    '{"kind": "part", "body": {"count": 7, "total": 2.5, "count": 8}}' + " " * len(word))
closed.send("part", {"count": 200, "total": 4.5}, wait=60)
os.execv("/nada/" + word, [word]) if %r else None
"""


@pytest.mark.parametrize("fails", [False, True])
def test_every_byte_that_leaves_a_site_is_one_that_the_schema_lists(
    world: World, fails: bool
) -> None:
    before = len(world.recorder.sent)
    script = TELL.replace("%r", repr(fails))
    task = python(
        script, site="norte", channels="closed:out",
        inputs=[{"url": "ayni://norte/censo/texto.txt", "path": "/data/t"}],
    )  # fmt: skip
    number = world.net.submit(task)
    attempt = world.net.started(number)
    world.net.get(f"/tasks/{number}/logs", watch=True)
    ended = world.net.wait(number)
    assert ended["state"] == ("EXECUTOR_ERROR" if fails else "COMPLETE"), world.net.full(number)
    sent = world.recorder.sent[before:]
    assert not holds(list(readings(everything(sent))), world.secret), "the data has left the site"
    said = [
        message
        for one in sent
        if one.path == "/agent/v1/channels/post"
        for message in json.loads(one.body)["messages"]
        if message["attempt"] == attempt
    ]
    assert [(m["kind"], m["body"]) for m in said] == [
        ("part", {"count": 8, "total": 2.5}),
        ("part", {"count": 200, "total": 4.5}),
    ]
    for message in said:
        assert message.keys() == {
                "attempt", "channel", "number", "kind", "body", "blob", "signature",
            }  # fmt: skip
        assert message["channel"] == "closed" and message["blob"] is None
    assert not [one for one in sent if one.method == "PUT"], "bytes went to the store"
    shown = world.net.full(number)
    assert world.secret.decode() not in json.dumps(shown)
    assert "a message was refused" in why(shown), "nobody told the user"
    assert "SENT" not in why(shown)


def test_the_recorder_sees_what_leaves(world: World) -> None:
    """Else the test above would be content with nothing."""
    before = len(world.recorder.sent)
    word = world.secret.decode()[::-1]
    script = f"echo {word}; head -c 100000 /dev/zero | tr '\\0' q > /o"
    task = world.net.run(sh(script, site="norte", outputs={"/o": "ayni://quinua/o"}))
    assert task["state"] == "COMPLETE", task
    sent = world.recorder.sent[before:]
    assert any(holds(list(readings(one.body)), word.encode()) for one in sent)
    assert any(one.method == "PUT" and one.body == b"q" * 100_000 for one in sent)


def test_the_site_forgets_the_folders_of_ended_tasks(world: World) -> None:
    work = world.net.stage.site_folder("norte") / "state" / "work"
    until(
        lambda: not [p for p in work.iterdir() if not p.name.startswith(".")] or None,
        "the folders to go",
    )


def test_a_card_may_name_channels_and_who_may_not_is_told(world: World) -> None:
    reads = [{"url": "ayni://norte/censo/texto.txt", "path": "/data/t"}]
    task = sh("true", site="norte", channels="parts", inputs=reads)
    refused = world.net.call("POST", "/api/v1/tasks", json={"task": task})
    assert refused.status_code == 400
    assert "leave by quinua/closed only" in refused.json()["detail"]
