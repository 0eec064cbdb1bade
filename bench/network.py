"""5,000 times `true` through the whole network, beside the bare local executor with the same sandbox.

    python -m bench.network [--tasks 5000] [--pairs 3]

Each pair is measured in turn on the same machine: (a) the local executor alone, (b) an array created at
the hub, placed, run at one of three sites, final at the hub. The same number of jobs may run at once in both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from ayni.agent.executors.local import LocalExecutor
from ayni.agent.runtimes.bare import BareRuntime
from ayni.demo.alliance import ALLIANCE, SITE_OF
from ayni.demo.stage import SiteSpec, Stage, kill_marked
from ayni.tes.models import FINAL_STATES
from bench.executor import prepare, run

CORES = 2  # a site; three sites


def bare(count: int, within: Path, *, sandboxed: bool) -> float:
    """Jobs a second of the local executor alone.

    Its folder stays for now: a file system that has just lost many files (ext4 without a journal)
    is slow to make new ones for minutes, and it would be the next run's time.
    """
    folder = Path(tempfile.mkdtemp(dir=within))
    try:
        executor = LocalExecutor(
            folder / "state",
            cores=3 * CORES,
            memory=16 << 30,
            allow_unsandboxed=not sandboxed,
            host_runtime=None if sandboxed else BareRuntime(),
        )
        begin = time.perf_counter()  # the folders count: a site makes them, too
        run(executor, prepare(folder / "jobs", count))
        took = time.perf_counter() - begin
        executor.close()
        return count / took
    finally:
        kill_marked(folder)


class Measured:
    """A stage kept up over several measurements."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ayni-bench-"))
        specs = [
            SiteSpec(name, name, member, ALLIANCE["institutions"][i]["name"], 0.0, 0.0, cores=CORES,
                     memory="16GiB", images={"host": {"runtime": "host"}})
            for i, (member, name) in enumerate(SITE_OF.items())
        ]  # fmt: skip
        self.stage = Stage(self.folder, ALLIANCE, specs)
        self.stage.start_hub()
        for spec in specs:
            self.stage.prepare_site(spec.name)
            self.stage.sites[spec.name].start()
        token = self.stage.secrets["tokens"]["researcher"]
        self.api = httpx.Client(
            base_url=f"{self.stage.url}/api/v1", timeout=60, trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip

    def through_the_network(self, count: int) -> float:
        task = {
            "name": "true",
            "executors": [{"image": "host", "command": ["true"]}],
            "resources": {"ram_gb": 0.064},
        }
        begin = time.perf_counter()
        created = self.api.post("/arrays", json={"task": task, "count": count})
        created.raise_for_status()
        array = created.json()["id"]
        while True:
            counts = self.api.get(f"/arrays/{array}").json()["counts"]
            if not {k for k, v in counts.items() if v} - FINAL_STATES:
                break
            time.sleep(0.1)
        took = time.perf_counter() - begin
        if counts.get("COMPLETE") != count:
            raise RuntimeError(f"not all ended well: {counts}")
        return count / took

    def close(self) -> None:
        self.stage.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    measured = Measured()
    rows: list[tuple[float, float]] = []
    try:
        measured.through_the_network(200)  # warm up
        for _ in range(options.pairs):
            rows.append(
                (
                    bare(options.tasks, measured.folder, sandboxed=True),
                    measured.through_the_network(options.tasks),
                )
            )
            print(f"bare {rows[-1][0]:.0f}/s, network {rows[-1][1]:.0f}/s, "
                  f"ratio {rows[-1][1] / rows[-1][0]:.2f}", flush=True)  # fmt: skip
        unsandboxed = bare(options.tasks, measured.folder, sandboxed=False)
    finally:
        measured.close()
    ratio = statistics.median(network / alone for alone, network in rows)
    print(
        f"= network over bare executor, median of {len(rows)} pairs: {ratio:.2f} (at least 0.70 wanted)"
    )
    alone = statistics.median(a for a, _ in rows)
    print(f"= bare executor, sandboxed: {alone:.0f} tasks/s")
    through = statistics.median(n for _, n in rows)
    print(f"= tasks through the network: {through:.0f} tasks/s (at least 40 wanted)")
    print(f"= bare executor, unsandboxed: {unsandboxed:.0f}/s; cores: {os.cpu_count()}")


if __name__ == "__main__":
    main()
