"""The coordinator of one exchange: `lm.coordinate` over vectors that no model made; its own process."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from ayni.client.network import Network
from ayni.lm import launch
from ayni.lm.config import Run, load
from ayni.lm.coordinate import Coordination
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.coordinator import Coordinator
from ayni.lm.outer.files import FolderStore
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.machine import Origin, begin
from ayni.lm.outer.perform import store_vector
from bench.outer_exchange.site import BEFORE, vector

STEPS = 50  # inner steps of the one round
PAUSE = 1.0  # as `ayni lm coordinate` waits


def configuration(codec: Codec, sites: list[str]) -> Run:
    """A run of one round. Its model is only named: the vector's length is in the coordinator's state."""
    shape = {"vocab_size": 32768, "hidden_size": 2048, "intermediate_size": 5632, "layers": 20}
    found: dict[str, Any] = {
        "run": f"exchange-{codec.name.lower().replace('_', '-')}",
        "model": {"shape": shape | {"heads": 16}},
        "outer": {
            "schedule": {
                "steps": STEPS,
                "phases": ({"from_step": 0, "inner_steps": STEPS},),
            },
            "codec": codec.name,
            "quorum": len(sites),
        },
        "sites": [{"site": s, "data": "/none", "volume": "none"} for s in sites],
    }
    return Run.model_validate(found)


def prepare(run: Run, folder: Path, count: int) -> None:
    """The memory of a coordinator that has the first weights."""
    folder.mkdir(parents=True)
    store = FolderStore(folder / "blobs")
    ref, digest = store_vector(store, (array for _, array in vector(count, BEFORE)))
    origin = {WHOLE: Origin(count, ref, digest)}
    with closing(Journal(folder)) as journal:
        Coordinator(journal, store, lambda: begin(run.outer, origin, time.time()))


def main() -> None:
    """`… RUN.json FOLDER`: coordinate to the end; prints its memory's peak as the kernel saw it."""
    run, folder = load(Path(sys.argv[1])), Path(sys.argv[2])
    network = Network()
    coordination = Coordination(
        run, folder, lambda count: launch.connect(network, run, count, folder)
    )
    with closing(coordination):
        while not coordination.done:
            coordination.step()
            coordination.wait(PAUSE)
    print(json.dumps({"peak_kib": peak_of(os.getpid())}))


def peak_of(process: int) -> int:
    """The peak of a process's resident memory in KiB (the kernel's VmHWM)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise ValueError(f"process {process} has no peak")


if __name__ == "__main__":
    main()
