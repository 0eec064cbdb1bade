"""`python -m bench.outer_bytes`: see `bench.outer_bytes`."""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ayni.client.draft import draft
from ayni.demo.stage import Stage
from ayni.lm import launch
from ayni.lm.config import RESOLVED, Run, keep
from ayni.lm.coordinate import Coordination
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.fragments import WHOLE
from bench.outer_bytes import __doc__ as told
from bench.outer_bytes.relay import Relay
from bench.outer_exchange.ours import SITES, World

BILLION = 1_000_000_000
H200_STEP = 2.2  # seconds of an inner step of a billion parameters (bench.outer_clock)


@dataclass(frozen=True)
class Seen:
    """How far the run was, and what had been passed on until then."""

    version: int
    step: int
    at: float
    words: int  # bytes between the sites and the hub
    files: int  # bytes to and from the file server, the coordinator's too


class Watched:
    """A world whose sites reach the hub, and all the file server, through relays."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, self._lead)

    def _lead(self, stage: Stage) -> None:
        self.words = {name: Relay(stage.port) for name in stage.specs}
        self.files = Relay(stage.files_port)
        stage.hub_through = {name: relay.url for name, relay in self.words.items()}
        stage.hub.env = {**stage.hub.env, "AYNI_FILES_URL": self.files.url}

    def seen(self, coordination: Coordination) -> Seen:
        (head,) = coordination.coordinator.heads()
        words = sum(relay.bytes for relay in self.words.values())
        return Seen(head.version, head.step, time.time(), words, self.files.bytes)

    def close(self) -> None:
        self.world.close()
        for relay in (*self.words.values(), self.files):
            relay.close()


def configuration(steps: int) -> Run:
    shape = {
        "vocab_size": 256,
        "hidden_size": 128,
        "intermediate_size": 360,
        "layers": 4,
        "heads": 4,
    }
    return Run.model_validate(
        {
            "run": "bytes",
            "model": {"shape": shape | {"context": 64}},
            "training": {
                "schedule": {"warmup": 20, "decay_steps": 0}, "optimiser": {"lr": 2e-3},
                "precision": "fp32",
                "data": {"length": 64, "batch": 4},
            },
            "outer": {"steps": steps, "quorum": len(SITES), "grace": 60.0},
            "sites": [{"site": s, "data": "/none", "volume": "none"} for s in SITES],
        }
    )  # fmt: skip


def train(watched: Watched, run: Run, place: Path) -> tuple[list[Seen], Coordination]:
    """The whole run; what was seen at each version."""
    network = watched.world.network
    keep(run, place)
    coordination = Coordination(
        run, place, lambda count: launch.connect(network, run, count, place)
    )
    for number, site in enumerate(SITES):
        inputs = {
            "run.json": str(place / RESOLVED),
            "site.py": str(Path(__file__).with_name("site.py")),
        }
        made = draft(
            'exec python3 site.py --site "$SITE" --seed "$SEED"', name=f"bytes-{site}", inputs=inputs,
            site=site, image="python", cores=1, mem="2GiB", time="1h",
            env={"SITE": site, "SEED": str(number), "OMP_NUM_THREADS": "1"},
            channels=[f"{run.up}:out", f"{run.down}:in"],
        )  # fmt: skip
        network.send(made)
    seen = [watched.seen(coordination)]
    while not coordination.done:
        coordination.step()
        if coordination.coordinator.heads()[0].version != seen[-1].version:
            seen.append(watched.seen(coordination))
        coordination.wait(1.0)
    return seen, coordination


def report(run: Run, seen: list[Seen], coordination: Coordination) -> None:
    """The steady state are the rounds of the schedule's last length, but for one cut short at the end."""
    schedule = run.outer.schedule
    last = schedule.phases[-1]
    steady = [
        (a, b)
        for a, b in pairwise(seen)
        if a.step >= last.from_step and b.step == a.step + last.inner_steps
    ]
    first, end, rounds = steady[0][0], steady[-1][1], len(steady)
    seconds = (end.at - first.at) / rounds
    count = coordination.coordinator.state.lanes[WHOLE].count
    sizes = _brought(coordination)
    up = sum(sum(sizes[after.version]) for _, after in steady) / rounds / len(SITES)
    updates = _updates(coordination)
    down = sum(updates[after.version - 1] for _, after in steady) / rounds
    words = (end.words - first.words) / rounds / len(SITES)
    parallel = 8 * count * last.inner_steps
    print(
        f"{count} values, {run.outer.codec.name}, {rounds} rounds of {last.inner_steps} steps in the "
        f"steady state, {seconds:.1f} s each; bytes of a site and round: up {up:.0f}, "
        f"down {down:.0f}, words {words:.0f}"
    )
    print(
        f"= bytes, 0.85M parameters, the default schedule's steady state: {parallel / (up + down):.0f} times "
        f"fewer than data-parallel in blobs, {parallel / (up + down + words):.0f} with all that is said "
        "beside them (at least 400 wanted)"
    )
    bits = 8 * (up + down) / 2 / count
    said = words / seconds * last.inner_steps * H200_STEP
    whole = BILLION * bits / 4 + said
    print(
        f"= bytes, 1B parameters, the default schedule's steady state: "
        f"{8 * BILLION * last.inner_steps / whole:.0f} times fewer, computed with the measured {bits:.2f} "
        f"bits a value and {words / seconds:.0f} bytes a second of words (at least 400 wanted)"
    )
    total = sum(map(sum, sizes.values())) / len(SITES) + sum(updates)
    print(
        f"= bytes, 0.85M parameters, the whole run of {schedule.steps} steps in {len(updates)} rounds: "
        f"{8 * count * schedule.steps / total:.0f} times fewer in blobs"
    )


def _brought(coordination: Coordination) -> dict[int, list[int]]:
    """From the books: the bytes of what was merged, by version."""
    found: dict[int, list[int]] = {}
    for _, record in coordination.journal.books("merged"):
        found.setdefault(int(record.data["version"] or 0), []).append(
            int(record.data["bytes"] or 0)
        )
    return found


def _updates(coordination: Coordination) -> list[int]:
    """The sizes of the updates, in order. The other blobs are snapshots, which newcomers alone ask for."""
    count = coordination.coordinator.state.lanes[WHOLE].count
    blobs = [m.blob.size for m in coordination.lines.down.messages() if m.blob is not None]
    return [size for size in blobs if size != 4 * count]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--codec", choices=[c.name for c in Codec], help="in place of the default")
    parser.add_argument("--folder", type=Path, help="where to work")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="ayni-bytes-", dir=given.folder))
    try:
        watched = Watched(folder)
        try:
            run = configuration(given.steps)
            if given.codec:
                outer = run.outer.model_copy(update={"codec": Codec[given.codec]})
                run = run.model_copy(update={"outer": outer})
            seen, coordination = train(watched, run, folder / "run")
            with closing(coordination):
                report(run, seen, coordination)
        finally:
            watched.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
