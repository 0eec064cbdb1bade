"""Volumes, chains and channels where tasks are batch jobs of the site's own users.

A hub, and an agent that is user `ayni`; ana's project and luis's run as users of their own on a cluster.
"""

from __future__ import annotations

import json
import logging
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.supervisor import disk
from ayni.client import Network as Client
from ayni.demo.stage import Process, SiteSpec, Stage
from tests.live.conftest import SLURM
from tests.live.test_slurm import PYTHON, admin, being
from tests.live.users import (
    AGENT,
    ANA,
    CLUSTER,
    USERS,
    agents_environment,
    configuration,
    installed_helper,
    shared_folder,
)
from tests.network.net import Net, until, why

pytestmark = [pytest.mark.live, pytest.mark.needs("slurm", "sudo")]

CENTRE = {"name": "Centro CL", "member": "CL"}
PEOPLE = {"fisica": "ana@example.org", "lenguas": "luis@example.org"}
ALLIANCE: dict[str, Any] = {
    "members": [{"code": "CL", "name": "Chile"}],
    "institutions": [CENTRE],
    "people": [
        {"email": email, "name": email.partition("@")[0].title(), "institution": CENTRE["name"]}
        for email in PEOPLE.values()
    ],
    "projects": [
        {"name": name, "title": name, "institution": CENTRE["name"], "people": [email]}
        for name, email in PEOPLE.items()
    ],
    "tokens": [{"label": name, "person": email, "project": name} for name, email in PEOPLE.items()],
}
SCHEMA = {
    "kinds": {
        "part": {
            "fields": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
            "blob": {"max_bytes": 1 << 20, "on_request": True},
        }
    }
}
#: Goes on where the volume says, until it is warned, or in its second link.
COUNT = """
umask 077
trap 'echo saved; exit 75' USR1
n=$(cat /state/deep/n 2>/dev/null || echo 0); n=$((n + 1))
mkdir -p /state/deep; echo $n > /state/deep/n; echo link $n
[ "$n" -ge 2 ] && exit 0
while :; do sleep 0.1; done
"""
#: The same in Python; each link says by a channel where it is, with a file that was its user's alone.
SPEAK = """
import os, pathlib, signal, sys, tempfile, time
sys.path.append("/channel")
from ayni_channel import Channel
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
os.umask(0o077)
state = pathlib.Path("/state/n")
n = int(state.read_text()) + 1 if state.exists() else 1
state.write_text(str(n))
descriptor, name = tempfile.mkstemp(dir="/work")
os.write(descriptor, b"blob %d" % n)
out, back = Channel("parts"), Channel("back")
out.send("part", {"n": n}, blob=pathlib.Path(name), move=True, wait=60)
for suffix, text in ((".blob", "closed"), (".part", '{"kind": "part", "body": {"n": 99}, "blob": true}')):
    (out.folder / "out" / f"z{suffix}").write_text(text)
(out.folder / "out" / "z.part").chmod(0o644)
(out.folder / "out" / "z.part").rename(out.folder / "out" / "z.json")
while out.refusal("z") is None:
    time.sleep(0.1)
print(out.refusal("z"))
for message in back.receive(timeout=60):
    if message.body["n"] == n:
        print(back.fetch(message, timeout=60).read_text(), flush=True)
        break
if n < 2:
    while not told:
        time.sleep(0.1)
    sys.exit(75)
"""


class UsersStage(Stage):
    """A stage whose one site is an agent that is user `ayni`."""

    def __init__(self, folder: Path, shared: Path, program: Path, conf: str) -> None:
        spec = SiteSpec("andes", "Andes", "CL", CENTRE["name"], -33.45, -70.66)
        super().__init__(folder, ALLIANCE, [spec])
        self.shared, self.program, self.conf = shared, program, conf

    def site_folder(self, name: str) -> Path:
        return self.shared

    def agent_toml(self, name: str) -> str:
        head = 'production = false\nlimits.grace = "3s"\n'
        return head + configuration(self.url, self.shared, self.program, self.conf)

    def prepare_site(self, name: str) -> None:
        path, code = self.shared / "agent.toml", self.secrets["codes"][name]
        with being(AGENT):
            path.write_text(self.agent_toml(name))
        words = [*_as(AGENT), PYTHON, "-m", "ayni", "site"]
        told = ["--hub", self.url, "--code", code, "--json"]
        command = [*words, "register", "--config", str(path), *told]
        subprocess.run(command, env=agents_environment(), check=True, capture_output=True, cwd="/")
        log = self.folder / "logs" / "andes.log"
        run = [*words, "run", "--config", str(path)]
        self.sites[name] = Process(name, run, agents_environment(), log)


def _as(user: str) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", "--chdir=/"]


@dataclass
class World:
    net: Net
    clusters: dict[str, Any]
    shared: Path

    def submit(self, project: str, *command: str, **parameters: str) -> str:
        backend = {"site": "andes", "walltime": "60", "max_attempts": "1", **parameters}
        task = {
            "executors": [{"image": "host", "command": list(command)}],
            "resources": {"cpu_cores": 1, "ram_gb": 0.25, "backend_parameters": backend},
        }
        return self.net.submit(task, project)

    def ends(self, number: str, project: str, state: str = "COMPLETE") -> list[str]:
        """What each attempt has printed."""
        self.net.wait(number, who=project)
        found = self.net.full(number, project)
        assert found["state"] == state, (why(found), self.net.stage.sites["andes"].tail())
        return [one["logs"][0].get("stdout", "") for one in found["logs"]]

    def data(self, project: str, name: str) -> Path:
        return self.shared / "volumes" / project / name / "data"

    def batch_job(self, project: str) -> str:
        """The one that runs of a project's user."""
        asked = ("squeue", "-h", "-u", USERS[project], "-t", "R", "-o", "%i")
        return until(lambda: admin(self.clusters, CLUSTER, *asked) or None, "a batch job to run")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    clusters: dict[str, Any] = json.loads(SLURM.read_text())
    with ExitStack() as stack:
        shared = stack.enter_context(shared_folder(clusters))
        program = stack.enter_context(installed_helper(clusters, shared))
        folder = Path(tempfile.mkdtemp(prefix="ayni-room-"))
        stack.callback(shutil.rmtree, folder)
        stage = UsersStage(folder, shared, program, clusters["clusters"][CLUSTER]["conf"])
        stack.callback(stage.stop)
        for user in USERS.values():
            stack.callback(admin, clusters, CLUSTER, "scancel", "-u", user)
        stage.start_hub()
        stage.prepare_site("andes")
        stage.sites["andes"].start()
        net = Net(stage)  # type: ignore[arg-type]
        until(
            lambda: net.get("/sites", "fisica")["sites"][0]["state"] == "healthy" or None,
            "the site",
        )
        yield World(net, clusters, shared)
        net.alive()


def test_a_chain_of_a_local_user_goes_on_from_its_volume_when_it_is_warned(world: World) -> None:
    chain = {"volume": "cuenta:/state", "chain": "3", "walltime": "40", "warning": "38"}
    mine = world.submit("fisica", "sh", "-c", COUNT, **chain)
    others = world.submit("lenguas", "sh", "-c", "ls -A /state", volume="cuenta:/state")
    assert world.ends(mine, "fisica") == ["link 1\nsaved\n", "link 2\n"]
    assert world.ends(others, "lenguas") == [""]
    data = world.data("fisica", "cuenta")
    assert (data.owner(), data.group()) == (AGENT, ANA)
    assert (data / "deep" / "n").owner() == ANA
    with being(USERS["lenguas"]), pytest.raises(PermissionError):
        list(data.iterdir())


def test_what_a_local_user_closes_in_its_volume_is_counted_and_goes_with_it(world: World) -> None:
    script = "umask 077; mkdir -p /state/a/b; head -c 3000000 /dev/zero > /state/a/b/c; chmod 0 /state/a/b"
    world.ends(world.submit("fisica", "sh", "-c", script, volume="vieja:/state"), "fisica")
    data = world.data("fisica", "vieja")
    with being(AGENT):
        assert disk.measure(data) >= 3_000_000
    path = "/api/v1/volumes/andes/vieja"
    until(lambda: world.net.call("DELETE", path, "fisica").is_success or None, "it to be told of")
    trash = world.shared / "work" / f".trash-{pwd.getpwnam(ANA).pw_gid}"
    until(lambda: None if data.exists() or any(trash.iterdir()) else True, "its files to go")


def test_links_speak_on_channels_and_go_on_from_a_volume_though_the_agent_is_killed(
    world: World,
) -> None:
    stage = world.net.stage
    with Client(stage.url, stage.secrets["tokens"]["fisica"]) as network:
        parts, back = (network.make_channel(name, SCHEMA) for name in ("parts", "back"))
        number = world.submit(
            "fisica", "python3", "-c", SPEAK, volume="voz:/state", chain="3",
            channels="parts:out,back:in", walltime="60", warning="57",
        )  # fmt: skip
        heard: list[tuple[int, str]] = []
        blob = stage.folder / "blob"
        for message in parts.receive(timeout=120):
            text = parts.fetch(message, blob).read_bytes()
            blob.unlink()
            if not heard:
                agent = stage.sites["andes"]
                agent.kill()
                agent.start()
            blob.write_bytes(text)
            heard.append((message.body["n"], text.decode()))
            back.send("part", message.body, blob=blob)
            blob.unlink()
            if len(heard) == 2:
                break
        assert heard == [(1, "blob 1"), (2, "blob 2")]
        said = [text.splitlines() for text in world.ends(number, "fisica")]
        assert [lines[-1] for lines in said] == ["blob 1", "blob 2"]
        assert all("let others read it" in lines[0] for lines in said)
        senders = {message.sender.attempt for message in parts.messages()}
        assert len(senders) == 2, "each link is an attempt"


def test_a_link_over_two_nodes_is_warned_on_each(world: World) -> None:
    script = """
        trap 'exit 75' USR1
        [ -e /state/second ] && exit 0
        until [ -e /state/$SLURM_PROCID ]; do touch /state/$SLURM_PROCID; done
        while :; do [ -e /state/0 ] && [ -e /state/1 ] && touch /state/second; sleep 0.1; done
    """
    number = world.submit(
        "lenguas", "sh", "-c", script, volume="dos:/state", chain="2", nodes="2", network="true",
        walltime="60", warning="55",
    )  # fmt: skip
    world.ends(number, "lenguas")
    codes = [one["logs"][0]["exit_code"] for one in world.net.full(number, "lenguas")["logs"]]
    assert codes == [75, 0]


def test_a_link_that_its_site_ends_saves_and_is_followed(world: World) -> None:
    """Its time in Slurm is over, say: SIGTERM, and two seconds until SIGKILL."""
    script = """
        trap 'echo saved > /state/s; exit 75' TERM
        [ -e /state/s ] && { cat /state/s; exit 0; }
        touch /state/begun; while :; do sleep 0.1; done
    """
    number = world.submit("fisica", "sh", "-c", script, volume="fin:/state", chain="2")
    until(lambda: (world.data("fisica", "fin") / "begun").exists() or None, "it to begin")
    admin(world.clusters, CLUSTER, "scancel", world.batch_job("fisica"))
    assert world.ends(number, "fisica")[-1] == "saved\n"
    states = [one["state"] for one in world.net.show(number, "fisica")["attempts"]]
    assert states == ["unfinished", "complete"]
