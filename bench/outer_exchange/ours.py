"""Our exchange: hub, agents, tasks and coordinator as processes of their own; times, and memory's peaks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ayni.client.channels import Channel, ChannelMessage
from ayni.client.draft import draft
from ayni.client.network import Network
from ayni.demo.alliance import ALLIANCE, SITE_OF, images
from ayni.demo.stage import SiteSpec, Stage, kill_marked, marked
from ayni.lm import launch
from ayni.lm.config import RESOLVED, Run, keep
from ayni.lm.outer.codec import Codec
from bench.outer_exchange.coordinator import configuration, peak_of, prepare
from bench.outer_exchange.cpu import Processor

SITES = tuple(SITE_OF.values())
LIMIT = 900.0  # seconds for anything
_COMMAND = 'exec python3 site.py --site "$SITE" --values "$VALUES" --seed "$SEED"'
_BENCH = {
    "kinds": {
        "go": {"fields": {}},
        "stamp": {
            "fields": {
                "what": {"type": "enumeration", "values": ["ready", "trained", "held"]},
                "at": {"type": "number", "minimum": 0, "maximum": 1e12},
            }
        },
    }
}


@dataclass(frozen=True)
class Exchange:
    """Seconds from the end of training to: all sent, told, all hold the new weights. Peaks in MiB.

    `busy`: seconds of processor time in which that was done, of all processes.
    """

    values: int
    codec: str
    sent: float
    told: float
    held: float
    busy: float
    peaks: Mapping[str, float]
    payload: int  # bytes of the blobs that a site sent and got

    @property
    def line(self) -> str:
        peaks = ", ".join(f"{name} {mib:.0f}" for name, mib in self.peaks.items())
        return (
            f"ours, {self.values / 1e6:.0f}M values, {self.codec}: {self.held:.1f} s (sent after "
            f"{self.sent:.1f}, told after {self.told:.1f}; {self.busy:.1f} s of processors); "
            f"{self.payload / 1e6:.0f} MB up and down a site; peaks in MiB: {peaks}"
        )


class World:
    """A hub and three sites, kept up over several exchanges."""

    def __init__(self, folder: Path, prepare: Callable[[Stage], None] = lambda stage: None) -> None:
        """Start it; `prepare` may change the stage before anything runs."""
        self.folder = folder
        where = [(member, name, ALLIANCE["institutions"][i]["name"])
                 for i, (member, name) in enumerate(SITE_OF.items())]  # fmt: skip
        specs = [
            SiteSpec(name, name, member, institution, 0.0, 0.0, cores=2, memory="8GiB",
                     images=images(), allow_unsandboxed=True)
            for member, name, institution in where
        ]  # fmt: skip
        self.stage = Stage(folder, _roomy(ALLIANCE), specs)
        try:
            prepare(self.stage)
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.stage.start_hub()
        for name in self.stage.specs:
            self.stage.prepare_site(name)
            self.stage.sites[name].start()
        token = self.stage.secrets["tokens"]["researcher"]
        self.env = {
            **self.stage.base_env(), "AYNI_HUB": self.stage.url, "AYNI_TOKEN": token,
            "HOME": str(self.folder), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.network = Network(self.stage.url, token)
        self.bench = self.network.make_channel("bench", _BENCH)

    def close(self) -> None:
        self.stage.stop()
        kill_marked(self.folder)

    def exchange(self, count: int, codec: Codec) -> Exchange:
        """One exchange of a vector of so many values."""
        run = configuration(codec, list(SITES))
        place = self.folder / f"{run.run}-{count}"
        prepare(run, place, count)
        keep(run, place)
        launch.connect(self.network, run, count, place)
        after = self.bench.info.last
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.outer_exchange.coordinator", str(place / RESOLVED), str(place)],
            env=self.env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            with Processor(self.folder) as processor:
                tasks = [
                    self._submit(run, place, site, number, count)
                    for number, site in enumerate(SITES)
                ]
                self._stamps(after, "ready")
                self.bench.send("go")
                trained = min(self._stamps(after, "trained"))
                held = max(self._stamps(after, "held"))
            told, _ = process.communicate(timeout=LIMIT)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for task in tasks:
            self.network.task(task).wait(LIMIT)
        peaks = {"coordinator": json.loads(told)["peak_kib"] / 1024, **self._peaks()}
        return self._found(run, count, trained, held, processor.between(trained, held), peaks)

    def _submit(self, run: Run, place: Path, site: str, number: int, count: int) -> str:
        inputs = {
            "run.json": str(place / RESOLVED),
            "site.py": str(Path(__file__).with_name("site.py")),
        }
        made = draft(
            _COMMAND, name=f"exchange-{site}", inputs=inputs, site=site, image="python", cores=1,
            mem="7GiB", time="1h", env={"SITE": site, "VALUES": str(count), "SEED": str(number)},
            channels=[f"{run.up}:out", f"{run.down}:in", "bench"],
        )  # fmt: skip
        return self.network.send(made).id

    def _stamps(self, after: int, what: str) -> list[float]:
        """When each site did it."""
        found: list[float] = []
        for message in self.bench.receive(after, timeout=LIMIT):
            if message.kind == "stamp" and message.body["what"] == what:
                found.append(message.body["at"])
                if len(found) == len(SITES):
                    return found
        raise TimeoutError(f"not all sites are {what}")

    def _peaks(self) -> dict[str, float]:
        """The largest process of the hub (the store's file server among them) and of the agents."""
        hub = [
            peak_of(p) / 1024 for p in marked(self.folder / "hub") if Path(f"/proc/{p}").exists()
        ]
        agents = [process.popen.pid for process in self.stage.sites.values() if process.popen]
        return {
            "largest process of the hub": max(hub, default=0.0),
            "largest agent": max(peak_of(pid) for pid in agents) / 1024,
        }

    def _found(
        self,
        run: Run,
        count: int,
        trained: float,
        held: float,
        busy: float,
        peaks: Mapping[str, float],
    ) -> Exchange:
        up = _messages(self.network.channel(run.up))
        down = _messages(self.network.channel(run.down))
        gifts = [m for m in up if m.kind == "contributed"]
        update = [m for m in down if m.kind == "blob"][-1]
        assert update.blob is not None and gifts[0].blob is not None
        return Exchange(
            values=count,
            codec=run.outer.codec.name,
            sent=max(m.created.timestamp() for m in gifts) - trained,
            told=max(m.created.timestamp() for m in down if m.kind == "head") - trained,
            held=held - trained,
            busy=busy,
            peaks=peaks,
            payload=gifts[0].blob.size + update.blob.size,
        )

    def forget(self, count: int, codec: Codec) -> None:
        """Room on the disk for the next."""
        import shutil

        run = configuration(codec, list(SITES))
        for name in (run.up, run.down, run.steering):
            self.network.channel(name).delete()
        shutil.rmtree(self.folder / f"{run.run}-{count}")


def _messages(channel: Channel) -> list[ChannelMessage]:
    return list(channel.messages())


def _roomy(alliance: Mapping[str, Any]) -> dict[str, Any]:
    """The alliance, its projects' quotas large enough for the first weights."""
    return {**alliance, "projects": [{**p, "quota": 1 << 40} for p in alliance["projects"]]}
