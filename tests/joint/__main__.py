"""`make joint`: one training run that is disturbed, and three that are not, at equal accepted tokens.

    python -m tests.joint --slurm /var/tmp/ayni-slurm/clusters.json

The disturbed run has links shorter than the run, a coordinator that is killed with -9, a site that is
drained and, on Slurm, another whose nodes are. The others then get as many steps as give the tokens that
it accepted. Ends with 0 if its loss on what is held out is within 1 % of their mean.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.joint.configuration import Plan
from tests.joint.network import SHORT, Countries, countries, disturb
from tests.joint.reference import Result, train
from tests.joint.texts import prepare

WITHIN = 0.01
GRACE = 25.0  # seconds: a link has begun sooner, so only a site that is drained is missed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.joint", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--slurm", type=Path, help="clusters.json: the sites are its clusters")
    parser.add_argument("--steps", type=int, default=2400, help="of the disturbed run")
    parser.add_argument("--inner-steps", type=int, default=40, help="of a round")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the undisturbed"
    )
    parser.add_argument("--passages", action="store_true", help="only the texts that are here")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else nobody would end the network
    with tempfile.TemporaryDirectory(prefix="ayni-joint-texts-") as folder:
        here = Path(folder)
        texts = prepare(here, whole=not given.passages)
        partition = SHORT if given.slurm else None
        plan = Plan(
            texts.words, given.inner_steps, time=75, warning=30, partition=partition, grace=GRACE
        )
        with countries(texts, given.slurm) as world:
            found = _all(world, plan, here, given)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if abs(found["difference"]) <= WITHIN and found["same_arithmetic"] else 1


def _all(world: Countries, plan: Plan, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All runs, one after the other; what is printed, as figures."""
    began = time.monotonic()
    name, seed = "disturbed", given.seeds[0]
    training = world.train(plan.write(folder, name, seed=seed, steps=given.steps), name)
    disturb(training, missed=2, nodes=given.slurm is not None)
    disturbed, seconds = training.result(), time.monotonic() - began
    links = {site: len(training.links(site)) for site in training.tasks}
    _show(name, seed, disturbed, seconds, links)
    jobs = {site: cluster.jobs() for site, cluster in world.clusters.items()}
    for site, lines in jobs.items():
        print(f"  batch jobs at {site} (id|limit|seconds|state): {' '.join(lines)}")
    alone, same = [], True
    for seed in given.seeds:
        found, bits = _undisturbed(
            world, plan.undisturbed(), folder, seed, disturbed.steps_each(plan)
        )
        alone.append(found)
        same &= bits
    mean = statistics.fmean(one.loss for one in alone)
    difference = disturbed.loss / mean - 1
    print(
        f"mean of the undisturbed {mean:.4f}; the disturbed run is {difference:+.2%} from it. In one "
        f"process the undisturbed runs have {'the same bits' if same else 'OTHER BITS'}"
    )
    return {
        "disturbed": asdict(disturbed), "links": links, "batch_jobs": jobs, "seconds": seconds,
        "undisturbed": [asdict(one) for one in alone], "mean": mean, "difference": difference,
        "same_arithmetic": same,
    }  # fmt: skip


def _undisturbed(
    world: Countries, plan: Plan, folder: Path, seed: int, steps: int
) -> tuple[Result, bool]:
    """How a run over the network ends that nothing happens to, and whether one process gets the same bits."""
    began, name = time.monotonic(), f"alone-{seed}"
    training = world.train(plan.write(folder, name, seed=seed, steps=steps, quorum=3), name)
    training.end()
    found = training.result()
    links = {site: len(training.links(site)) for site in training.tasks}
    _show("undisturbed", seed, found, time.monotonic() - began, links)
    run = plan.load(folder, f"here-{seed}", seed=seed, steps=steps)
    return found, train(run, folder / "here" / name, world.texts.shards).digest == found.digest


def _show(name: str, seed: int, found: Result, seconds: float, links: Mapping[str, int]) -> None:
    print(
        f"{name:12} seed {seed}  loss {found.loss:.4f}  accepted tokens {found.accepted:>9,}  "
        f"steps {found.steps:>5}  contributions {_by_site(found.merged)}  late {found.late}  "
        f"links {_by_site(links)}  {seconds:.0f} s",
        flush=True,
    )


def _by_site(numbers: Mapping[str, int]) -> str:
    return "/".join(str(numbers[site]) for site in sorted(numbers))


if __name__ == "__main__":
    sys.exit(main())
