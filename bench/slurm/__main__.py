"""Ayni over three real Slurm clusters (`make slurm-up`, root), beside jobs made by hand and other tools.

    python -m bench.slurm [split|latency|tools|load …] [--pairs 5] [--tools parsl,submitit,psij]

`split`: 600 times `sleep 1` through the network, beside job arrays dealt and packed by hand.
`latency`: from `POST /tasks` to the start of one task, beside a plain `sbatch`.
`tools`: 1,000 times `true` on one cluster, beside psij-python, submitit and Parsl (`dev/peers.sh`).
`load`: what a controller and its accounting are asked, as they count it, for 10 tasks and for 300.
Pairs are interleaved; figures are of their medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.slurm import direct, peers
from bench.slurm.stage import FOUND, Cluster, Network, clusters, network

PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
TOOLS = ("parsl", "submitit", "psij")
#: What Slurm calls our questions.
REQUESTS = {
    "squeue": "REQUEST_JOB_INFO",
    "sbatch": "REQUEST_SUBMIT_BATCH_JOB",
    "scancel": "REQUEST_KILL_JOB",
    "looks at nodes": "REQUEST_NODE_INFO",
    "sacct": "DBD_GET_JOBS_COND",
}


def split(pairs: int) -> None:
    count = 600
    over = clusters()
    ratios = []
    with network(over) as ours:
        ours.array(ours.task("sleep", "1", walltime=10), 40)
        for _ in range(pairs):
            with tempfile.TemporaryDirectory() as folder:
                ours.settle()
                by_hand = direct.split(over, "sleep 1", count, Path(folder))
            ours.settle()
            through = ours.array(ours.task("sleep", "1", walltime=10), count)
            ratios.append(through / by_hand)
            print(f"by hand {by_hand:.2f} s, network {through:.2f} s, {ratios[-1]:.3f}", flush=True)
    print(
        f"= 600 tasks of 1 s over three Slurm clusters, makespan over that of arrays by hand, "
        f"median of {pairs} pairs: {statistics.median(ratios):.3f} (at most 1.10 wanted)"
    )


def latency(pairs: int) -> None:
    cluster = clusters()[0]
    task = {
        **Network.task("date", "+%s.%N", walltime=600),
        "executors": [{"image": "host", "command": ["date", "+%s.%N"]}],
    }
    added = []
    with network([cluster]) as ours, tempfile.TemporaryDirectory() as folder:
        for _ in range(4 * pairs):
            ours.settle()
            by_hand = direct.start_of_one(cluster, Path(folder))
            ours.settle()
            began = time.time()
            logs = ours.one(task)["logs"]
            through = float(logs[0]["logs"][0]["stdout"]) - began
            added.append(through - by_hand)
            print(f"sbatch {by_hand:.3f} s, POST /tasks {through:.3f} s", flush=True)
    print(
        f"= from POST /tasks to the task's start, added to that of a plain sbatch, median of "
        f"{len(added)} pairs: {statistics.median(added):.2f} s (at most 0.5 wanted)"
    )


def tools(pairs: int, beside: Sequence[str] = TOOLS) -> None:
    count = 1000
    cluster = clusters()[0]
    took: Mapping[str, list[float]] = {name: [] for name in ("ayni", *beside)}
    with network([cluster]) as ours:
        runs: dict[str, Callable[[], float]] = {
            name: lambda name=name: _peer(cluster, name, count)  # type: ignore[misc]
            for name in beside
        }
        runs["ayni"] = lambda: ours.array(ours.task("true", walltime=10), count)
        for _ in range(pairs):
            for name, run in runs.items():
                ours.settle()
                took[name].append(run())
            print(", ".join(f"{n} {seconds[-1]:.2f} s" for n, seconds in took.items()), flush=True)
    ours_took = statistics.median(took["ayni"])
    for name in beside:
        theirs = statistics.median(took[name])
        print(
            f"= 1,000 times true on one Slurm cluster, {name} over Ayni's whole network, median of "
            f"{pairs}: {theirs:.2f} s / {ours_took:.2f} s = {theirs / ours_took:.2f} "
            "(over 1 wanted)"
        )


def load(pairs: int) -> None:
    cluster = clusters()[0]
    with network([cluster]) as ours:
        for count in (10, 300):
            asked: list[Counter[str]] = []
            took = []
            for _ in range(pairs):
                ours.settle()
                cluster.forget_requests()
                took.append(ours.array(ours.task("sleep", "1", walltime=10), count))
                asked.append(cluster.requests())
            words = ", ".join(
                f"{what} {statistics.median(one[kind] for one in asked):.0f}"
                for what, kind in REQUESTS.items()
            )
            print(
                f"= {count} tasks of 1 s on one Slurm cluster, median of {pairs}: "
                f"{words}, in {statistics.median(took):.1f} s"
            )


def _peer(cluster: Cluster, name: str, count: int) -> float:
    cores = cluster.cores()
    with tempfile.TemporaryDirectory() as folder:
        words = [PEERS, peers.__file__, name, count, len(cores), cores[0], folder]
        done = subprocess.run(
            [str(word) for word in words],
            env={**cluster.env(), "HOME": folder, "PATH": f"{PEERS.parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts: dict[str, Callable[[int], None]] = {
        "split": split,
        "latency": latency,
        "tools": tools,
        "load": load,
    }
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tools", default=",".join(TOOLS), help="which other tools (all)")
    options = parser.parse_args()
    beside = options.tools.split(",")
    if unknown := set(beside) - set(TOOLS):
        parser.error(f"no tool {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    parts["tools"] = partial(tools, beside=beside)
    if unknown := set(options.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    if not FOUND.exists():
        print("nothing measured: there are no Slurm clusters here (make slurm-up, as root)")
        return
    for name in options.parts or parts:
        parts[name](options.pairs)


if __name__ == "__main__":
    main()
